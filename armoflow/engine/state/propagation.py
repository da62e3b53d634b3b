"""What follows by itself: queueing what is ready, aborting what can no longer come."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

from armoflow.codec.clipping import short_error
from armoflow.engine.records import (
    Changes,
    Event,
    ResultRecord,
    SessionStatus,
    Stored,
    TaskRecord,
    TaskStatus,
    make_tuple,
)
from armoflow.engine.state.record_changes import (
    ABORTED,
    CANCELLED,
    COMPLETED,
    CREATED,
    CREATING,
    DISPATCHED,
    ERROR,
    PAUSED,
    PENDING,
    PROCESSING,
    RESULT_STATUS,
    RUNNING,
    SESSION_CANCELLED,
    SESSION_DELETED,
    SESSION_PAUSED,
    SESSION_PURGED,
    SUBMITTED,
    TASK_STATUS,
    begin_cancel,
    cancel_queued,
    end_task,
    set_result,
    set_task,
)
from armoflow.engine.state.tables import Base

_ENDINGS = {TaskStatus.ERROR: "ended in error", TaskStatus.TIMEOUT: "ran out of time"}


class Propagation(Base):
    """The consequences of a change for other records."""

    def _complete(self, changes: Changes, now: float, result: ResultRecord, stored: Stored) -> None:
        """Give a result its data; ``_wake`` comes later, when all of a command's have theirs."""
        result.status = COMPLETED
        result.opaque_id, result.size = stored
        result.completed_at = now
        changes.results[result.id] = result
        changes.events.append(make_tuple(Event, (RESULT_STATUS, result, COMPLETED)))

    def _wake(self, changes: Changes, now: float, result: ResultRecord) -> None:
        """Queue the tasks that waited only for this result, which is completed now.

        Of very many some; the others in the next slices. A restart counts afresh what they wait
        for.
        """
        dependents = result.dependents
        if dependents is None:
            return
        result.dependents = None
        if len(dependents) <= self.slice_size:
            self._wake_tasks(changes, now, dependents)
        else:
            rest = iter(dependents)
            self._wake_tasks(changes, now, islice(rest, self.slice_size))
            self._waking.append(rest)

    def _wake_others(self, changes: Changes, now: float) -> None:
        """Go on with the tasks that waited for completed results, while the command has room."""
        waking = self._waking
        while waking and not self._is_full(changes):
            some = list(islice(waking[0], self.slice_size))
            if some:
                self._wake_tasks(changes, now, some)
            else:
                waking.popleft()

    def _start_announced(self, changes: Changes, now: float) -> None:
        """Go on with children whose task has ended well, while the command has room."""
        starting = self._starting
        while starting and not self._is_full(changes):
            some = list(islice(starting[0], self.slice_size))
            if not some:
                starting.popleft()
            for task_id in some:
                task = self.tasks.get(task_id)
                if task is None or task.status is not CREATING:
                    continue
                if task.remaining:
                    set_task(changes, task, PENDING)
                else:
                    self._queue(changes, now, task)

    def _wake_tasks(self, changes: Changes, now: float, task_ids: Iterable[str]) -> None:
        for task_id in task_ids:
            task = self.tasks.get(task_id)
            if task is None or (task.status is not PENDING and task.status is not CREATING):
                continue
            task.remaining -= 1
            if task.remaining or task.status is CREATING:
                continue
            if task.dependencies and self._has_lost_input(task):
                self._fail_for_lost_input(changes, now, task)
            else:
                self._queue(changes, now, task)

    def _queue(self, changes: Changes, now: float, task: TaskRecord) -> None:
        """Queue a task that has all its inputs, as its session's status allows.

        Strict: in a session that has ended, too, until an agent takes and cancels it.
        """
        status = self.sessions[task.session_id].status
        if status is RUNNING or (self.strict and status is not SESSION_PAUSED):
            task.status = SUBMITTED
            task.submitted_at = now
            changes.tasks[task.id] = task
            if self.watched:
                changes.events.append(make_tuple(Event, (TASK_STATUS, task, SUBMITTED)))
            if task.not_before > now:
                changes.delayed.append(task)
            else:
                changes.ready.append(task)
        elif status is SESSION_PAUSED:
            task.submitted_at = now
            set_task(changes, task, PAUSED)
        elif self._is_swept_soon(task, status):
            changes.tasks[task.id] = task  # no agent holds it any more
        else:
            self._cancel_queued(changes, now, task, f"its session is {status.name.lower()}")

    def _is_swept_soon(self, task: TaskRecord, status: SessionStatus) -> bool:
        """Whether a command on the task's session comes to it, to end it as all others."""
        if task.session_id not in self._sweeps:
            return False
        ending = (SESSION_CANCELLED, SESSION_DELETED)
        return status in ending or (status is SESSION_PURGED and not self.strict)

    def _give_back(self, changes: Changes, now: float, task: TaskRecord) -> None:
        """Queue a task again that an agent held."""
        return_to_queue(task)
        task.fetched_at = task.started_at = task.pod_ttl = None
        self._queue(changes, now, task)

    def _fail(
        self, changes: Changes, now: float, task: TaskRecord, status: TaskStatus, error: str
    ) -> None:
        """End a task for good, and all that depends on it."""
        end_task(changes, now, task, status, error)
        self._abort_outputs(changes, now, task, _reason(task))

    def _fail_for_lost_input(self, changes: Changes, now: float, task: TaskRecord) -> None:
        lost = [
            result_id
            for result_id in (task.payload_id, *task.dependencies)
            if (result := self.results.get(result_id)) is None or result.status is not COMPLETED
        ]
        text = f"the data of input(s) {', '.join(lost)} was deleted before the task ran"
        self._fail(changes, now, task, ERROR, text)

    def _abort_outputs(self, changes: Changes, now: float, root: TaskRecord, reason: str) -> None:
        """Abort what a task still owned; dependents end in error, and so on down."""
        self._abort_own_outputs(changes, now, root, reason)
        self._fail_orphans(changes, now)

    def _abort_own_outputs(
        self, changes: Changes, now: float, task: TaskRecord, reason: str
    ) -> None:
        results = self.results
        for output in task.outputs:
            result = results.get(output)
            if result is not None and result.status is CREATED:
                owner = result.owner_task_id
                if owner == task.id or not owner:
                    self._abort(changes, now, result, reason)

    def _abort(self, changes: Changes, now: float, result: ResultRecord, reason: str) -> None:
        """Abort one result; its dependents are orphans now."""
        result.completed_at = now
        set_result(changes, result, ABORTED)
        dependents, result.dependents = result.dependents, None
        if dependents is not None:
            self._orphans.append((reason, iter(dependents)))

    def _fail_orphans(self, changes: Changes, now: float) -> None:
        """End tasks whose input was aborted, and abort their outputs, while the command has room.

        Iterative, as chains may be longer than Python's stack. The reason is one string for all. A
        task ends together with its outputs: a restart finds the others by their aborted inputs.
        """
        orphans = self._orphans
        while orphans and not self._is_full(changes):
            reason, dependents = orphans[0]
            task_id = next(dependents, None)
            if task_id is None:
                orphans.popleft()
                continue
            task = self.tasks.get(task_id)
            if task is not None and task.status in (PENDING, CREATING):
                end_task(changes, now, task, ERROR, reason)
                self._abort_own_outputs(changes, now, task, reason)

    def _begin_cancel(
        self, changes: Changes, now: float, tasks: Iterable[TaskRecord]
    ) -> list[TaskRecord]:
        """Make tasks cancelling; returns those that no agent holds, for ``_end_cancel``.

        Those that an agent holds are interrupted, and end when it says that it has stopped.
        """
        free = []
        for task in tasks:
            status = task.status
            begin_cancel(changes, now, task)
            if status in (DISPATCHED, PROCESSING):
                changes.interrupted.append(task)
            elif not self.strict or task.not_before:
                # ArmoniK.Core ends only what an agent takes from the queue: the others, and those
                # of a partition without agents, are cancelling for ever.
                task.success = task.success and status is not SUBMITTED
                free.append(task)
        return free

    def _end_cancel(self, changes: Changes, tasks: Iterable[TaskRecord]) -> None:
        for task in tasks:
            set_task(changes, task, CANCELLED)

    def _cancel_queued(self, changes: Changes, now: float, task: TaskRecord, reason: str) -> None:
        """End a task that will not be run, and what depends on it."""
        cancel_queued(changes, now, task)
        self._abort_outputs(changes, now, task, f"task {task.id} was cancelled: {reason}")


def return_to_queue(task: TaskRecord) -> None:
    """Take a task from the agent that holds it."""
    task.owner = ""
    task.received_at = task.acquired_at = None


def _reason(root: TaskRecord) -> str:
    """Why the dependents of a task end in error; of a long error text a short form."""
    return f"task {root.id} {_ENDINGS[root.status]}: {short_error(root.error)}"
