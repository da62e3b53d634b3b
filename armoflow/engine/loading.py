"""What a state directory holds when an engine starts on it."""

from __future__ import annotations

import json
import secrets
import sqlite3
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from armoflow.codec.item_log import tells_of_failures
from armoflow.engine.list_query import READ_AT_ONCE
from armoflow.engine.objects import ObjectStore, data_key
from armoflow.engine.queries import Given, read_given, read_options
from armoflow.engine.records import (
    FINAL,
    ApiOptions,
    Partition,
    ResultRecord,
    ResultStatus,
    SessionRecord,
    SessionStatus,
    TaskRecord,
    TaskStatus,
)
from armoflow.engine.rows import make_result, make_session, make_task
from armoflow.engine.task_counts import TaskCount

_FAILED: Final = (TaskStatus.ERROR, TaskStatus.TIMEOUT, TaskStatus.CANCELLED)

ANNOUNCED: Final = "announced"
"""The entry of ``meta`` that names the task whose children are being announced, or, after
``OF_CLIENT``, the session to which a client submits very many tasks."""

OF_CLIENT: Final = "session:"

KNOWN_DELETED: Final = 200_000
"""Deleted results that are remembered, of all sessions together."""


@dataclass(slots=True)
class Recovered:
    """What goes back into memory: all sessions, what is unfinished, and data that exists.

    Attributes:
        sessions: All of them.
        tasks: Those that have not ended, by id.
        results: Those that have data or may get some, by id.
        counts: How many tasks there are, ended ones too.
        deleted: Session and id of the other results that were created last, of sessions that take
            submissions: a batch that names one was submitted.
        failed: Session and payload of each task that did not end well, where an unfinished one has
            the same payload.
    """

    sessions: list[SessionRecord]
    tasks: dict[str, TaskRecord]
    results: dict[str, ResultRecord]
    counts: list[TaskCount]
    deleted: list[tuple[str, str]]
    failed: list[tuple[str, str]]


def load(connection: sqlite3.Connection, *, with_deleted: bool = False) -> Recovered:
    """Read what the state machine needs to go on; final tasks and deleted results stay out.

    ``with_deleted`` reads the results, too, whose data was deleted.
    """
    final = ",".join(str(int(status)) for status in FINAL)
    unfinished = f"SELECT * FROM tasks WHERE status NOT IN ({final})"
    session_rows = connection.execute("SELECT * FROM sessions").fetchall()
    counted = connection.execute(
        "SELECT c.options_id, c.session_id, o.partition_id, c.status, c.count FROM (SELECT "
        "options_id, session_id, status, count(*) AS count FROM tasks GROUP BY 1, 2, 3) c "
        "JOIN options o ON o.id=c.options_id"
    ).fetchall()
    used = {row for row, _, _, status, _ in counted if status not in FINAL}
    options = read_options(connection, used.union(row[2] for row in session_rows))
    counts = [
        TaskCount(session_id, partition, TaskStatus(status), count)
        for _, session_id, partition, status, count in counted
    ]
    existing = connection.execute(
        "SELECT * FROM results WHERE status<>? OR ?", (int(ResultStatus.DELETED), with_deleted)
    )
    session_ids = {row[0]: row[0] for row in session_rows}
    results = _read_results(existing, session_ids)

    def find(result_id: str) -> ResultRecord | None:
        # A deleted result that an unfinished task names says why the task cannot run.
        result = results.get(result_id)
        if result is None:
            row = connection.execute("SELECT * FROM results WHERE id=?", (result_id,)).fetchone()
            if row is not None:
                result = results[result_id] = make_result(row)
        return result

    tasks: dict[str, TaskRecord] = {}
    for task in _read_tasks(connection.execute(unfinished), session_ids, options):
        _share_ids(task, find)
        tasks[task.id] = task
    sessions = [make_session(row, options) for row in session_rows]
    deleted = [
        (session_id, result_id)
        for result_id, session_id in connection.execute(
            "SELECT id, session_id FROM (SELECT rowid AS number, id, session_id FROM results "
            "WHERE status=? AND session_id IN (SELECT id FROM sessions WHERE client_submission) "
            "ORDER BY rowid DESC LIMIT ?) ORDER BY number",
            (int(ResultStatus.DELETED), KNOWN_DELETED),
        )
        if result_id not in results
    ]
    failed = _failed_beside(connection, tasks, counts)
    return Recovered(sessions, tasks, results, counts, deleted, failed)


def _failed_beside(
    connection: sqlite3.Connection, tasks: Mapping[str, TaskRecord], counts: Iterable[TaskCount]
) -> list[tuple[str, str]]:
    """The failed tasks that share a payload with an unfinished one: it stays for them."""
    unfinished = {task.session_id for task in tasks.values()}
    if not any(count.status in _FAILED and count.session_id in unfinished for count in counts):
        return []  # which is known without going over all tasks
    payloads = {task.payload_id for task in tasks.values()}
    failed = ",".join(str(int(status)) for status in _FAILED)
    rows = connection.execute(
        f"SELECT session_id, payload_id FROM tasks WHERE status IN ({failed})"
    )
    return [(session_id, payload_id) for session_id, payload_id in rows if payload_id in payloads]


def _read_results(
    rows: Iterable[Sequence[Any]], session_ids: Mapping[str, str]
) -> dict[str, ResultRecord]:
    """Results, whose rows have texts and numbers of their own: those made together share them."""
    results: dict[str, ResultRecord] = {}
    shared, intern = session_ids.get, sys.intern
    created_by, created_at, completed_at = "", 0.0, None
    for row in rows:
        result = make_result(row)
        result.name = intern(result.name)
        result.session_id = shared(result.session_id, result.session_id)
        # The session owns what a client has created with its data.
        result.owner_task_id = shared(result.owner_task_id, result.owner_task_id)
        if result.created_by != created_by:
            created_by = result.created_by
        if result.created_at != created_at:
            created_at = result.created_at
        if result.completed_at != completed_at:
            completed_at = result.completed_at
        result.created_by, result.created_at = created_by, created_at
        result.completed_at = completed_at
        results[result.id] = result
    return results


def _read_tasks(
    rows: Iterable[Sequence[Any]], session_ids: Mapping[str, str], options: Mapping[int, ApiOptions]
) -> Iterator[TaskRecord]:
    """Tasks, as above.

    Raises:
        ValueError: If the session of one is not there.
    """
    created_by, created_at, submitted_at = "", 0.0, None
    for row in rows:
        task = make_task(row, options)
        if task.session_id not in session_ids:
            raise ValueError(f"task {task.id} names session {task.session_id}, which is not there")
        task.session_id = session_ids[task.session_id]
        if task.created_by != created_by:
            created_by = task.created_by
        if task.created_at != created_at:
            created_at = task.created_at
        if task.submitted_at != submitted_at:
            submitted_at = task.submitted_at
        task.created_by, task.created_at = created_by, created_at
        task.submitted_at = submitted_at
        yield task


def _share_ids(task: TaskRecord, find: Callable[[str], ResultRecord | None]) -> None:
    """Have the ids in memory once that a task and its results name."""
    payload = find(task.payload_id)
    if payload is not None:
        task.payload_id = payload.id
    if task.dependencies:
        inputs = [(named, find(named)) for named in task.dependencies]
        task.dependencies = tuple(named if one is None else one.id for named, one in inputs)
    outputs = []
    for named in task.outputs:
        result = find(named)
        outputs.append(named if result is None else result.id)
        if result is not None and result.owner_task_id == task.id:
            # The one that was read first: the other's place is taken by the next row's.
            task.id = result.owner_task_id
    task.outputs = tuple(outputs)
    if task.initial_id == task.id:
        task.initial_id = task.id


def finish_deletions(connection: sqlite3.Connection) -> None:
    """Remove what is left of sessions whose deletion the stop cut short."""
    deleted = int(SessionStatus.DELETED)
    of_deleted = f"SELECT id FROM sessions WHERE status={deleted}"
    if connection.execute(of_deleted).fetchone() is None:
        return
    connection.execute("BEGIN IMMEDIATE")
    connection.execute(f"DELETE FROM tasks WHERE session_id IN ({of_deleted})")
    connection.execute(f"DELETE FROM results WHERE session_id IN ({of_deleted})")
    connection.execute(f"DELETE FROM sessions WHERE status={deleted}")
    connection.execute("COMMIT")


def drop_announced(connection: sqlite3.Connection) -> None:
    """Remove what was announced by a task, or a client, that had not come to its end."""
    row = connection.execute("SELECT value FROM meta WHERE name=?", (ANNOUNCED,)).fetchone()
    if row is None or not row[0]:
        return
    connection.execute("BEGIN IMMEDIATE")
    creating = int(TaskStatus.CREATING)
    if row[0].startswith(OF_CLIENT):
        session_id = row[0].removeprefix(OF_CLIENT)
        wanted = "FROM tasks WHERE session_id=? AND created_by='' AND status=?"
        connection.execute(
            "UPDATE results SET owner_task_id='' WHERE session_id=? AND owner_task_id IN "
            f"(SELECT id {wanted})",
            (session_id, session_id, creating),
        )
        connection.execute(f"DELETE {wanted}", (session_id, creating))
    else:
        # Of those that it has taken back some have ended.
        ended = int(TaskStatus.CANCELLED)
        connection.execute(
            "DELETE FROM tasks WHERE created_by=? AND status IN (?, ?)", (row[0], creating, ended)
        )
        connection.execute("DELETE FROM results WHERE created_by=?", (row[0],))
    connection.execute("UPDATE meta SET value='' WHERE name=?", (ANNOUNCED,))
    connection.execute("COMMIT")


def remove_orphans(
    connection: sqlite3.Connection, objects: ObjectStore, results: Iterable[ResultRecord]
) -> None:
    """Remove data that no result names: stored, but the process died before the command.

    Args:
        connection: The journal.
        objects: The data.
        results: All those that have some.
    """
    named = [
        data_key(opaque_id)
        for opaque_id in sorted(result.opaque_id for result in results if result.opaque_id)
    ]
    objects.recover(named)
    stored = (key for (key,) in connection.execute("SELECT id FROM objects ORDER BY id"))
    orphans = [(key,) for key in _not_among(named, stored)]
    connection.execute("BEGIN IMMEDIATE")
    connection.executemany("DELETE FROM objects WHERE id=?", orphans)
    connection.execute(
        "DELETE FROM options WHERE id NOT IN "
        "(SELECT options_id FROM tasks UNION SELECT options_id FROM sessions)"
    )
    connection.execute("COMMIT")


def _not_among(known: Sequence[int], found: Iterable[int]) -> Iterator[int]:
    """Numbers that are not among those known; both are sorted: a set of a million is large."""
    place, count = 0, len(known)
    for number in found:
        while place < count and known[place] < number:
            place += 1
        if place == count or known[place] != number:
            yield number


def load_given(connection: sqlite3.Connection, results: Iterable[ResultRecord]) -> list[Given]:
    """What the tasks were given that have left a log of failed items among these results."""
    makers = list({result.created_by for result in results if tells_of_failures(result.name)})
    found: list[Given] = []
    for start in range(0, len(makers), READ_AT_ONCE):
        part = makers[start : start + READ_AT_ONCE]
        found += read_given(connection, f"WHERE id IN ({','.join('?' * len(part))})", part)
    return found


def load_session_ids(connection: sqlite3.Connection) -> set[str]:
    """The ids of all sessions."""
    return {session_id for (session_id,) in connection.execute("SELECT id FROM sessions")}


def load_identity(connection: sqlite3.Connection) -> str:
    """The name of this journal, made once."""
    connection.execute("INSERT OR IGNORE INTO meta VALUES('identity', ?)", (secrets.token_hex(16),))
    row = connection.execute("SELECT value FROM meta WHERE name='identity'").fetchone()
    return str(row[0])


def write_partitions(connection: sqlite3.Connection, partitions: Iterable[Partition]) -> None:
    """Replace the table of partitions, which list calls read, by those of this start."""
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("DELETE FROM partitions")
    connection.executemany(
        "INSERT INTO partitions VALUES(?, ?, ?, ?, ?, ?)",
        [
            (
                partition.id,
                json.dumps(partition.parent_ids),
                partition.pod_reserved,
                partition.pod_max,
                partition.preemption_percentage,
                partition.priority,
            )
            for partition in partitions
        ],
    )
    connection.execute("COMMIT")
