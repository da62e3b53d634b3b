"""One call's graph on its way: planned in a thread, because it reads the user's iterators."""

from __future__ import annotations

import functools
import itertools
import logging
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from armoflow.codec.traces import drop_own_frames
from armoflow.errors import ArmoflowError, ClientClosedError, ThreadLimitError
from armoflow.graph.collection import DelayedList
from armoflow.graph.delayed import Delayed
from armoflow.orchestrator.packs import ItemsTarget
from armoflow.orchestrator.planned import PlannedTask, PlanPiece
from armoflow.orchestrator.planning.planner import Planner
from armoflow.orchestrator.queue import Entry
from armoflow.orchestrator.targets import WaitingTarget
from armoflow.protocol.submission import labelled
from armoflow.system.new_threads import start_thread
from armoflow.tracing import Labels

logger = logging.getLogger(__name__)


class Taker(Protocol):
    """Takes what a plan yields."""

    def put(self, entry: Entry) -> None:
        """Take an entry; may wait until there is room.

        Raises:
            ClientClosedError: If the client was closed meanwhile.
        """


class Run:
    """One call's graph on its way.

    Args:
        targets: Who waits for what.
        planner: Was told what they want.
        pipeline: Takes what is planned.
        watch: Called with each task before it is queued.
        refuse: Called where nothing will come.
        ended: Called when the plan was submitted whole, or given up.
        trace: The trace that its tasks belong to.
    """

    def __init__(
        self,
        targets: Sequence[WaitingTarget | ItemsTarget],
        planner: Planner,
        pipeline: Taker,
        *,
        watch: Callable[[PlannedTask], None],
        refuse: Callable[[Sequence[WaitingTarget | ItemsTarget], ArmoflowError], None],
        ended: Callable[[Run], None],
        trace: Labels = (),
    ) -> None:
        self.targets = targets
        self.planner = planner
        self.planned = False
        self.stopped = False
        self._pipeline = pipeline
        self._watch = watch
        self._refuse = refuse
        self._ended = ended
        self._trace = trace
        self._entries = planner.plan([_QueuedTarget(target, pipeline) for target in targets])

    def start(self, inline: int | None) -> None:
        """Start planning; see :meth:`Orchestrator.run`."""
        if inline == 0 or not self._plan(inline):
            try:
                start_thread(self._plan, "armoflow-plan", "plan a graph")
            except ThreadLimitError as error:
                self._give_up(error)

    def stop(self) -> None:
        """Plan nothing more; what was planned and not submitted is dropped."""
        self.stopped = True
        self._let_go_of_futures()
        for target in self.targets:
            if target.window is not None:
                target.window.close()

    def live(self) -> bool:
        """Whether somebody still waits for one of the targets."""
        # The last first: where all are cancelled in order, each would look at those before.
        return any(not target.cancelled for target in reversed(self.targets))

    def _plan(self, count: int | None = None) -> bool:
        """Put the next entries of the plan, or all, into the queue; whether that was the end."""
        try:
            for entry in itertools.islice(self._entries, count):
                if self.stopped:
                    break
                if isinstance(entry, PlannedTask):
                    if self._trace:
                        entry.options = labelled(entry.options, self._trace)
                    self._watch(entry)
                self._pipeline.put(entry)
                if count is not None:
                    count -= 1
            if count == 0 and not self.stopped:
                return False
            self._entries.close()  # lets go of the user's iterators
            self._pipeline.put(self._end)
        except ClientClosedError as error:
            logger.info("planning stopped: the client was closed")
            self._refuse(self.targets, error)
        except BaseException as error:
            if count is not None:
                raise  # Ctrl-C, or a defect, in the caller's own thread
            self._give_up(error)
        return True

    def _give_up(self, error: BaseException) -> None:
        """Nothing more is planned: nobody else would end who waits."""
        for target in self.targets:
            self._pipeline.put(functools.partial(target.give_up, error))
        self._pipeline.put(self._end)

    def _end(self) -> None:
        self.planned = True
        self._let_go_of_futures()
        self._ended(self)

    def _let_go_of_futures(self) -> None:
        external = self.planner.surroundings.external
        if external is not None:
            external.stop()


class _QueuedTarget:
    """A target as the plan's thread sees it: what it is told takes the queue, in order."""

    def __init__(self, target: WaitingTarget | ItemsTarget, pipeline: Taker) -> None:
        assert target.value is not None
        self.value: Delayed[Any] | DelayedList[Any] = target.value
        self._target = target
        self._pipeline = pipeline
        self._whole = False

    def place(self, column: Sequence[PlanPiece], whole: bool) -> None:
        if whole:
            self._pipeline.put(lambda: self._target.place_all(column))
        else:
            self._pipeline.put(lambda: self._target.place(column, whole))
        self._whole = whole
        if self._target.window is not None:
            self._target.window.produce(sum(piece.length for piece in column))

    def seal(self) -> None:
        if not self._whole:
            self._pipeline.put(self._target.seal)

    def fail(self, error: BaseException) -> None:
        drop_own_frames(error)
        self._pipeline.put(lambda: self._target.give_up(error))
