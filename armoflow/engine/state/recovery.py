"""Taking over what the journal holds when the engine starts again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby, islice
from operator import attrgetter
from typing import Final, TypeVar

from armoflow.engine.records import (
    Changes,
    ResultRecord,
    SessionRecord,
    TaskRecord,
)
from armoflow.engine.state.execution_commands import ExecutionCommands
from armoflow.engine.state.members import Members
from armoflow.engine.state.record_changes import (
    ABORTED,
    CANCELLED,
    CANCELLING,
    CREATED,
    CREATING,
    DISPATCHED,
    ERROR,
    PAUSED,
    PENDING,
    PROCESSING,
    RUNNING,
    SUBMITTED,
    set_task,
)
from armoflow.engine.state.session_commands import SessionCommands
from armoflow.protocol.frames import RUN_LABEL

AT_ONCE: Final = 10_000
"""Records that are added to those of a session in one go."""

_LOST = "the engine stopped while the task was running"

SessionMember = TypeVar("SessionMember", TaskRecord, ResultRecord)


class Recovery(ExecutionCommands, SessionCommands):
    """Restore."""

    def restore(
        self,
        now: float,
        sessions: Iterable[SessionRecord],
        tasks: dict[str, TaskRecord],
        results: dict[str, ResultRecord],
        deleted: Iterable[tuple[str, str]] = (),
        *,
        failed: Iterable[tuple[str, str]] = (),
    ) -> Changes:
        """Take over what the journal holds after a restart, and repair what the stop cut short.

        What waits is counted afresh. A dispatched task is queued again, one that was running is
        retried, one that was being cancelled is cancelled. Nor do ``remaining`` and ``dependents``
        matter as they were stored.

        Args:
            now: The time.
            sessions: All sessions.
            tasks: The tasks that have not ended, by id; the state keeps the dictionary.
            results: All results, by id, which it keeps too; deleted ones may be left out.
            deleted: Session and id of each deleted result that is left out: with them, a batch
                whose repetition spans the restart is known to have been submitted.
            failed: Session and payload of each task that has failed, or was cancelled, where others
                may need the payload.

        Raises:
            ValueError: If the state is not empty.
        """
        if self.sessions or self.results:
            raise ValueError("restore is for a state that is still empty")
        for session in sessions:
            self.sessions[session.id] = session
            self._members[session.id] = Members()
        self._take_results(results)
        for session in self.sessions.values():
            if RUN_LABEL in session.options.options:
                members = self._members[session.id]
                for some in members.results.parts():
                    members.hear(result.name for result in some)
        for session_id, result_id in deleted:
            self._members_of(session_id).forget([result_id])
        taken = self._take_tasks(tasks)
        self._count_payloads([*failed, *((task.session_id, task.payload_id) for task in taken)])
        changes = Changes()
        for task in taken:
            if task.status in (PENDING, CREATING):
                self._recount(task)
        for session in self.sessions.values():
            if session.sweeping:
                self._begin_sweep(changes, now, session)
                self._finish_sweep(changes, now, session.id)
        for task in taken:
            self._resume(changes, now, task)
        return changes

    def _take_results(self, results: dict[str, ResultRecord]) -> None:
        self.results = results
        for session_id, some in _by_session(results.values()):
            self._members_of(session_id).results.add({result.id: result for result in some})
        for result in results.values():
            result.dependents = None

    def _take_tasks(self, tasks: dict[str, TaskRecord]) -> list[TaskRecord]:
        self.tasks = tasks
        for session_id, some in _by_session(tasks.values()):
            self._members_of(session_id).tasks.add({task.id: task for task in some})
        taken = sorted(tasks.values(), key=lambda task: task.order)
        if taken:
            self._front = min(0, taken[0].order)
            self._last = max(0, taken[-1].order)
        return taken

    def _count_payloads(self, given: Iterable[tuple[str, str]]) -> None:
        """Payloads that several tasks need stay until all have completed."""
        by_session: dict[str, list[str]] = {}
        for session_id, payload_id in given:
            by_session.setdefault(session_id, []).append(payload_id)
        for session_id, payload_ids in by_session.items():
            self._members_of(session_id).share_payloads(payload_ids)

    def _members_of(self, session_id: str) -> Members:
        members = self._members.get(session_id)
        if members is None:
            members = self._members[session_id] = Members()
        return members

    def _recount(self, task: TaskRecord) -> None:
        task.status = PENDING
        task.remaining = 0
        for result_id in (task.payload_id, *task.dependencies):
            result = self.results.get(result_id)
            if result is not None and result.status is CREATED:
                task.remaining += 1
                if result.dependents is None:
                    result.dependents = []
                result.dependents.append(task.id)

    def _resume(self, changes: Changes, now: float, task: TaskRecord) -> None:
        """Put a task where it belongs; an earlier one's failure may have ended it already."""
        status = task.status
        if status is PENDING:
            self._resume_waiting(changes, now, task)
        elif status is SUBMITTED:
            queued = task.submitted_at or now
            if task.not_before and now < queued:  # by a clock that was set back since
                task.not_before -= queued - now
            (changes.delayed if task.not_before > now else changes.ready).append(task)
        elif status is DISPATCHED:
            self._give_back(changes, now, task)
        elif status is PROCESSING:
            self._fail_or_retry(changes, now, task, ERROR, _LOST, retry=True)
        elif status is CANCELLING:
            self._abort_outputs(changes, now, task, f"task {task.id} was cancelled")
            set_task(changes, task, CANCELLED)
        elif status is PAUSED and self.sessions[task.session_id].status is RUNNING:
            self._queue(changes, now, task)

    def _resume_waiting(self, changes: Changes, now: float, task: TaskRecord) -> None:
        aborted = [
            result_id
            for result_id in (task.payload_id, *task.dependencies)
            if (result := self.results.get(result_id)) is not None and result.status is ABORTED
        ]
        if aborted:
            text = f"input(s) {', '.join(aborted)} were aborted before the engine stopped"
            self._fail(changes, now, task, ERROR, text)
        elif not task.remaining:
            if self._has_lost_input(task):
                self._fail_for_lost_input(changes, now, task)
            else:
                self._queue(changes, now, task)


def _by_session(records: Iterable[SessionMember]) -> Iterator[tuple[str, list[SessionMember]]]:
    """Records that stand side by side and are of one session, not too many at once."""
    for session_id, some in groupby(records, attrgetter("session_id")):
        while part := list(islice(some, AT_ONCE)):
            yield session_id, part
