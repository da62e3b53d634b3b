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
_ENDED = (
    "SELECT rowid AS number FROM tasks WHERE rowid>=? AND session_id=? AND ended_at>=? "
    "ORDER BY ended_at,id"
)
_NOTED = (
    "SELECT e.rowid AS number FROM json_each(?) n JOIN tasks e ON e.id=n.value "
    "WHERE e.session_id=? ORDER BY n.key"
)
_HELD = (
    "SELECT rowid AS number FROM tasks WHERE id IN (SELECT value FROM json_each(?)) "
    "AND session_id=? AND status=? ORDER BY started_at,id LIMIT ?"
)

KNOWN: Final = 1_000


class FoundRows(NamedTuple):
    """Some tasks.

    Attributes:
        text: Their rows, as JSON.
        errors: Why some have failed, by id.
        seconds: Of a processor that it took to read them.
    """

    text: str
    errors: Sequence[tuple[str, str]]
    seconds: float


class TaskRowsReader:
    """Reads them; there is no index but the ids, so it begins with a session's first row."""

    def __init__(self) -> None:
        self._first: dict[str, int] = {}

    def ended(self, connection: sqlite3.Connection, session_id: str, since: float) -> list[int]:
        """The numbers of the tasks that have ended since then, in that order: goes over all."""
        here = (self._find_first(connection, session_id), session_id, max(since, NEVER))
        numbers: list[int] = json.loads(_numbers(connection, _ENDED, here))
        return numbers

    def rows(
        self,
        connection: sqlite3.Connection,
        session_id: str,
        numbers: Sequence[int],
        ids: Sequence[str],
    ) -> FoundRows:
        """Tasks by their numbers, or by their ids; what is not there any more is left out."""
        begun = time.thread_time()
        if ids:
            found = _numbers(connection, _NOTED, (json.dumps(ids), session_id))
        else:
            found = json.dumps(numbers)
        return _read(connection, found, begun)

    def running(
        self, connection: sqlite3.Connection, session_id: str, held: Sequence[str], limit: int
    ) -> FoundRows:
        """Those of some tasks that run, the first ones first."""
        begun = time.thread_time()
        wanted = (json.dumps(held), session_id, int(TaskStatus.PROCESSING), limit)
        return _read(connection, _numbers(connection, _HELD, wanted), begun)

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


def _read(connection: sqlite3.Connection, numbers: str, begun: float) -> FoundRows:
    """The rows of some numbers, which are JSON."""
    text = connection.execute(_ROWS, (numbers,)).fetchone()[0] or ""
    errors = connection.execute(_ERRORS, (numbers,)).fetchall()
    short = [(task_id, short_error(error)) for task_id, error in errors]
    return FoundRows(text, short, time.thread_time() - begun)


def _numbers(connection: sqlite3.Connection, rows: str, parameters: tuple[Any, ...]) -> str:
    """The numbers of rows, in their order, as JSON: what is sorted is small."""
    sql = f"SELECT json_group_array(number) FROM ({rows})"
    return str(connection.execute(sql, parameters).fetchone()[0])
