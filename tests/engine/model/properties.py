"""What must always hold of the state machine, checked from outside after every command.

The properties are those of ``tests.model.properties``, and so is the one list of what is excepted:
by default what a client does to its own data, in strict mode what ArmoniK.Core does.
"""

from __future__ import annotations

from collections import Counter

from state_driver import Driver

from armoflow.engine.records import (
    FINAL,
    Changes,
    EventKind,
    ResultRecord,
    ResultStatus,
    SessionStatus,
    TaskRecord,
    TaskStatus,
)
from tests.model.properties import Property, Waivers

P = Property
T = TaskStatus
R = ResultStatus
S = SessionStatus

TASK_MOVES: dict[TaskStatus | None, set[TaskStatus]] = {
    None: {T.CREATING},
    T.CREATING: {T.PENDING},
    T.PENDING: {T.SUBMITTED, T.PAUSED, T.ERROR, T.CANCELLING, T.CANCELLED},
    T.SUBMITTED: {T.DISPATCHED, T.PROCESSING, T.PAUSED, T.ERROR, T.CANCELLING, T.CANCELLED},
    T.PAUSED: {T.SUBMITTED, T.CANCELLING, T.CANCELLED},
    T.DISPATCHED: {
        *(T.PROCESSING, T.SUBMITTED, T.PAUSED, T.CANCELLED, T.CANCELLING),
        *(T.ERROR, T.TIMEOUT, T.RETRIED),
    },
    T.PROCESSING: {
        *(T.DISPATCHED, T.COMPLETED, T.SUBMITTED, T.PAUSED, T.CANCELLED, T.CANCELLING),
        *(T.ERROR, T.TIMEOUT, T.RETRIED),
    },
    T.CANCELLING: {T.CANCELLED},
}
RESULT_MOVES: dict[ResultStatus | None, set[ResultStatus]] = {
    None: {R.CREATED, R.COMPLETED},
    R.CREATED: {R.COMPLETED, R.ABORTED},
    R.COMPLETED: {R.DELETED},
    R.ABORTED: {R.DELETED},
    R.DELETED: set(),
}
SESSION_MOVES: dict[SessionStatus | None, set[SessionStatus]] = {
    None: {S.RUNNING},
    S.RUNNING: {S.PAUSED, S.CLOSED, S.CANCELLED, S.DELETED},
    S.PAUSED: {S.RUNNING, S.CLOSED, S.CANCELLED, S.DELETED},
    S.CLOSED: {S.CANCELLED, S.PURGED, S.DELETED},
    S.CANCELLED: {S.PURGED, S.DELETED},
    S.PURGED: {S.DELETED},
    S.DELETED: set(),
}
UNFINISHED = frozenset(TaskStatus) - FINAL
HAS_INPUTS = {T.SUBMITTED, T.PAUSED, T.DISPATCHED, T.PROCESSING}


class Properties:
    """Follows the changes of a driver's state and asserts the safety properties."""

    def __init__(self, driver: Driver) -> None:
        self.driver = driver
        self.tasks: dict[str, TaskStatus] = {}
        self.results: dict[str, ResultStatus] = {}
        self.sessions: dict[str, SessionStatus] = {}
        self.data: dict[str, tuple[bytes, int]] = {}
        self.successors: Counter[str] = Counter()
        self.given: set[bytes] = set()
        self.deleted: set[bytes] = set()
        self.told: set[bytes] = set()
        self.imported: set[bytes] = set()
        self.strict: bool = driver.options.get("strict", False)
        self.waivers = Waivers(strict=self.strict)

    def observe(self, changes: Changes) -> None:
        """Check what a command changed, then the whole state."""
        for kind, record, status in changes.events:
            if kind is EventKind.RESULT_OWNER_UPDATE:
                continue
            if isinstance(record, TaskRecord):
                self._task_moved(record, TaskStatus(status), kind)
            else:
                self._result_moved(record, ResultStatus(status), kind)
        for session in changes.sessions.values():
            before = self.sessions.get(session.id)
            if before is not session.status:
                # Strict: results may be created in a session that never was, and deleted with it.
                is_first = before is None and self.strict and session.status is S.DELETED
                assert is_first or session.status in SESSION_MOVES[before], (session.id, before)
                self.sessions[session.id] = session.status
        for task in changes.ready:
            assert self._inputs(task) <= {R.COMPLETED}, task
            assert task.status is T.SUBMITTED
        for opaque_id in changes.deleted:
            # What several results name goes with the first of them.
            is_shared = opaque_id in self.imported
            assert is_shared or opaque_id not in self.told, f"{opaque_id!r} was deleted twice"
            self.told.add(opaque_id)
            self.deleted.add(opaque_id)
        self._check_state()

    def _task_moved(self, task: TaskRecord, status: TaskStatus, kind: EventKind) -> None:
        before = self.tasks.get(task.id)
        assert (before is None) == (kind is EventKind.NEW_TASK), task.id
        assert status in TASK_MOVES.get(before, set()), (task.id, before, status)
        self.tasks[task.id] = status
        if before is None and task.retry_of:
            # A retried task has exactly one successor.
            self.successors[task.retry_of[-1]] += 1
            assert self.successors[task.retry_of[-1]] == 1
            assert self.tasks[task.retry_of[-1]] is T.RETRIED
            assert len(task.retry_of) <= task.options.max_retries
            assert task.id == f"{task.initial_id}###{len(task.retry_of)}"

    def _result_moved(self, result: ResultRecord, status: ResultStatus, kind: EventKind) -> None:
        before = self.results.get(result.id)
        assert (before is None) == (kind is EventKind.NEW_RESULT), result.id
        if status not in RESULT_MOVES[before]:
            broken = _broken_by(before, status)
            assert self.waivers.cover(broken, result.id), (broken.value, result.id, before, status)
        self.results[result.id] = status
        if status is R.COMPLETED and result.status is R.COMPLETED:
            self.data[result.id] = (result.opaque_id, result.size)

    def _inputs(self, task: TaskRecord) -> set[ResultStatus | None]:
        """The statuses of a task's inputs, without those that a client removed."""
        found = set()
        for result_id in _input_ids(task):
            result = self.driver.state.results.get(result_id)
            status = None if result is None else result.status
            if status in (None, R.DELETED) and self.waivers.cover(P.INPUTS, result_id):
                continue
            found.add(status)
        return found

    def _is_orphan(self, task: TaskRecord) -> bool:
        """Whether an input was aborted; what is purged is deleted in the same step."""
        results = self.driver.state.results
        inputs = [results.get(id) for id in _input_ids(task)]
        if self.waivers.cover(P.FINAL, *_input_ids(task)):
            return True  # or it was, and was brought back
        return any(r is not None and r.status in (R.ABORTED, R.DELETED) for r in inputs)

    def _check_state(self) -> None:
        state = self.driver.state
        for task in state.tasks.values():
            assert self.tasks[task.id] is task.status, "an event is missing"
            self._check_task(task)
        for result in state.results.values():
            assert self.results[result.id] is result.status, "an event is missing"
            self._check_result(result)
        if self.strict:
            return  # what is replaced, and what a deleted session had, stays, as in ArmoniK.Core
        named = {result.opaque_id for result in state.results.values()}
        leaked = self.given - self.deleted - named
        assert not leaked, f"nobody names or deletes {leaked}"

    def _check_task(self, task: TaskRecord) -> None:
        state = self.driver.state
        session = state.sessions[task.session_id].status
        if state.is_sweeping(task.session_id):
            return  # its turn comes
        if task.status is T.PENDING and state.unfinished and self._is_orphan(task):
            return  # its turn comes
        if task.status is T.PENDING:
            self._check_waiting(task, session)
        elif task.status in HAS_INPUTS:
            # A task is queued only with all its inputs; nothing unfinished needs what was deleted.
            assert self._inputs(task) <= {R.COMPLETED}, task
        if task.status is T.SUBMITTED:
            # Strict: who takes a task of a session that has ended cancels it.
            assert session is S.RUNNING or (self.strict and session is not S.PAUSED)
            assert task.owner == ""
        if task.status is T.PAUSED:
            assert session is S.PAUSED
        self._check_outputs(task)

    def _check_waiting(self, task: TaskRecord, session: SessionStatus) -> None:
        state = self.driver.state
        assert session is not S.CANCELLED
        assert session is not S.PURGED or self.strict
        if self.waivers.cover(P.ENDS, task.id, *_input_ids(task)):
            return
        inputs = [state.results.get(i) for i in _input_ids(task)]
        waiting = [r for r in inputs if r is not None and r.status is R.CREATED]
        if state.unfinished:  # of what has come it may be told later
            assert task.remaining >= max(len(waiting), 1)
        else:
            assert task.remaining == len(waiting) > 0
        assert all((r.dependents or []).count(task.id) == 1 for r in waiting)
        assert R.ABORTED not in self._inputs(task)

    def _check_outputs(self, task: TaskRecord) -> None:
        for output in task.outputs:
            result = self.driver.state.results.get(output)
            if result is None or self.waivers.cover(P.OWNER, output, task.id):
                continue
            if task.status in FINAL:
                # Every output of a final task is completed, aborted, or somebody else's.
                assert result.status is not R.CREATED or result.owner_task_id != task.id
            elif result.status is R.CREATED:
                assert result.owner_task_id == task.id

    def _check_result(self, result: ResultRecord) -> None:
        state = self.driver.state
        if result.status is R.CREATED and state.is_sweeping(result.session_id):
            pass  # its turn comes
        elif result.status is R.CREATED:
            owner = result.owner_task_id
            if owner and not self.waivers.cover(P.OWNER, result.id, owner):
                assert state.tasks[owner].status in UNFINISHED
        elif not self.waivers.cover(P.ENDS, result.id):
            assert result.dependents is None
        if result.status is R.COMPLETED:
            # Completed data never changes under a reader, and is not deleted under it.
            assert self.data[result.id] == (result.opaque_id, result.size)
            assert result.opaque_id not in self.deleted or result.opaque_id in self.imported
        else:
            assert result.opaque_id == b""


def _input_ids(task: TaskRecord) -> tuple[str, ...]:
    return (task.payload_id, *task.dependencies)


def _broken_by(before: ResultStatus | None, status: ResultStatus) -> Property:
    """Which property a change of a result breaks that must not be."""
    if before is R.DELETED:
        return P.DELETED
    return P.DATA if before is status is R.COMPLETED else P.FINAL
