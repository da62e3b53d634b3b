"""A named run that this client plans, or waits for."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from armoflow.errors import ArmoflowError, NamedRunError
from armoflow.orchestrator.blame import Blame
from armoflow.orchestrator.named.fence import Fence
from armoflow.orchestrator.named.manifest import Head, ResultSlots
from armoflow.orchestrator.named.recorder import PlanRecorder
from armoflow.orchestrator.named.restored import RestoredResult, RestoredTasks
from armoflow.orchestrator.named.run_keys import RunKeys
from armoflow.orchestrator.named.session import RunSession
from armoflow.orchestrator.planned import Result, SlotRange
from armoflow.orchestrator.targets import WaitingTarget
from armoflow.orchestrator.tracker import blame_for
from armoflow.protocol.result_handle import ResultState

if TYPE_CHECKING:
    from armoflow.orchestrator.orchestrator import Orchestrator

logger = logging.getLogger(__name__)


class Heir:
    """A result that fails of what another one fails of.

    Args:
        result: The result.
    """

    cancelled = False

    def __init__(self, result: Result) -> None:
        self._result = result

    def wait_for(self, other: Result) -> None:
        """Fail when that one has failed, and why."""
        if other.final:
            self.arrive(other)
        else:
            other.add_waiter(self)

    def arrive(self, result: Result) -> None:
        """The other one has ended."""
        self._result.blame = result.blame
        self._result.end(ResultState.ABORTED)


class OpenRun:
    """A run that this client plans, or waits for; lives in the loop's thread.

    Args:
        name: Its name.
        session: Its session.
        orchestrator: Works on it.
    """

    def __init__(self, name: str, session: RunSession, orchestrator: Orchestrator) -> None:
        self.name = name
        self.session = session
        self.orchestrator = orchestrator
        self.tasks = RestoredTasks((), session.progress)
        self.recorder: PlanRecorder | None = None
        self.target: WaitingTarget | None = None
        self.following: asyncio.Task[None] | None = None
        self._as_of = _as_of(session)
        if orchestrator.second_runs is not None:
            orchestrator.second_runs.made_by_others = self.second_runs

    @property
    def is_current(self) -> bool:
        """Whether all its tasks that were read of, by now, were taken over here."""
        return _as_of(self.session) == self._as_of

    @property
    def head(self) -> Head:
        """What was asked for."""
        head = self.session.manifest.head
        assert head is not None
        return head

    def piece(self, place: ResultSlots) -> SlotRange:
        """Where values are."""
        if self.session.was_submitted(place):
            return self.tasks.piece(place)
        # It was never submitted, for what it needs had failed before.
        heir = Result(place.name)
        first = next((key for key in self.session.lost()), None)
        if first is None:
            heir.blame = Blame(place.name, error=NamedRunError(f"{place.name!r} was not submitted"))
            heir.end(ResultState.ABORTED)
        else:
            Heir(heir).wait_for(self.tasks.result(first, place.name))
        return SlotRange(heir, place.start, place.stop)

    def record(self, target: WaitingTarget, epoch: int, keys: RunKeys) -> PlanRecorder:
        """Have noted what is planned from here on."""
        fence = Fence(
            functools.partial(self.session.overtaken, epoch),
            _overtaken(self.name),
            self.give_up,
            asked_at=self.session.asked_at,
        )
        pipeline, store = self.orchestrator.pipeline, self.session.store
        self.target = target
        copies = not self.orchestrator.transport.info.keeps_payloads
        self.recorder = PlanRecorder(
            keys, pipeline, epoch, store, target, copies=copies, fence=fence
        )
        self.recorder.begin()
        return self.recorder

    def give_up(self, error: NamedRunError) -> None:
        """Somebody else has taken it over."""
        if self.recorder is not None:
            self.recorder.give_up(error)
        self.orchestrator.abandon(error)

    async def take_over(self) -> None:
        """Take over the tasks that are there, and submit those that were laid out."""
        session = self.session
        self.tasks = RestoredTasks(session.manifest.tasks, session.progress)
        lost = await session.submit_rest(self.tasks.open)
        self.orchestrator.restore(self.tasks.open, session.progress.changes)
        for task in lost:
            error = NamedRunError(
                f"what task {task.label!r} needs was not uploaded when its client ended: submit "
                f"the graph again, client.submit(graph, name={self.name!r})"
            )
            self.orchestrator.tracker.fail(task, blame_for(task, error=error))

    async def second_runs(self, results: Sequence[Result]) -> dict[Result, Result]:
        """What was made, as others say, in the place of results that they have submitted."""
        restored = {result.id: result for result in results if isinstance(result, RestoredResult)}
        if not restored:
            return {}
        try:
            found = await self.session.second_runs(restored.keys())
        except ArmoflowError as error:
            logger.warning("whether run %r has second runs is not known: %s", self.name, error)
            return {}
        return {
            restored[result_id]: self.tasks.result(other, restored[result_id].name)
            for result_id, other in found.items()
        }

    async def cancel_unneeded(self, recorder: PlanRecorder, needed: set[str]) -> None:
        """Once a graph is laid out, cancel what runs of those before it and is no part of it."""
        await recorder.laid_out.wait()
        if recorder.error is None:
            try:
                await self.session.cancel_unneeded(needed)
            except ArmoflowError as error:
                logger.warning("what run %r does not need any more runs on: %s", self.name, error)

    async def close(self, error: ArmoflowError) -> None:
        """Leave it to itself: whoever waits for it here is told."""
        if self.recorder is not None:
            self.recorder.stop(error)
            await self.recorder.settle()
        if self.following is not None:
            await asyncio.wait([self.following])
        if self.target is not None and not self.target.ended:
            self.target.fail(error)
        await self.orchestrator.close()


def _as_of(session: RunSession) -> tuple[int, int]:
    """How much is known of what was planned in a session."""
    return session.manifest.epoch, len(session.manifest.tasks)


def _overtaken(name: str) -> NamedRunError:
    return NamedRunError(
        f"another client has taken over run {name!r}: this one was silent for so long that it "
        "counted as gone, or its graph was replaced. It submits nothing more; "
        f"client.attach({name!r}) waits for the run"
    )
