"""What a state directory holds when an engine starts on it."""

from __future__ import annotations

import json
import secrets
import sqlite3
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
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
    """

    sessions: list[SessionRecord]
    tasks: dict[str, TaskRecord]
    results: dict[str, ResultRecord]
    counts: list[TaskCount]
    deleted: list[tuple[str, str]]


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
    results = {result.id: result for result in _read_results(existing, session_ids)}
    tasks: dict[str, TaskRecord] = {}
    for task in _read_tasks(connection.execute(unfinished), session_ids, options):
        # A deleted result that an unfinished task names says why the task cannot run.
        for result_id in (task.payload_id, *task.dependencies, *task.outputs):
            if result_id in results:
                continue
            row = connection.execute("SELECT * FROM results WHERE id=?", (result_id,)).fetchone()
            if row is not None:
                results[result_id] = make_result(row)
        _share_texts(task, results)
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
    return Recovered(sessions, tasks, results, counts, deleted)


def _read_results(
    rows: Iterable[Sequence[Any]], session_ids: Mapping[str, str]
) -> Iterator[ResultRecord]:
    """Results, whose rows have texts and numbers of their own: those made together share them."""
    before = ResultRecord("", "", "", 0.0)
    for row in rows:
        result = make_result(row)
        result.name = sys.intern(result.name)
        result.session_id = session_ids.get(result.session_id, result.session_id)
        if result.created_by == before.created_by:
            result.created_by = before.created_by
        if result.created_at == before.created_at:
            result.created_at = before.created_at
        if result.completed_at == before.completed_at:
            result.completed_at = before.completed_at
        yield result
        before = result


def _read_tasks(
    rows: Iterable[Sequence[Any]], session_ids: Mapping[str, str], options: Mapping[int, ApiOptions]
) -> Iterator[TaskRecord]:
    """Tasks, as above."""
    before: TaskRecord | None = None
    for row in rows:
        task = make_task(row, options)
        task.session_id = session_ids.get(task.session_id, task.session_id)
        if before is not None:
            if task.created_by == before.created_by:
                task.created_by = before.created_by
            if task.created_at == before.created_at:
                task.created_at = before.created_at
            if task.submitted_at == before.submitted_at:
                task.submitted_at = before.submitted_at
        yield task
        before = task


def _share_texts(task: TaskRecord, results: Mapping[str, ResultRecord]) -> None:
    """Have the ids in memory once that a task and its results name."""

    def result_id(named: str) -> str:
        result = results.get(named)
        return named if result is None else result.id

    task.payload_id = result_id(task.payload_id)
    task.dependencies = tuple(map(result_id, task.dependencies))
    task.outputs = tuple(map(result_id, task.outputs))
    for output in task.outputs:
        result = results.get(output)
        if result is not None and result.owner_task_id == task.id:
            # The one that was read first: the other's place is taken by the next row's.
            task.id = result.owner_task_id
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


def remove_orphans(connection: sqlite3.Connection, objects: ObjectStore) -> None:
    """Remove data that no result names: stored, but the process died before the command."""
    named = {
        data_key(bytes.fromhex(opaque_id))
        for (opaque_id,) in connection.execute("SELECT opaque_id FROM results WHERE opaque_id<>''")
    }
    objects.recover(named)
    stored = connection.execute("SELECT id FROM objects")
    orphans = [(key,) for (key,) in stored if key not in named]
    connection.execute("BEGIN IMMEDIATE")
    connection.executemany("DELETE FROM objects WHERE id=?", orphans)
    connection.execute(
        "DELETE FROM options WHERE id NOT IN "
        "(SELECT options_id FROM tasks UNION SELECT options_id FROM sessions)"
    )
    connection.execute("COMMIT")


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
