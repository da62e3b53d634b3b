"""The journal's tables, and how the journal is opened.

Rows hold no NULL (an unset date is 0.0): the driver binds exact ``str``, ``int`` and ``float``
several times faster than anything else. No index but the ids: one on ``session_id`` would cost a
third of the time of an insert, and what it would speed up runs outside of the event loop: lists go
over whole tables (:mod:`armoflow.engine.selection`).
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from armoflow.engine import compaction
from armoflow.engine.engine_options import Durability
from armoflow.engine.faults import passes, unusable
from armoflow.engine.migrations import migrate
from armoflow.errors import EngineError
from armoflow.protocol.shared_files import open_private

VERSION: Final = 2
APPLICATION: Final = 0x61726D6F

PAGE_BYTES: Final = 8192
"""A tenth faster than SQLite's 4096 for groups of up to some hundred rows."""

CACHE_KIB: Final = 4 * 1024
"""Pages that a connection keeps: rows are written and read in the order of their ids, so that more
were no faster."""

OPTIONS_COLUMNS = (
    "id",
    "max_duration",
    "max_retries",
    "priority",
    "partition_id",
    "application_name",
    "application_version",
    "application_namespace",
    "application_service",
    "engine_type",
    "options",
)
SESSION_COLUMNS = (
    "id",
    "status",
    "options_id",
    "partition_ids",
    "client_submission",
    "worker_submission",
    "created_at",
    "cancelled_at",
    "closed_at",
    "purged_at",
    "deleted_at",
    "duration",
    "leased",
    "sweeping",
)
TASK_COLUMNS = (
    "id",
    "session_id",
    "status",
    "options_id",
    "payload_id",
    "initial_id",
    "created_by",
    "dependencies",
    "outputs",
    "depth",
    "retry_of",
    "place",
    "owner",
    "success",
    "error",
    "created_at",
    "submitted_at",
    "received_at",
    "acquired_at",
    "fetched_at",
    "started_at",
    "processed_at",
    "ended_at",
    "pod_ttl",
    "not_before",
)
RESULT_COLUMNS = (
    "id",
    "session_id",
    "name",
    "status",
    "created_by",
    "owner_task_id",
    "created_at",
    "completed_at",
    "size",
    "opaque_id",
    "manual_deletion",
)
CREATION_ORDER: Final = "creation_order"
"""The entry of ``meta`` that says whether the rows of tasks and results are in the order of their
creation: ``KEPT``, or anything else if that is not known."""

KEPT: Final = "kept"

COLUMNS: Mapping[str, tuple[str, ...]] = {
    "options": OPTIONS_COLUMNS,
    "sessions": SESSION_COLUMNS,
    "tasks": TASK_COLUMNS,
    "results": RESULT_COLUMNS,
    "objects": ("id", "data"),
}
FIXED: Mapping[str, frozenset[str]] = {
    "sessions": frozenset(("id", "options_id", "partition_ids", "created_at")),
    "tasks": frozenset(
        (
            "id",
            "session_id",
            "options_id",
            "payload_id",
            "initial_id",
            "created_by",
            "dependencies",
            "outputs",
            "depth",
            "retry_of",
            "created_at",
        )
    ),
    "results": frozenset(("id", "session_id", "name", "created_by", "created_at")),
}
"""Columns that never change after the first insert."""


def create_statements() -> list[str]:
    """What makes an empty journal."""
    statements = [
        "CREATE TABLE meta(name TEXT PRIMARY KEY, value TEXT NOT NULL)",
        f"INSERT INTO meta VALUES('{CREATION_ORDER}', '{KEPT}')",
        "CREATE TABLE partitions(id TEXT PRIMARY KEY, parent_ids TEXT, pod_reserved INTEGER, "
        "pod_max INTEGER, preemption_percentage INTEGER, priority INTEGER)",
        f"CREATE TABLE options(id INTEGER PRIMARY KEY, {', '.join(OPTIONS_COLUMNS[1:])})",
        "CREATE TABLE objects(id INTEGER PRIMARY KEY, data BLOB NOT NULL)",
    ]
    statements += [
        f"CREATE TABLE {table}(id TEXT PRIMARY KEY, {', '.join(COLUMNS[table][1:])})"
        for table in ("sessions", "tasks", "results")
    ]
    return statements


def write_statement(table: str, rows: int) -> str:
    """The statement that writes ``rows`` rows of a table at once, over those that exist.

    Many rows in one statement: the driver gives up and takes back the interpreter lock once a
    statement, and taking it back can last milliseconds while the event loop is busy.
    """
    columns = COLUMNS[table]
    row = f"({','.join('?' * len(columns))})"
    sql = f"INSERT INTO {table} VALUES {','.join([row] * rows)}"
    if table not in FIXED:
        return sql
    changed = [name for name in columns if name not in FIXED[table]]
    updates = ",".join(f"{name}=excluded.{name}" for name in changed)
    return f"{sql} ON CONFLICT(id) DO UPDATE SET {updates}"


# --- opening ------------------------------------------------------------------------------------


def damaged(path: Path, error: Exception) -> EngineError:
    """The error for a journal that cannot be read, or not be written now."""
    if passes(error):
        return unusable(path, error)
    return EngineError(
        f"the journal {path} is damaged or is not a journal ({error}); restore it from a copy, or "
        "start with another state directory",
        "DATA_LOSS",
    )


def open_journal(path: Path, durability: Durability) -> sqlite3.Connection:
    """Open a journal for writing; make it if there is none, bring an earlier one to this version.

    Raises:
        EngineError: If it is damaged, foreign, of a newer version, or cannot be brought to this
            one.
    """
    os.close(open_private(str(path), os.O_RDWR | os.O_CREAT))  # its companions get its mode
    connection = sqlite3.connect(
        path, isolation_level=None, check_same_thread=False, cached_statements=128
    )
    try:
        check_journal(connection, path)
        connection.execute(f"PRAGMA page_size={PAGE_BYTES}")
        compaction.prepare(connection)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute(f"PRAGMA synchronous={'FULL' if durability == 'full' else 'NORMAL'}")
        connection.execute("PRAGMA wal_autocheckpoint=0")  # see engine.checkpoints
        connection.execute(f"PRAGMA cache_size=-{CACHE_KIB}")
        connection.execute("PRAGMA temp_store=MEMORY")
        version = _version(connection)
        if version == 0:
            _create(connection)
        elif version < VERSION:
            migrate(connection, path, version, VERSION)
        compaction.rebuild(connection)
    except sqlite3.DatabaseError as error:
        connection.close()
        raise damaged(path, error) from error
    except BaseException:
        connection.close()
        raise
    return connection


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def check_journal(connection: sqlite3.Connection, path: Path) -> int:
    """Refuse what is no journal of this version or an earlier one; returns the version.

    Raises:
        EngineError: What it is, and what to do.
    """
    version = _version(connection)
    if version < 0:
        raise damaged(path, ValueError(f"there is no schema {version}"))
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if tables and application != APPLICATION:
        raise damaged(path, ValueError("the file belongs to another program"))
    if tables and version == 0:
        raise damaged(path, ValueError("it has tables, but not the number of its schema"))
    if version == VERSION:
        _check_tables(connection, path)
    if version > VERSION:
        raise EngineError(
            f"the journal {path} was written by a newer armoflow (schema {version}, this one knows "
            f"{VERSION}); upgrade armoflow, or start with another state directory",
            "FAILED_PRECONDITION",
        )
    return version


def _check_tables(connection: sqlite3.Connection, path: Path) -> None:
    """Refuse a journal whose tables are not those of its version."""
    for table, columns in COLUMNS.items():
        found = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
        if found != [*columns]:
            text = f"its table {table} is not that of schema {VERSION}"
            raise damaged(path, ValueError(text))


def _create(connection: sqlite3.Connection) -> None:
    connection.execute("BEGIN IMMEDIATE")
    for statement in create_statements():
        connection.execute(statement)
    connection.execute(f"PRAGMA application_id={APPLICATION}")
    connection.execute(f"PRAGMA user_version={VERSION}")
    connection.execute("COMMIT")
