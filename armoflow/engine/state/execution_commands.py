"""What agents report: acquired, started, given back, succeeded, failed, stopped."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from armoflow.engine.records import (
    FINAL,
    Changes,
    StateError,
    TaskRecord,
    TaskStatus,
)
from armoflow.engine.state.announcing import Announcing
from armoflow.engine.state.committing import TaskSuccess
from armoflow.engine.state.record_changes import (
    CANCELLING,
    DISPATCHED,
    ERROR,
    PROCESSING,
    RUNNING,
    SESSION_PAUSED,
    SUBMITTED,
    TASK_STATUS,
    set_task,
    tell,
)

logger = logging.getLogger(__name__)


class ExecutionCommands(Announcing):
    """Acquire, start, release, run, complete, fail, cancel.

    Agents race with cancellation and deletion. So what they report of a task that is unknown or has
    ended changes nothing, and of a task that is being cancelled ends the cancellation.
    """

    def acquire(self, now: float, task_id: str, owner: str) -> Changes:
        """Give a queued task to an agent (dispatched).

        If data that it needs was deleted, the task ends in error instead; if its session does not
        run any more, nothing happens: look at its status.
        """
        task = self._task(task_id)
        _check_status(task, "acquired", SUBMITTED)
        changes = Changes()
        if self.sessions[task.session_id].status is not RUNNING:
            self._refuse(changes, now, task)
            return changes
        if self._has_lost_input(task):
            self._fail_for_lost_input(changes, now, task)
            return changes
        task.owner = owner
        task.not_before = 0.0
        task.received_at = task.acquired_at = now
        task.may_submit = self.sessions[task.session_id].worker_submission
        set_task(changes, task, DISPATCHED)
        return changes

    def start(self, now: float, task_id: str, owner: str | None = None) -> Changes:
        """The agent starts a dispatched task; refused if it was taken away meanwhile."""
        task = self._task(task_id)
        _check_status(task, "started", DISPATCHED, owner=owner)
        changes = Changes()
        task.fetched_at = task.started_at = task.pod_ttl = now
        set_task(changes, task, PROCESSING)
        return changes

    def put_behind(self, now: float, task_ids: Iterable[str]) -> Changes:
        """Tasks that were started wait for another one of their agent: they are dispatched again.

        The agent starts each when its turn comes. Those that are not processing are skipped.
        """
        changes = Changes()
        for task_id in task_ids:
            task = self.tasks.get(task_id)
            if task is not None and task.status is PROCESSING:
                task.fetched_at = task.started_at = task.pod_ttl = None
                set_task(changes, task, DISPATCHED)
        return changes

    def run(self, now: float, task_ids: Iterable[str], owner: str) -> Changes:
        """Acquire and start many tasks; those no longer queued are skipped.

        So are those of sessions that do not run any more, whose turn to be ended or held comes.

        The tasks to run are those of ``Changes.tasks`` whose status is PROCESSING: one whose inputs
        were deleted ends in error instead. Watchers are not told of the instant between.
        """
        changes = Changes()
        tasks = self.tasks
        sessions = self.sessions
        started: dict[str, TaskRecord] = {}
        for task_id in task_ids:
            task = tasks.get(task_id)
            if task is None or task.status is not SUBMITTED:
                continue
            session = sessions[task.session_id]
            if session.status is not RUNNING:
                self._refuse(changes, now, task)
                continue
            if self._has_lost_input(task):
                self._fail_for_lost_input(changes, now, task)
                continue
            task.status = PROCESSING
            task.owner = owner
            task.not_before = 0.0
            task.received_at = task.acquired_at = task.fetched_at = now
            task.started_at = task.pod_ttl = now
            task.may_submit = session.worker_submission
            started[task_id] = task
        changes.tasks.update(started)
        if self.watched:
            tell(changes, TASK_STATUS, started.values(), PROCESSING)
        return changes

    def _refuse(self, changes: Changes, now: float, task: TaskRecord) -> None:
        """A task that is taken from the queue for a session that does not run any more.

        The command that ended the session ends its tasks, too. Strict: tasks are cancelled now, as
        in ArmoniK.Core.
        """
        session = self.sessions[task.session_id]
        if self.strict and session.status is not SESSION_PAUSED:
            reason = f"its session is {session.status.name.lower()}"
            self._cancel_queued(changes, now, task, reason)

    def release(self, now: float, task_id: str, owner: str | None = None) -> Changes:
        """The agent gives a task back unharmed: it is queued again, no retry is counted."""
        changes = Changes()
        task = self.tasks.get(task_id)
        if task is None or self._is_over(changes, task):
            return changes
        _check_status(task, "released", DISPATCHED, PROCESSING, owner=owner)
        self._give_back(changes, now, task)
        return changes

    def delay(self, now: float, task_id: str, not_before: float) -> Changes:
        """The agent gives a task back that waits for a retry: it is queued again at that time."""
        changes = Changes()
        task = self.tasks.get(task_id)
        if task is None or self._is_over(changes, task):
            return changes
        _check_status(task, "delayed", PROCESSING)
        task.not_before = not_before
        self._give_back(changes, now, task)
        return changes

    def complete_tasks(self, now: float, commits: Iterable[TaskSuccess]) -> Changes:
        """Commit successes, each in the order of ArmoniK.Core's agent.

        If an expected output was neither produced nor handed to a child, the task ends in error and
        nothing of what it did happens (strict: it completes, and who waits for the output hangs). A
        task whose effects are refused, for example since a child needs an unknown result, fails
        with a retry.
        """
        changes = Changes()
        for commit in commits:
            try:
                self._commit_or_fail(changes, now, commit)
            except MemoryError:  # noqa: PERF203 - each for itself
                raise
            except Exception as error:  # the others are not harmed by what it cannot be
                logger.exception("the success of task %s could not be committed", commit[0])
                self._fail_broken(changes, now, commit[0], error)
        return changes

    def _fail_broken(self, changes: Changes, now: float, task_id: str, error: Exception) -> None:
        """Fail a task whose success met what it should not have."""
        task = self.tasks.get(task_id)
        if task is not None and not self._is_over(changes, task):
            text = f"its success could not be committed: {type(error).__name__}: {error}"
            self._fail_or_retry(changes, now, task, ERROR, text, retry=False)

    def fail_task(
        self,
        now: float,
        task_id: str,
        error: str,
        *,
        status: TaskStatus = TaskStatus.ERROR,
        retry: bool = False,
    ) -> Changes:
        """End a task in failure; with ``retry`` it is tried again while its options allow it.

        A timeout is never retried.
        """
        changes = Changes()
        task = self.tasks.get(task_id)
        if task is None or self._is_over(changes, task):
            return changes
        _check_status(task, "failed", DISPATCHED, PROCESSING)
        self._fail_or_retry(changes, now, task, status, error, retry=retry)
        return changes

    def cancel_tasks(self, now: float, task_ids: Iterable[str]) -> Changes:
        """Cancel tasks that have not ended; running ones are cancelling until their agent stops.

        What depends on them ends in error.
        """
        changes = Changes()
        chosen = (self.tasks.get(task_id) for task_id in dict.fromkeys(task_ids))
        tasks = [
            task
            for task in chosen
            if task is not None and task.status not in FINAL and task.status is not CANCELLING
        ]
        free = self._begin_cancel(changes, now, tasks)
        for task in tasks:
            reason = f"task {task.id} was cancelled: a client asked to cancel it"
            self._abort_outputs(changes, now, task, reason)
        self._end_cancel(changes, free)
        return changes

    def stopped(self, now: float, task_ids: Iterable[str]) -> Changes:
        """Agents have stopped these tasks, or taken them from the queue: they are cancelled."""
        changes = Changes()
        for task_id in task_ids:
            task = self.tasks.get(task_id)
            if task is not None:
                self._is_over(changes, task)
        return changes


def _check_status(
    task: TaskRecord, verb: str, *allowed: TaskStatus, owner: str | None = None
) -> None:
    """Refuse what the task's status, or its new owner, does not allow."""
    if task.status not in allowed:
        wanted = " or ".join(status.name.lower() for status in allowed)
        raise StateError(
            "FAILED_PRECONDITION",
            f"task {task.id} is {task.status.name.lower()}: only a {wanted} task can be {verb}",
        )
    if owner is not None and task.owner != owner:
        raise StateError(
            "FAILED_PRECONDITION",
            f"task {task.id} is held by {task.owner!r}, not by {owner!r}: leave it alone",
        )
