"""Graphs on their way: submitted, computed and waited for, or followed item by item."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import functools
import queue
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from armoflow import config
from armoflow.client.block_settings import BlockSettings
from armoflow.client.collector import COLLECTOR
from armoflow.client.eager_target import EagerTarget, FailedTarget, Stop
from armoflow.client.future import Future
from armoflow.client.gathering import Gathering, late
from armoflow.client.iteration import Iteration
from armoflow.client.loop import LoopThread
from armoflow.client.planned_future import FutureOrigin
from armoflow.client.progress import Waiting
from armoflow.client.put import PlanReferences
from armoflow.client.renewing import RenewedItems, Renewing
from armoflow.client.surveying import Surveyor
from armoflow.client.validate import Survey
from armoflow.client.waiting import take, wait_for_event
from armoflow.client.watched import WatchedWork
from armoflow.errors import DataLostError, WaitTimeoutError
from armoflow.graph.collection import DelayedList
from armoflow.orchestrator.outcomes import Names, cut_cells, outcomes, raise_error, values
from armoflow.orchestrator.planned import LocalItems, PlanPiece
from armoflow.orchestrator.planning.plan_settings import PlanSettings, Surroundings
from armoflow.orchestrator.targets import IterationWindow, WaitingTarget
from armoflow.orchestrator.templates import is_plain
from armoflow.tracing import Labels

if TYPE_CHECKING:
    from armoflow.codec.payload import Pickled
    from armoflow.graph.nodes import Node
    from armoflow.orchestrator.orchestrator import Orchestrator
    from armoflow.orchestrator.planning.planner import Planner
    from armoflow.orchestrator.run import Run
    from armoflow.orchestrator.templates import PlainCall

_Arrivals = queue.SimpleQueue["tuple[PlanPiece, int] | None"]
"""Pieces of a collection, as they come, and the positions of their first items."""

INLINE_ENTRIES = 64
"""Tasks of a submitted graph that are planned before submit() returns: often all of them."""


class GraphRuns:
    """Runs the graphs of one client.

    Args:
        loop: The client's loop.
        orchestrator: Plans, submits and watches.
        origin: What the client's futures have in common.
        settings: What holds where they are asked for.
        surveyor: Looks them over first.
        watched: Shows them.
        references: Resolves the futures and ``put`` references in arguments; some are pending.

    Attributes:
        renewing: Computes anew what the cache has given and was wrong.
    """

    def __init__(
        self,
        loop: LoopThread,
        orchestrator: Orchestrator,
        origin: FutureOrigin,
        *,
        settings: BlockSettings,
        surveyor: Surveyor,
        watched: WatchedWork,
        references: Callable[[Sequence[Future[Any]]], PlanReferences],
    ) -> None:
        self._loop = loop
        self._orchestrator = orchestrator
        self._origin = origin
        self._key = origin.key
        self._settings = settings
        self._surveyor = surveyor
        self._watched = watched
        self._references = references
        self.renewing = Renewing(loop, orchestrator, self._again, self._start_again)

    def submit(self, values: Sequence[Any]) -> list[Future[Any]]:
        """Start the graphs of these lazy values as one; a future each."""
        with self._watched.span("submit", values) as trace:
            return self._submit(values, trace, self._settings.here())

    def _submit(
        self, values: Sequence[Any], trace: Labels, settings: PlanSettings
    ) -> list[Future[Any]]:
        pickled: dict[Node, Pickled] = {}
        calls = self._prepare(values, settings, pickled)
        origin = self._origin_now()
        if calls is not None:
            called: list[Future[Any]] = [Future(origin, call.template.names) for call in calls]
            for future, call in zip(called, calls, strict=True):
                future.stands_for(call)
            self._orchestrator.calls.start(calls, called, trace)
            return called
        futures: list[Future[Any]] = [Future(origin, Names.of(value.node)) for value in values]
        planner, survey = self._surveyor.survey(values, settings)
        targets = [
            WaitingTarget(value, self._orchestrator.fetcher.fetch, future.settle)
            for value, future in zip(values, futures, strict=True)
        ]
        self._take(survey, planner, pickled)
        inline = _planned_at_once(survey)
        run = self._orchestrator.run(targets, planner, inline, trace)
        for future, value, target in zip(futures, values, targets, strict=True):
            future.shows(value)
            future.found(survey.inquiry)
            self.renewing.watch(future, value, settings)
            future.stands_for(_Wait(self._orchestrator, run, target))
        return futures

    def compute(
        self,
        values: Sequence[Any],
        timeout: float | None,
        *,
        fail_fast: bool = False,
        stop: Stop | None = None,
    ) -> list[Any]:
        """Run the graphs of these lazy values as one, and wait, so many seconds; a value each.

        Args:
            values: What is wanted.
            timeout: Seconds to wait at most.
            fail_fast: Raise the first error as soon as it is known.
            stop: Ends it, where ``fail_fast`` is said.
        """
        settings = self._settings.here()
        if fail_fast:
            settings = dataclasses.replace(settings, fail_fast=True)
        with COLLECTOR, self._watched.span("compute", values) as trace:
            try:
                return self._compute(values, timeout, trace, settings, stop)
            finally:
                self._watched.catch_up(self._loop)

    def submit_items(self, collection: DelayedList[Any]) -> list[Future[Any]]:
        """Start a collection; a future for each of its items."""
        if not len(collection):
            return []
        settings = self._settings.here()
        planner, survey = self._surveyor.survey([collection], settings)
        origin, names = self._origin_now(), Names.of(collection.node)
        futures: list[Future[Any]] = [
            Future(origin, names, index) for index in range(len(collection))
        ]
        renewed = self.renewing.items(collection, settings)
        for index, future in enumerate(futures):
            renewed.watch(future, index)
        target = self._orchestrator.items(collection, futures)
        self._take(survey, planner)
        with self._watched.span("map", [collection]) as trace:
            run = self._orchestrator.run([target], planner, trace=trace)
        target.on_unwanted = functools.partial(self._orchestrator.unwanted, run)
        for future, item in zip(futures, target.places, strict=True):
            future.found(survey.inquiry)
            future.stands_for(item)
        return futures

    def _prepare(
        self, values: Sequence[Any], settings: PlanSettings, pickled: dict[Node, Pickled]
    ) -> list[PlainCall] | None:
        """Values that are plain calls, ready to start; None if they must be planned as a graph.

        What was pickled of their arguments is there for the plan then.
        """
        if self._surveyor.budget is not None or not all(map(is_plain, values)):
            return None
        nodes = [value.node for value in values]
        if len(nodes) > 1 and len(set(nodes)) < len(nodes):
            return None
        templates = self._orchestrator.calls.templates
        return templates.prepare(nodes, settings, PlanReferences.kinds, pickled)

    def _compute(
        self,
        values: Sequence[Any],
        timeout: float | None,
        trace: Labels,
        settings: PlanSettings,
        stop: Stop | None = None,
    ) -> list[Any]:
        while True:
            before = self.renewing.found
            try:
                return self._compute_once(values, timeout, trace, settings, stop)
            except DataLostError as error:
                if not self.renewing.was_wrong(error, before):
                    raise

    def _again(self, value: Any, settings: PlanSettings) -> Any:
        (found,) = self._compute([value], None, (), settings)
        return found

    def _start_again(self, value: Any, settings: PlanSettings) -> Future[Any]:
        (future,) = self._submit([value], (), settings)
        return future

    def _compute_once(
        self,
        values: Sequence[Any],
        timeout: float | None,
        trace: Labels,
        settings: PlanSettings,
        stop: Stop | None = None,
    ) -> list[Any]:
        pickled: dict[Node, Pickled] = {}
        calls = None if settings.fail_fast else self._prepare(values, settings, pickled)
        if calls is not None:
            gathering = Gathering(len(values))
            self._orchestrator.calls.start(calls, gathering.receivers, trace)
            if not wait_for_event(gathering.ended, timeout, self._watched.display):
                left = gathering.left
                self._loop.run(lambda: [call.cancel() for call in calls])
                raise late(left, len(values), timeout)
            return gathering.values([Names.of(value.node) for value in values], self._key)
        planner, survey = self._surveyor.survey(values, settings)
        ended = threading.Event()
        left = len(values)

        def done(_: WaitingTarget) -> None:
            nonlocal left
            left -= 1
            if not left:
                ended.set()

        failures: list[FailedTarget] = []

        def failed(failure: FailedTarget) -> None:
            failures.append(failure)
            ended.set()

        fetch = self._orchestrator.fetcher.fetch
        targets = [
            EagerTarget(value, fetch, done, failed)
            if settings.fail_fast
            else WaitingTarget(value, fetch, done)
            for value in values
        ]
        # The caller waits anyway: its own thread plans, unless that could take it too long.
        inline = None if survey.settled and timeout is None else 0
        references = self._references(survey.pending)
        planner.surroundings = Surroundings(references, pickled=pickled)
        run = self._orchestrator.run(targets, planner, inline, trace)
        if stop is not None:
            stop.wake(ended)
        if not wait_for_event(ended, timeout, self._watched.display):
            missing = left
            self._cancel(run, targets)
            raise late(missing, len(values), timeout)
        if failures or (stop is not None and stop.wanted):
            self._cancel(run, targets)
        if stop is not None and stop.wanted:
            raise concurrent.futures.CancelledError
        if failures:
            failures[0].reraise(self._key)
        return [_value(target, self._key) for target in targets]

    def _cancel(self, run: Run, targets: Sequence[WaitingTarget]) -> None:
        def cancel() -> None:
            for target in targets:
                self._orchestrator.cancel(run, target)
            # What only a target needs that has failed is wanted by nobody either.
            self._orchestrator.cancel_run(run)

        self._loop.run(cancel)

    def iterate(self, collection: DelayedList[Any], timeout: float | None) -> Iterator[Future[Any]]:
        """Run a collection, no further ahead than the iteration follows."""
        settings = self._settings.here()
        planner, survey = self._surveyor.survey([collection], settings)
        self._take(survey, planner)
        arrivals: _Arrivals = queue.SimpleQueue()
        renewed = self.renewing.items(collection, settings)
        futures = self._iterate(collection, timeout, planner, arrivals, renewed)
        return Iteration(futures, functools.partial(arrivals.put, None))

    def _iterate(
        self,
        collection: DelayedList[Any],
        timeout: float | None,
        planner: Planner,
        arrivals: _Arrivals,
        renewed: RenewedItems,
    ) -> Generator[Future[Any], None, None]:
        # Started at the first item that is asked for: an iterator that nobody uses is not closed.
        window = IterationWindow(config.ITERATION_WINDOW)
        target = WaitingTarget(
            collection,
            self._orchestrator.fetcher.fetch,
            lambda _: arrivals.put(None),
            lambda piece, position: arrivals.put((piece, position)),
            window,
        )
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._watched.span("as_completed", [collection]) as trace:
            run = self._orchestrator.run([target], planner, trace=trace)
        try:
            with Waiting(self._watched.display) as waiting:
                while (arrival := _next(arrivals, deadline, waiting.tick)) is not None:
                    waiting.glance()
                    piece, position = arrival
                    for future in self._arrived(
                        *(piece, position, collection, renewed), whole=target.whole
                    ):
                        if future.outcomes():
                            yield future
                    window.consume(piece.length)
            if target.error is not None:
                raise_error(target)
        finally:
            self._loop.run(_Wait(self._orchestrator, run, target).cancel)
            window.close()

    def _arrived(
        self,
        piece: PlanPiece,
        position: int,
        collection: DelayedList[Any],
        renewed: RenewedItems,
        *,
        whole: bool,
    ) -> Iterator[Future[Any]]:
        """A future for each item of a piece; where it is ``whole``, of the one list in it."""
        origin, names = self._origin_now(), Names.of(collection.node)
        if whole:
            (outcome,) = decoded = outcomes([piece], self._key)
            again = renewed.whole(decoded)
            if again is not decoded:
                piece = LocalItems([one.value for one in again])
            elif outcome.error is None:
                piece = LocalItems(outcome.value)
        if isinstance(piece, LocalItems):
            for value in piece.values:
                future: Future[Any] = Future(origin, names)
                future.settle_value(value)
                yield future
        else:
            numbers = range(piece.start, piece.stop)
            cells = cut_cells(piece.result, numbers)
            for at, (number, cell) in enumerate(zip(numbers, cells, strict=True), position):
                future = Future(origin, names)
                renewed.watch(future, at)
                future.settle_slot(piece.result, number, cell)
                yield future

    def _origin_now(self) -> FutureOrigin:
        """What the futures that are made now have in common."""
        origin = self._origin
        if origin.sessions_ended != self._orchestrator.sessions_ended:
            origin = self._origin = origin._replace(
                sessions_ended=self._orchestrator.sessions_ended
            )
        return origin

    def _take(
        self, survey: Survey, planner: Planner, pickled: dict[Node, Pickled] | None = None
    ) -> None:
        """Take what the graph refers to as it is now: the caller goes on while it is planned."""
        references = self._references(survey.pending)
        planner.surroundings = survey.surroundings(references, pickled)


class _Wait(NamedTuple):
    """What a future stands for that waits for a value of a plan."""

    orchestrator: Orchestrator
    run: Run
    target: WaitingTarget

    def cancel(self) -> bool:
        """Cancel what only it needs, in the loop's thread; see :meth:`Orchestrator.cancel`."""
        return self.orchestrator.cancel(self.run, self.target)


def _planned_at_once(survey: Survey) -> int | None:
    """How much of a plan is made before the caller goes on; None: all, since it may change it."""
    if not survey.only_calls:
        return 0
    return None if survey.changing else INLINE_ENTRIES


def _next(
    arrivals: _Arrivals, deadline: float | None, tick: Callable[[], None]
) -> tuple[PlanPiece, int] | None:
    try:
        return take(arrivals, deadline, tick)
    except queue.Empty:
        raise WaitTimeoutError("not all items have ended in time") from None


def _value(target: WaitingTarget, key: bytes) -> Any:
    """What a target that is done has come to; raises its first error."""
    if target.error is not None:
        raise_error(target)
    assert target.value is not None
    names = Names.of(target.value.node)
    found = values(target.pieces, key, names, whole=target.whole)
    return found[0] if target.whole else found
