"""Rows of tasks for who watches a session live, written as JSON by SQLite: see the protocol's."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from armoflow.codec.clipping import short_error
from armoflow.engine.pods import NAME_SQL
from armoflow.engine.records import TaskStatus

NEVER: Final = 1e-6
"""Before all times: what has not ended has none, which is stored as 0."""

_FIRST_OUTPUT = "substr(e.outputs,1,instr(e.outputs||char(10),char(10))-1)"


def _time(column: str) -> str:
    return f"CAST(e.{column}*1000000.0 AS INTEGER)"


def _sizes(column: str) -> str:
    """The bytes of the results in a column, which few tasks have."""
    ids = f"""json_each('["'||replace(e.{column},char(10),'","')||'"]')"""
    sizes = f"SELECT coalesce(sum(r.size),0) FROM {ids} i JOIN results r ON r.id=i.value"
    return f"CASE e.{column} WHEN '' THEN 0 ELSE ({sizes}) END"


FIELDS: Final[Mapping[str, str]] = {
    "id": "e.id",
    "status": "e.status",
    "pod": NAME_SQL,
    "created": _time("created_at"),
    "queued": _time("submitted_at"),
    "taken": _time("acquired_at"),
    "started": _time("started_at"),
    "stopped": _time("processed_at"),
    "ended": _time("ended_at"),
    "inputs": "e.dependencies",
    "outputs": "e.outputs",
    "retries": "e.retry_of",
    "parent": "e.created_by",
    "namespace": "o.application_namespace",
    "application": "o.application_name",
    "service": "o.application_service",
    "output_name": "coalesce(w.name,'')",
    "payload_name": "coalesce(p.name,'')",
    "bytes_in": f"coalesce(p.size,0)+{_sizes('dependencies')}",
    "bytes_out": _sizes("outputs"),
}
"""Fields of a row, in their order: where each comes from."""

_ROWS = (
    f"SELECT group_concat(line) FROM (SELECT json_array({','.join(FIELDS.values())}) AS line "
    "FROM json_each(?) n JOIN tasks e ON e.rowid=n.value JOIN options o ON o.id=e.options_id "
    f"LEFT JOIN results w ON w.id={_FIRST_OUTPUT} LEFT JOIN results p ON p.id=e.payload_id "
    "ORDER BY n.key)"
)
_ERRORS = (
    "SELECT e.id,e.error FROM json_each(?) n JOIN tasks e ON e.rowid=n.value WHERE e.error!=''"
)
_FIRST = "SELECT rowid FROM tasks WHERE session_id=? ORDER BY rowid LIMIT 1"
_ENDED = "FROM tasks WHERE rowid>=? AND session_id=? AND ended_at>=? ORDER BY ended_at,id"
_HELD = (
    "FROM tasks WHERE id IN (SELECT value FROM json_each(?)) AND session_id=? AND status=? "
    "ORDER BY started_at,id"
)

KNOWN: Final = 1_000


class LiveTasks(NamedTuple):
    """What an engine knows of a session without its journal.

    Attributes:
        counts: How many tasks are in which status.
        held: The ids of those that agents have.
    """

    counts: Mapping[TaskStatus, int]
    held: Sequence[str]


class TaskRowsReader:
    """Reads them; there is no index but the ids, so it begins with a session's first row."""

    def __init__(self) -> None:
        self._first: dict[str, int] = {}

    def read(
        self,
        connection: sqlite3.Connection,
        session_id: str,
        since: float | None,
        skip: int,
        limit: int,
        *,
        live: LiveTasks,
    ) -> list[Any]:
        """The reply to a request, see :mod:`armoflow.protocol.task_rows`, but for the progress."""
        begun = time.thread_time()
        counts: list[tuple[int, int]] = []
        if since is not None:
            here = (self._find_first(connection, session_id), session_id)
            found = _find(connection, _ENDED, (*here, max(since, NEVER), limit, skip))
        else:
            counts = [(int(status), count) for status, count in live.counts.items()]
            running = int(TaskStatus.PROCESSING)
            held = (json.dumps(live.held), session_id, running, limit, skip)
            found = _find(connection, _HELD, held)
        text = connection.execute(_ROWS, (found,)).fetchone()[0] or ""
        errors = connection.execute(_ERRORS, (found,)).fetchall()
        short = [(task_id, short_error(error)) for task_id, error in errors]
        return [text, short, counts, time.thread_time() - begun]

    def _find_first(self, connection: sqlite3.Connection, session_id: str) -> int:
        """The number of a session's first row: those that follow are greater."""
        first = self._first.get(session_id)
        if first is None:
            row = connection.execute(_FIRST, (session_id,)).fetchone()
            if row is None:
                return 0
            if len(self._first) >= KNOWN:
                self._first = {}
            first = self._first[session_id] = int(row[0])
        return first


def _find(connection: sqlite3.Connection, rows: str, parameters: tuple[Any, ...]) -> str:
    """The numbers of rows, in their order, as JSON: what is sorted is small."""
    numbers = f"SELECT rowid AS number {rows} LIMIT ? OFFSET ?"
    sql = f"SELECT json_group_array(number) FROM ({numbers})"
    return str(connection.execute(sql, parameters).fetchone()[0])
