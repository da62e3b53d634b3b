"""Commands on whole sessions, a slice at a time.

A command changes its session's status, which holds from that moment on: nothing of the session is
started any more that must not be. Then it comes to the session's tasks and results, ``slice_size``
of them in one command; the rest is done by :meth:`Sweeps.go_on`. A session that is not done is
``sweeping`` in the journal, so that a restart goes on with it.
"""

from __future__ import annotations

from collections.abc import Iterable

from armoflow.engine.records import (
    FINAL,
    Changes,
    ResultRecord,
    SessionRecord,
    SessionStatus,
    TaskRecord,
)
from armoflow.engine.state.members import Sweep
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
    cancel_queued,
    set_result,
    set_task,
)
from armoflow.engine.state.shards import Shards

_VERBS = {
    SessionStatus.CLOSED: "closed",
    SessionStatus.CANCELLED: "cancelled",
    SessionStatus.PURGED: "purged",
    SessionStatus.DELETED: "deleted",
}


class Sweeps(Propagation):
    """The steps of the commands on sessions, by the status that they give."""

    @property
    def unfinished(self) -> bool:
        """Whether commands have left something for :meth:`go_on`."""
        return bool(self._sweeps or self._orphans or self._waking or self._starting)

    @property
    def is_starting(self) -> bool:
        """Whether announced tasks are still to be started."""
        return bool(self._starting)

    def is_sweeping(self, session_id: str) -> bool:
        """Whether a command on a whole session is not finished."""
        return session_id in self._sweeps

    def go_on(self, now: float) -> Changes:
        """Do a slice of what earlier commands have left; sessions take turns."""
        changes = Changes()
        self._fail_orphans(changes, now)
        self._wake_others(changes, now)
        self._start_announced(changes, now)
        if self._sweeps and not self._is_full(changes):
            session_id = next(iter(self._sweeps))
            sweep = self._sweeps.pop(session_id)
            self._sweeps[session_id] = sweep
            self._sweep(changes, now, sweep, self.slice_size)
        return changes

    def _begin_sweep(
        self, changes: Changes, now: float, session: SessionRecord, held: Iterable[str] = ()
    ) -> Changes:
        """Come to all members of a session; ``held`` are the ids of tasks that are first."""
        changes.sessions[session.id] = session
        members = self._members[session.id]
        for task_id in held:
            task = members.tasks.get(task_id)
            if task is not None:
                self._sweep_task(changes, now, session, task)
        sweep = Sweep(session, members.tasks, Shards())
        members.tasks = Shards()
        if session.status not in (
            SessionStatus.RUNNING,
            SessionStatus.PAUSED,
            SessionStatus.CLOSED,
        ):
            sweep.results, members.results = members.results, Shards()
        self._sweeps[session.id] = sweep
        session.sweeping = True
        self._sweep(changes, now, sweep, self.slice_size)
        return changes

    def _finish_sweep(self, changes: Changes, now: float, session_id: str) -> None:
        """Bring an earlier command on a session to its end before the next one."""
        sweep = self._sweeps.get(session_id)
        if sweep is not None:
            self._sweep(changes, now, sweep, len(sweep.tasks) + len(sweep.results))

    def _sweep(self, changes: Changes, now: float, sweep: Sweep, count: int) -> None:
        """Come to the next members of a session."""
        session = sweep.session
        # Results of a cancelled session are aborted first: their dependents are cancelled too,
        # not in error.
        results_first = session.status is SessionStatus.CANCELLED
        members = self._members[session.id]
        for _ in range(count):
            if sweep.results and (results_first or not sweep.tasks):
                result_id, result = sweep.results.take()
                self._sweep_result(changes, now, session, result)
                if result_id in self.results:
                    members.results.add({result_id: result})
            elif sweep.tasks:
                task_id, task = sweep.tasks.take()
                self._sweep_task(changes, now, session, task)
                if task_id in self.tasks:
                    members.tasks.add({task_id: task})
            else:
                break
        if not (sweep.tasks or sweep.results):
            self._end_sweep(changes, session)

    def _end_sweep(self, changes: Changes, session: SessionRecord) -> None:
        del self._sweeps[session.id]
        session.sweeping = False
        if not session.client_submission:
            self._members[session.id].forget_all()
        changes.sessions[session.id] = session
        if session.status is SessionStatus.DELETED:
            del self.sessions[session.id]
            del self._members[session.id]
            changes.removed_sessions.append(session.id)

    # --- tasks ---

    def _sweep_task(
        self, changes: Changes, now: float, session: SessionRecord, task: TaskRecord
    ) -> None:
        match session.status:
            case SessionStatus.RUNNING:
                if task.status is PAUSED:
                    self._queue(changes, now, task)
            case SessionStatus.PAUSED:
                self._hold(changes, task)
            case SessionStatus.CLOSED:
                # Strict: what is queued is cancelled when an agent takes it.
                if task.status is PAUSED or (task.status is SUBMITTED and not self.strict):
                    self._cancel_queued(changes, now, task, _reason(session))
            case SessionStatus.CANCELLED:
                if task.status not in FINAL and task.status is not CANCELLING:
                    free = self._begin_cancel(changes, now, [task])
                    self._end_cancel(changes, free)
            case SessionStatus.PURGED:
                # Their outputs' turn comes, with those of the others.
                if not self.strict and task.status in (SUBMITTED, PAUSED, PENDING, CREATING):
                    cancel_queued(changes, now, task)
            case SessionStatus.DELETED:
                self._remove_task(changes, task)

    def _hold(self, changes: Changes, task: TaskRecord) -> None:
        if task.status is DISPATCHED:
            changes.interrupted.append(task)
        elif task.status is not SUBMITTED:
            return
        return_to_queue(task)
        set_task(changes, task, PAUSED)

    def _remove_task(self, changes: Changes, task: TaskRecord) -> None:
        if self.tasks.pop(task.id, None) is None or task.status in FINAL:
            return
        if task.status in (DISPATCHED, PROCESSING) or task.not_before:
            changes.interrupted.append(task)
        task.status = CANCELLED

    # --- results ---

    def _sweep_result(
        self, changes: Changes, now: float, session: SessionRecord, result: ResultRecord
    ) -> None:
        match session.status:
            case SessionStatus.CANCELLED:
                if result.status is CREATED:
                    foreign = self._foreign_dependents(result)
                    # As in ArmoniK.Core, without a completion date; dependents are cancelled, not
                    # in error.
                    set_result(changes, result, ABORTED)
                    result.dependents = None
                    self._fail_foreign(changes, now, foreign, _reason(session))
            case SessionStatus.PURGED:
                self._purge(changes, now, result, _reason(session))
            case SessionStatus.DELETED:
                foreign = self._foreign_dependents(result)
                if self.results.pop(result.id, None) is None:
                    return
                if not (self.strict or result.manual_deletion):
                    self._discard(changes, result.opaque_id)
                self._fail_foreign(changes, now, foreign, _reason(session))

    def _purge(self, changes: Changes, now: float, result: ResultRecord, reason: str) -> None:
        if result.status is CREATED and not self.strict and self._is_abandoned(result):
            self._abort(changes, now, result, reason)
            self._fail_orphans(changes, now)
        if not result.manual_deletion and result.status is not DELETED:
            self._delete_data(changes, result)

    def _is_abandoned(self, result: ResultRecord) -> bool:
        """Whether nobody will produce it, or nobody may; a running task may produce manual ones."""
        if not result.manual_deletion:
            return True
        owner = self.tasks.get(result.owner_task_id)
        return bool(result.owner_task_id) and (owner is None or owner.status in FINAL)

    def _foreign_dependents(self, result: ResultRecord) -> list[TaskRecord]:
        """Tasks of other sessions that wait for a result."""
        if self.strict or result.dependents is None:
            return []
        return [
            task
            for task_id in result.dependents
            if (task := self.tasks.get(task_id)) is not None
            and task.session_id != result.session_id
        ]

    def _fail_foreign(
        self, changes: Changes, now: float, tasks: Iterable[TaskRecord], reason: str
    ) -> None:
        for task in tasks:
            if task.status is PENDING:
                self._fail(changes, now, task, ERROR, reason)


def _reason(session: SessionRecord) -> str:
    return f"session {session.id} was {_VERBS[session.status]}"
