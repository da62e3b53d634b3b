"""What a state directory holds when an engine starts on it."""

from __future__ import annotations

import json
import secrets
import sqlite3
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from armoflow.codec.item_log import tells_of_failures
from armoflow.engine.list_query import READ_AT_ONCE
from armoflow.engine.objects import ObjectStore
from armoflow.engine.queries import Given, read_given, read_options
from armoflow.engine.records import (
    FINAL,
    Partition,
    ResultRecord,
    ResultStatus,
    SessionRecord,
    SessionStatus,
    TaskRecord,
)
from armoflow.engine.rows import make_result, make_session, make_task

KNOWN_DELETED: Final = 200_000
"""Deleted results that are remembered, of all sessions together."""


@dataclass(slots=True)
class Recovered:
    """What goes back into memory: all sessions, what is unfinished, and data that exists.

    Attributes:
        sessions: All of them.
        tasks: Those that have not ended.
        results: Those that have data or may get some.
        deleted: Session and id of the other results that were created last, of sessions that take
            submissions: a batch that names one was submitted.
    """

    sessions: list[SessionRecord]
    tasks: list[TaskRecord]
    results: list[ResultRecord]
    deleted: list[tuple[str, str]]


def load(connection: sqlite3.Connection, *, with_deleted: bool = False) -> Recovered:
    """Read what the state machine needs to go on; final tasks and deleted results stay out.

    ``with_deleted`` reads the results, too, whose data was deleted.
    """
    final = ",".join(str(int(status)) for status in FINAL)
    unfinished = f"FROM tasks WHERE status NOT IN ({final})"
    session_rows = connection.execute("SELECT * FROM sessions").fetchall()
    used = {row[0] for row in connection.execute(f"SELECT DISTINCT options_id {unfinished}")}
    options = read_options(connection, used.union(row[2] for row in session_rows))
    tasks = [make_task(row, options) for row in connection.execute(f"SELECT * {unfinished}")]
    results = {
        row[0]: make_result(row)
        for row in connection.execute(
            "SELECT * FROM results WHERE status<>? OR ?",
            (int(ResultStatus.DELETED), with_deleted),
        )
    }
    # A deleted result that an unfinished task names says why the task cannot run.
    for task in tasks:
        for result_id in (task.payload_id, *task.dependencies, *task.outputs):
            if result_id not in results:
                row = connection.execute(
                    "SELECT * FROM results WHERE id=?", (result_id,)
                ).fetchone()
                if row is not None:
                    results[result_id] = make_result(row)
    _share_texts(tasks, results)
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
    return Recovered(sessions, tasks, list(results.values()), deleted)


def _share_texts(tasks: Iterable[TaskRecord], results: Mapping[str, ResultRecord]) -> None:
    """Have each id and name in memory once: every row has copies of its own."""
    names: dict[str, str] = {}  # of sessions, and of tasks that made others or own results
    share = names.setdefault

    def result_id(named: str) -> str:
        result = results.get(named)
        return named if result is None else result.id

    for task in tasks:
        # Our client names tasks after their first output.
        task.id = share(result_id(task.id), result_id(task.id))
        task.session_id = share(task.session_id, task.session_id)
        task.payload_id = result_id(task.payload_id)
        task.initial_id = share(task.initial_id, task.initial_id)
        task.created_by = share(task.created_by, task.created_by)
        task.dependencies = tuple(map(result_id, task.dependencies))
        task.outputs = tuple(map(result_id, task.outputs))
    for result in results.values():
        result.session_id = share(result.session_id, result.session_id)
        result.owner_task_id = share(result.owner_task_id, result.owner_task_id)
        result.created_by = share(result.created_by, result.created_by)
        result.name = sys.intern(result.name)


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


def remove_orphans(
    connection: sqlite3.Connection, objects: ObjectStore, results: Iterable[ResultRecord]
) -> None:
    """Remove data that no result names: stored, but the process died before the command."""
    named = set(objects.recover(result.opaque_id for result in results if result.opaque_id))
    stored = {row[0] for row in connection.execute("SELECT id FROM objects")}
    orphans = [(key,) for key in stored - named]
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
