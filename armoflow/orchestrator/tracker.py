"""Which tasks are under way, and what becomes of their results.

Lives in the loop's thread. The engine tells of results, never of task states: a result is what
somebody waits for, and the reference engine leaves some task states dangling.
"""

from __future__ import annotations

import itertools
import logging
from collections import deque
from collections.abc import Callable, Iterable, Sequence

from armoflow.codec.container import stranger
from armoflow.codec.payload import Operation
from armoflow.orchestrator.blame import Blame
from armoflow.orchestrator.planned import PlannedTask, Result
from armoflow.protocol.result_handle import Failure, ResultChange, ResultState

logger = logging.getLogger(__name__)

FEW = 8
"""Outputs of a task up to which the one of an id is looked for among them."""


class Tracker:
    """The tasks that were submitted and have not ended, by the ids of their open results.

    Args:
        unmeasured: Told of tasks that completed where the engine did not say how long they ran.
        ended: Told of every task that has ended, whether it was submitted or not.
    """

    def __init__(
        self,
        unmeasured: Callable[[PlannedTask, Result], None] = lambda task, result: None,
        ended: Callable[[PlannedTask], None] = lambda task: None,
    ) -> None:
        self._unmeasured = unmeasured
        self._ended = ended
        self.open: dict[str, PlannedTask] = {}
        self._wide: dict[PlannedTask, dict[str, Result]] = {}
        self._by_run: dict[object, dict[PlannedTask, None]] = {}
        self.ended_tasks = 0

    def __len__(self) -> int:
        return len(self.open)

    def add(self, tasks: Iterable[PlannedTask]) -> None:
        """Tasks whose outputs have their ids now."""
        by_run = self._by_run
        for task in tasks:
            is_open = False
            for output in task.outputs:
                if not output.final:  # it may have been cancelled on its way
                    self.open[output.id] = task
                    is_open = True
            if is_open and task.run is not None:
                of_run = by_run.get(task.run)
                if of_run is None:
                    by_run[task.run] = {task: None}
                else:
                    of_run[task] = None
            for result in task.inputs:
                if not result.final:
                    result.add_consumer(task)

    def forget(self, tasks: Iterable[PlannedTask], ids: Iterable[str]) -> None:
        """Tasks that were not submitted after all, or whose results got others than these ids."""
        for result_id in ids:
            self.open.pop(result_id, None)
        for task in tasks:
            self._let_go(task)
            for result in task.inputs:
                result.remove_consumer(task)

    def of_run(self, run: object) -> list[PlannedTask]:
        """The tasks of a run that are under way, the last first; no others are looked at."""
        return [*reversed(self._by_run.get(run, {}))]

    def apply(self, changes: Sequence[ResultChange]) -> list[tuple[Result, ResultChange]]:
        """Take in what the engine says.

        Returns:
            Results that were aborted (or whose data is gone) and need an explanation; they stay
            open until :meth:`abort` gets it.
        """
        unexplained = []
        for change in changes:
            task = self.open.get(change.result_id)
            if task is None:
                continue
            result = self._output(task, change.result_id)
            if result is None:  # it was given up while it was being submitted
                del self.open[change.result_id]
                continue
            if change.state is ResultState.COMPLETED:
                data = change.data
                if data is not None and not stranger(data):  # else it is fetched, and looked at
                    result.data = data
                result.size = change.size
                result.ran = change.seconds
                self._end(task, result, ResultState.COMPLETED)
                self._measure(task, result, change.seconds)
            elif change.state is ResultState.ABORTED or not task.held:
                # What is being submitted may not be known to the engine yet, or not any more where
                # its batch was refused.
                unexplained.append((result, change))
        return unexplained

    def _measure(self, task: PlannedTask, result: Result, seconds: float | None) -> None:
        if not task.curious:
            return
        if seconds is not None:
            task.measured(seconds, result.size)
        elif task.open_outputs == 0:
            self._unmeasured(task, result)

    def adopt(self, task: PlannedTask, results: Sequence[tuple[Result, Result]]) -> None:
        """A task has completed with results that another one has made in its place."""
        self._wide.pop(task, None)
        for own, other in results:
            self.open.pop(own.id, None)
            own.id, own.size, own.ran, own.data = other.id, other.size, other.ran, other.data
            self._end(task, own, ResultState.COMPLETED)

    def failed_input(self, task: PlannedTask) -> Blame | None:
        """The blame of an input that failed, if there is one."""
        for result in task.inputs:
            if result.blame is not None:
                return result.blame
        return None

    def abort(self, result: Result, failure: Failure | None) -> list[PlannedTask]:
        """A result will not come, and so will not those of the tasks that need it.

        Returns:
            Submitted tasks that the failure takes with it.
        """
        task = self.open.get(result.id)
        if task is None:
            return []
        cause = self.failed_input(task)
        task.broken = cause is None
        blame = (
            blame_for(task, failure=failure, gone=result.id)
            if cause is None
            else derive(task, cause)
        )
        # Its other outputs may come: each may have been handed to a child of its own.
        return self._fail(task, blame, [result])

    def fail(self, task: PlannedTask, blame: Blame) -> list[PlannedTask]:
        """End a task and all that depends on it with a blame; returns the dependents."""
        return self._fail(task, blame, task.outputs)

    def _fail(
        self, task: PlannedTask, blame: Blame, outputs: Sequence[Result]
    ) -> list[PlannedTask]:
        blames = {task: blame}
        pending = deque(blames)
        while pending:
            failed = pending.popleft()
            blame = blames[failed]
            lost = list(outputs if failed is task else failed.outputs)
            consumers = [consumer for output in lost for consumer in output.consumers]
            for output in lost:
                if not output.final:
                    output.blame = blame
                    self._end(failed, output, ResultState.ABORTED)
            for consumer in consumers:
                if consumer not in blames and any(not output.final for output in consumer.outputs):
                    blames[consumer] = derive(consumer, blame)
                    pending.append(consumer)
        del blames[task]
        return list(blames)

    def _end(self, task: PlannedTask, result: Result, state: ResultState) -> None:
        if self.open.get(result.id) is task:  # an adopted one has the id of another's
            del self.open[result.id]
        task.open_outputs -= 1
        if task.open_outputs == 0:
            self.ended_tasks += 1
            self._let_go(task)
            self._ended(task)
            task.let_go()
        result.end(state)

    def _let_go(self, task: PlannedTask) -> None:
        """A task is not under way any more."""
        if self._wide:
            self._wide.pop(task, None)
        of_run = self._by_run.get(task.run)
        if of_run is not None:
            of_run.pop(task, None)
            if not of_run:
                del self._by_run[task.run]

    def _output(self, task: PlannedTask, result_id: str) -> Result | None:
        """The output that has an id; those of a task with many are told of one by one."""
        outputs = task.outputs
        if len(outputs) > FEW:
            found = self._wide.get(task)
            if found is None:
                found = self._wide[task] = {output.id: output for output in outputs}
            return found.get(result_id)
        for output in outputs:
            if output.id == result_id:
                return output
        return None


def blame_for(
    task: PlannedTask,
    *,
    failure: Failure | None = None,
    gone: str = "",
    error: BaseException | None = None,
) -> Blame:
    """The blame of a task that failed itself."""
    inputs = ((result.name, result.id) for result in task.inputs)
    needs = itertools.chain(inputs, [("", task.payload_id)] if task.payload_id else [])
    return Blame(
        task.label, positions=task.several, failure=failure, needs=needs, gone=gone, error=error
    )


def derive(task: PlannedTask, cause: Blame) -> Blame:
    """The blame of a task that did not run because an input failed."""
    if task.operation is Operation.GATHER:
        return cause  # it would only have copied
    if task.operation is Operation.COMBINE and task.label == cause.name:
        return cause  # a reduction is one step, however many tasks it takes
    *before, _ = names = task.names
    cause.root.skipped += task.items * len(names)
    for name in before:
        cause = Blame(name, cause=cause)
    return Blame(task.label, positions=task.several, cause=cause)
