"""Drives a state machine in tests: a clock that ticks, short commands, a journal of the changes.

The journal holds copies of the rows that the changes named, nothing else. So a restart from it
shows whether every command names all that it touches.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from operator import attrgetter
from typing import Any

import pytest

from armoflow.agent.effects import CreatedResult
from armoflow.engine.records import (
    FINAL,
    ApiOptions,
    Changes,
    Event,
    EventKind,
    NewResult,
    NewTask,
    Partition,
    ResultRecord,
    ResultStatus,
    SessionRecord,
    SessionStatus,
    StateError,
    Stored,
    TaskRecord,
    TaskStatus,
)
from armoflow.engine.state import State

OPTIONS = ApiOptions(max_duration=60.0, max_retries=2, priority=1)
NOT_JOURNALLED = {"dependents", "remaining", "may_submit", "counted", "newest"}


@dataclass
class Journal:
    """What a restart would find."""

    sessions: dict[str, SessionRecord] = field(default_factory=dict)
    tasks: dict[str, TaskRecord] = field(default_factory=dict)
    results: dict[str, ResultRecord] = field(default_factory=dict)

    def write(self, changes: Changes) -> None:
        for name in ("sessions", "tasks", "results"):
            rows = getattr(self, name)
            for record in getattr(changes, name).values():
                rows[record.id] = replace(record)
        for session_id in changes.removed_sessions:
            self.sessions.pop(session_id, None)
            for rows in (self.tasks, self.results):
                for record in [r for r in rows.values() if r.session_id == session_id]:
                    del rows[record.id]

    def remove_deleted_sessions(self) -> set[bytes]:
        """What is done before the state is restored, to finish deletions that a stop cut short.

        Returns:
            The data that no row names any more; it goes, too.
        """
        deleted = [s.id for s in self.sessions.values() if s.status is SessionStatus.DELETED]
        named = {row.opaque_id for row in self.results.values()}
        self.write(Changes(removed_sessions=deleted))
        return named - {row.opaque_id for row in self.results.values()}


_ROW = {
    kind: attrgetter(*(f.name for f in fields(kind) if f.name not in NOT_JOURNALLED))
    for kind in (SessionRecord, TaskRecord, ResultRecord)
}


def differences(journal: Journal, state: State) -> list[str]:
    """Where the journal does not say what the state says.

    What may be evicted may be journalled only: ended tasks, deleted results.
    """
    found = []
    removed = {s.id for s in journal.sessions.values() if s.status is SessionStatus.DELETED}
    for name, kind in (
        ("sessions", SessionRecord),
        ("tasks", TaskRecord),
        ("results", ResultRecord),
    ):
        rows, live, row_of = getattr(journal, name), getattr(state, name), _ROW[kind]
        for record in live.values():
            row = rows.get(record.id)
            if row is None or row_of(row) != row_of(record):
                found.append(f"journal: {row}, state: {record}")
        if name != "tasks":
            found += [
                f"{name} {key} is journalled only"
                for key, row in rows.items()
                if key not in live
                and row.status is not ResultStatus.DELETED
                and getattr(row, "session_id", key) not in removed
            ]
    return found


class TestedState(State):
    """A state that says why it refuses what a task did, where an engine has the task fail."""

    __test__ = False

    def complete_task(self, now: float, *commit: Any) -> Changes:
        """Commit one success."""
        changes = Changes()
        self._commit(changes, now, commit)  # type: ignore[arg-type]
        return changes


class Driver:
    """A state with a clock and a journal; commands go through :meth:`do`."""

    def __init__(self, **options: Any) -> None:
        self.options = options
        self.now = 0.0
        self.journal = Journal()
        self.state = self._new_state()

    def _new_state(self) -> TestedState:
        return TestedState([Partition("default"), Partition("other")], "default", **self.options)

    def do(self, command: str, *arguments: Any, **options: Any) -> Changes:
        """Run a command at the next instant and journal what it changed."""
        self.now += 1
        changes = getattr(self.state, command)(self.now, *arguments, **options)
        self.journal.write(changes)
        assert differences(self.journal, self.state) == []
        return changes

    def crash(self) -> Changes:
        """Lose the state; a new one takes over the journal."""
        self.state = self._new_state()
        deleted = ResultStatus.DELETED
        journal = self.journal
        strict = self.options.get("strict", False)  # what is deleted may come back
        sessions = [replace(session) for session in journal.sessions.values()]
        tasks = {key: replace(task) for key, task in journal.tasks.items()}
        tasks = {key: task for key, task in tasks.items() if task.status not in FINAL}
        results = {
            key: replace(result)
            for key, result in journal.results.items()
            if strict or result.status is not deleted
        }
        open_sessions = {row.id for row in journal.sessions.values() if row.client_submission}
        ids = [
            (row.session_id, row.id)
            for row in journal.results.values()
            if row.status is deleted and row.session_id in open_sessions
        ]
        failed = [
            (row.session_id, row.payload_id)
            for row in journal.tasks.values()
            if row.status in (TaskStatus.ERROR, TaskStatus.TIMEOUT, TaskStatus.CANCELLED)
        ]
        return self.do("restore", sessions, tasks, results, ids, failed=failed)

    # --- short forms ---

    def session(
        self, session_id: str = "s", options: ApiOptions = OPTIONS, partitions: Sequence[str] = ()
    ) -> SessionRecord:
        self.do("create_session", session_id, options, partitions)
        return self.state.sessions[session_id]

    def results(self, *ids: str, session: str = "s", manual: bool = False) -> Changes:
        return self.do(
            "create_results", session, [NewResult(i, f"name of {i}", manual) for i in ids]
        )

    def data(self, *ids: str, session: str = "s", manual: bool = False) -> Changes:
        """Results with data, as CreateResults makes them."""
        news = [NewResult(i, f"name of {i}", manual, stored(i)) for i in ids]
        return self.do("create_results", session, news)

    def upload(self, *ids: str, session: str = "s") -> Changes:
        return self.do("complete_results", session, [(i, stored(i)) for i in ids])

    def submit(
        self, *tasks: NewTask, session: str = "s", request: ApiOptions | None = None
    ) -> Changes:
        return self.do("submit_tasks", session, request, tasks)

    def task(
        self,
        task_id: str = "t",
        needs: Sequence[str] = (),
        outputs: Sequence[str] | None = None,
        *,
        session: str = "s",
        options: ApiOptions | None = None,
        uploaded: bool = True,
    ) -> TaskRecord:
        """Create payload and outputs of a task, submit it, upload its payload."""
        outputs = [f"{task_id}.out"] if outputs is None else outputs
        payload = f"{task_id}.payload"
        missing = [output for output in outputs if output not in self.state.results]
        self.results(payload, *missing, session=session)
        new = NewTask(task_id, payload, tuple(needs), tuple(outputs), options)
        self.submit(new, session=session)
        if uploaded:
            self.upload(payload, session=session)
        return self.state.tasks[task_id]

    def run(self, *task_ids: str, owner: str = "agent") -> Changes:
        return self.do("run", task_ids, owner)

    def complete(
        self,
        task_id: str,
        *produced: str,
        created: Iterable[str] = (),
        children: Sequence[NewTask] = (),
    ) -> Changes:
        """Commit a success that produces these results (by default the task's outputs)."""
        delegated = {output for child in children for output in child.outputs}
        task = self.state.tasks[task_id]
        ids = produced or tuple(output for output in task.outputs if output not in delegated)
        return self.do("complete_task", task_id, *effects(ids, created, children))

    def fail(self, task_id: str, error: str = "boom", **options: Any) -> Changes:
        return self.do("fail_task", task_id, error, **options)

    def status(self, task_id: str) -> str:
        return self.state.tasks[task_id].status.name

    def result_status(self, result_id: str) -> str:
        return self.state.results[result_id].status.name


@contextmanager
def refused(code: str) -> Iterator[pytest.ExceptionInfo[StateError]]:
    """The commands inside are refused with this code."""
    with pytest.raises(StateError) as caught:
        yield caught
    assert caught.value.code == code, str(caught.value)


def stored(result_id: str, size: int = 10) -> Stored:
    return Stored(f"object of {result_id}".encode(), size)


def effects(
    produced: Iterable[str], created: Iterable[str] = (), children: Sequence[NewTask] = ()
) -> tuple[list[CreatedResult], Mapping[str, Stored], Sequence[NewTask]]:
    return (
        [CreatedResult(i, f"name of {i}") for i in created],
        {i: stored(i) for i in produced},
        children,
    )


def told(changes: Changes) -> list[str]:
    """The events, readable: ``"t SUBMITTED"``, ``"new r CREATED"``, ``"t.out -> t"``."""
    return [_read(event) for event in changes.events]


def _read(event: Event) -> str:
    kind, record, status = event
    if kind is EventKind.RESULT_OWNER_UPDATE:
        assert isinstance(record, ResultRecord)
        return f"{record.id} -> {record.owner_task_id}"
    name = (
        TaskStatus(status).name
        if isinstance(record, TaskRecord)
        else type(record.status)(status).name
    )
    new = "new " if kind in (EventKind.NEW_TASK, EventKind.NEW_RESULT) else ""
    return f"{new}{record.id} {name}"
