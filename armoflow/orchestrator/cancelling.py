"""Cancelling: what nobody wants any more is not run, what others need goes on.

Lives in the loop's thread.
"""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from armoflow.orchestrator.planned import PlannedTask, PlanPiece, Result, SlotRange
from armoflow.orchestrator.targets import WaitingTarget
from armoflow.orchestrator.tracker import Tracker, blame_for

if TYPE_CHECKING:
    from armoflow.orchestrator.run import Run
    from armoflow.orchestrator.submit import Pipeline


def cancelled() -> concurrent.futures.CancelledError:
    """What who waits for something cancelled gets."""
    return concurrent.futures.CancelledError()


class Canceller:
    """Cancels what runs and targets need, and nobody else.

    Args:
        tracker: What is under way.
        pipeline: What is on its way to the engine.
        tell: Has the engine cancel tasks.
    """

    def __init__(
        self, tracker: Tracker, pipeline: Pipeline, tell: Callable[[Sequence[PlannedTask]], None]
    ) -> None:
        self._tracker = tracker
        self._pipeline = pipeline
        self._tell = tell

    def cancel(self, run: Run, target: WaitingTarget) -> bool:
        """Cancel what only this target needs.

        Returns:
            False if another target needs the very same items, or if it is done already.
        """
        if target.ended or _is_shared(target):
            return False
        target.cancelled = True
        target.fail(cancelled())
        if not run.live():
            run.stop()
            self.cancel_run(run)
        elif run.planned:  # else what is planned later may need the same: see `planned`
            self._cancel_unwanted(target.pieces)
        return True

    def cancel_task(self, task: PlannedTask) -> None:
        """Nobody wants a task any more that nobody else can want."""
        self._cancel([task])

    def cancel_result(self, result: Result) -> None:
        """Nobody wants any of a result's values any more, as far as those know who waited."""
        self._cancel_unwanted([SlotRange(result, 0, 1)])

    def planned(self, run: Run) -> None:
        """A plan was submitted whole, or given up: now it is known what nobody wants."""
        if run.stopped:
            self.cancel_run(run)
            return
        for target in run.targets:
            if target.cancelled:
                self._cancel_unwanted(target.pieces)

    def cancel_run(self, run: Run) -> None:
        """Cancel what a run needs and no other does."""
        self._pipeline.drop(lambda task: task.run is run.planner, cancelled())
        # The last first: while what runs is stopped, nothing that waits takes its place.
        latest = self._tracker.of_run(run.planner)
        self._cancel([task for task in latest if not _is_needed_elsewhere(task)])

    def cancel_all(self) -> None:
        """Cancel everything, without a word to the engine: the session is cancelled as a whole."""
        self._pipeline.interrupt(cancelled())
        for task in set(self._tracker.open.values()):
            self._tracker.fail(task, blame_for(task, error=cancelled()))

    def _cancel_unwanted(self, pieces: Iterable[PlanPiece]) -> None:
        """Cancel tasks none of whose items is wanted, and those that only they need."""
        stack = [piece.result for piece in pieces if isinstance(piece, SlotRange)]
        queue = _Queue(self._pipeline.unsubmitted())
        while stack:
            result = stack.pop()
            task = self._tracker.open.get(result.id) or queue.makers.get(result)
            # The last first: what is cancelled one by one mostly begins at the other end.
            if task is None or any(
                _is_wanted(output) or queue.readers.get(output) for output in reversed(task.outputs)
            ):
                continue
            for upstream in task.inputs:
                upstream.remove_consumer(task)
                readers = queue.readers.get(upstream, [])
                if task in readers:
                    readers.remove(task)
                stack.append(upstream)
            self._cancel([task])

    def _cancel(self, tasks: Iterable[PlannedTask]) -> None:
        submitted = []
        for task in tasks:
            if not task.held:  # else the engine is told once it knows the task
                submitted.append(task)
            self._tracker.fail(task, blame_for(task, error=cancelled()))
        self._tell(submitted)
        self._pipeline.freed()


class _Queue:
    """Who makes and who needs what in the tasks that the tracker does not know yet."""

    def __init__(self, tasks: Iterable[PlannedTask]) -> None:
        self.makers: dict[Result, PlannedTask] = {}
        self.readers: dict[Result, list[PlannedTask]] = {}
        for task in tasks:
            if task.open_outputs:
                self.makers.update((output, task) for output in task.outputs)
                for result in task.inputs:
                    self.readers.setdefault(result, []).append(task)


def _is_shared(target: WaitingTarget) -> bool:
    """Whether another target waits for an item of this one."""
    for piece in target.pieces:
        if isinstance(piece, SlotRange):
            for other in piece.result.waiters:
                if (
                    isinstance(other, WaitingTarget)
                    and other is not target
                    and any(_overlap(piece, one) for one in other.pieces)
                ):
                    return True
    return False


def _overlap(first: SlotRange, second: PlanPiece) -> bool:
    return (
        isinstance(second, SlotRange)
        and first.result is second.result
        and first.start < second.stop
        and second.start < first.stop
    )


def _is_wanted(result: Result) -> bool:
    return bool(result.consumers) or any(not waiter.cancelled for waiter in result.waiters)


def _is_needed_elsewhere(task: PlannedTask) -> bool:
    return any(
        consumer.run is not task.run for output in task.outputs for consumer in output.consumers
    )
