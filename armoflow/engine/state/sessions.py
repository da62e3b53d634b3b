"""Commands on sessions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from armoflow.engine.records import (
    FINAL,
    Changes,
    Options,
    ResultRecord,
    SessionRecord,
    SessionStatus,
    StateError,
    TaskRecord,
)
from armoflow.engine.state.options import check_default_options, merge_options
from armoflow.engine.state.propagation import Propagation, return_to_queue
from armoflow.engine.state.record_changes import (
    ABORTED,
    CANCELLED,
    CANCELLING,
    CREATED,
    CREATING,
    DELETED,
    DISPATCHED,
    ERROR,
    PAUSED,
    PENDING,
    PROCESSING,
    SUBMITTED,
    end_task,
    set_result,
    set_task,
)


class SessionCommands(Propagation):
    """Create, pause, resume, stop, close, cancel, purge and delete."""

    def create_session(
        self, now: float, session_id: str, options: Options, partition_ids: Sequence[str]
    ) -> Changes:
        """Open a session. No partitions (or one empty name) means the default partition."""
        if session_id in self.sessions:
            raise StateError("ALREADY_EXISTS", f"session {session_id!r} exists already")
        check_default_options(options, strict=self.strict)
        names = tuple(dict.fromkeys(partition_ids))
        if not names or names == ("",):
            names = (self.default_partition,)
        partition_id = options.partition_id or self.default_partition
        for name in (*names, partition_id):
            if name not in self.partitions:
                known = ", ".join(map(repr, self.partitions))
                raise StateError(
                    "NOT_FOUND", f"partition {name!r} does not exist: this engine has {known}"
                )
        options = merge_options(options, Options(partition_id=partition_id))
        session = SessionRecord(session_id, names, options, now)
        self.sessions[session_id] = session
        self._forgotten.setdefault(session_id, set())
        return Changes(sessions={session_id: session})

    def pause_session(self, now: float, session_id: str) -> Changes:
        """Hold what is queued. Dispatched tasks are held too, and their agents interrupted."""
        session = self._session_in(session_id, "paused", SessionStatus.RUNNING)
        session.status = SessionStatus.PAUSED
        changes = Changes(sessions={session_id: session})
        for task in self._tasks_of(session_id):
            if task.status is DISPATCHED:
                changes.interrupted.append(task)
            elif task.status is not SUBMITTED:
                continue
            return_to_queue(task)
            set_task(changes, task, PAUSED)
        return changes

    def resume_session(self, now: float, session_id: str) -> Changes:
        """Queue the tasks that were held, the highest priority first."""
        session = self._session_in(
            session_id, "resumed", SessionStatus.PAUSED, SessionStatus.RUNNING
        )
        session.status = SessionStatus.RUNNING
        changes = Changes(sessions={session_id: session})
        held = [task for task in self._tasks_of(session_id) if task.status is PAUSED]
        held.sort(key=lambda task: (-task.options.priority, task.order))
        for task in held:
            self._queue(changes, now, task)
        return changes

    def stop_submission(self, now: float, session_id: str, client: bool, worker: bool) -> Changes:
        """Refuse further submissions of clients, of tasks, or of both."""
        session = self._session(session_id)
        if client:
            session.client_submission = False
        if worker:
            session.worker_submission = False
        return Changes(sessions={session_id: session})

    def close_session(self, now: float, session_id: str) -> Changes:
        """End a session: running tasks finish, queued and held ones are cancelled.

        A task that still waits is cancelled when its inputs are complete.
        """
        session = self._session_in(
            session_id, "closed", SessionStatus.RUNNING, SessionStatus.PAUSED
        )
        session.status = SessionStatus.CLOSED
        session.closed_at = now
        session.duration = now - session.created_at
        changes = self._shut(session)
        self._cancel_unstarted(changes, now, session_id, f"session {session_id} was closed", False)
        return changes

    def cancel_session(self, now: float, session_id: str) -> Changes:
        """Cancel all that has not ended; running tasks are interrupted (cancelling until then)."""
        session = self._session_in(
            session_id,
            "cancelled",
            SessionStatus.RUNNING,
            SessionStatus.PAUSED,
            SessionStatus.CLOSED,
        )
        session.status = SessionStatus.CANCELLED
        session.cancelled_at = now
        changes = self._shut(session)
        reason = f"session {session_id} was cancelled"
        live = [
            task
            for task in self._tasks_of(session_id)
            if task.status not in FINAL and task.status is not CANCELLING
        ]
        created = [result for result in self._results_of(session_id) if result.status is CREATED]
        waiting = self._foreign_dependents(session_id, created)
        for result in created:
            # As in ArmoniK.Core, without a completion date; dependents are cancelled, not in error.
            set_result(changes, result, ABORTED)
            result.dependents = None
        self._end_cancel(changes, self._begin_cancel(changes, now, live, reason))
        self._fail_foreign(changes, now, waiting, reason)
        return changes

    def purge_session(self, now: float, session_id: str) -> Changes:
        """Delete the data of a closed or cancelled session, except results of manual deletion.

        What has not started by then is cancelled; what runs may end, its data is dropped.
        """
        session = self._session_in(
            session_id, "purged", SessionStatus.CLOSED, SessionStatus.CANCELLED
        )
        session.status = SessionStatus.PURGED
        session.purged_at = now
        changes = self._shut(session)
        reason = f"session {session_id} was purged"
        results = [r for r in self._results_of(session_id) if not r.manual_deletion]
        if not self.strict:
            self._cancel_unstarted(changes, now, session_id, reason, True)
            created = [result for result in results if result.status is CREATED]
            self._abort_all(changes, now, created, reason)
        for result in results:
            if result.status is not DELETED:
                self._delete_data(changes, result)
        return changes

    def delete_session(self, now: float, session_id: str) -> Changes:
        """Remove a session and all its tasks and results; an unknown one is no error.

        The data of its results goes too, except of those of manual deletion (strict: none).
        """
        session = self.sessions.pop(session_id, None)
        self._forgotten.pop(session_id, None)
        results = self._results_of(session_id)
        changes = Changes(removed_sessions=[session_id])
        if session is not None:
            session.status = SessionStatus.DELETED
            session.deleted_at = now
        waiting = self._foreign_dependents(session_id, results)
        for task in self._tasks_of(session_id):
            del self.tasks[task.id]
            if task.status in FINAL:
                continue
            if task.status in (DISPATCHED, PROCESSING):
                changes.interrupted.append(task)
            task.status = CANCELLED
        for result in results:
            del self.results[result.id]
            if not (self.strict or result.manual_deletion):
                self._discard(changes, result.opaque_id)
        self._fail_foreign(changes, now, waiting, f"session {session_id} was deleted")
        return changes

    def _session_in(self, session_id: str, verb: str, *allowed: SessionStatus) -> SessionRecord:
        """A session in one of the statuses that the transition starts from."""
        session = self._session(session_id)
        if session.status in allowed:
            return session
        unforeseen = session.status is SessionStatus.CLOSED and verb in ("paused", "resumed")
        wanted = " or ".join(status.name.lower() for status in allowed)
        raise StateError(
            # ArmoniK.Core forgot the closed session in these two.
            "UNKNOWN" if self.strict and unforeseen else "FAILED_PRECONDITION",
            f"session {session_id} is {session.status.name.lower()}: "
            f"only a {wanted} session can be {verb}",
        )

    def _shut(self, session: SessionRecord) -> Changes:
        session.client_submission = False
        session.worker_submission = False
        return Changes(sessions={session.id: session})

    def _cancel_unstarted(
        self, changes: Changes, now: float, session_id: str, reason: str, waiting: bool
    ) -> None:
        """Cancel the tasks that are queued or held, and on demand those that wait."""
        statuses = (SUBMITTED, PAUSED, PENDING, CREATING) if waiting else (SUBMITTED, PAUSED)
        tasks = [task for task in self._tasks_of(session_id) if task.status in statuses]
        for task in tasks:
            end_task(changes, now, task, CANCELLED, reason)
        for task in tasks:
            self._abort_outputs(changes, now, task, f"task {task.id} was cancelled: {reason}")

    def _foreign_dependents(
        self, session_id: str, results: Iterable[ResultRecord]
    ) -> list[TaskRecord]:
        """Tasks of other sessions that wait for results of this one."""
        if self.strict:
            return []
        return [
            task
            for result in results
            for task_id in result.dependents or ()
            if (task := self.tasks.get(task_id)) is not None and task.session_id != session_id
        ]

    def _fail_foreign(
        self, changes: Changes, now: float, tasks: Iterable[TaskRecord], reason: str
    ) -> None:
        for task in tasks:
            if task.status is PENDING:
                self._fail(changes, now, task, ERROR, reason)
