"""How a journal that an earlier version wrote becomes one of this version.

All steps are one transaction: a process that is killed, or a disk that is full in the middle leaves
the journal as it was, and the earlier version can still read it. What a step makes is written out
here, not taken from :mod:`armoflow.engine.schema`, which tells of the newest version only.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from armoflow.errors import EngineError

_TASKS_OF_2: Final = (
    "id TEXT PRIMARY KEY, session_id, status, options_id, payload_id, initial_id, created_by, "
    "dependencies, outputs, depth, retry_of, place, owner, success, error, created_at, "
    "submitted_at, received_at, acquired_at, fetched_at, started_at, processed_at, ended_at, "
    "pod_ttl, not_before"
)
_FROM_1: Final = (
    f"CREATE TABLE tasks_of_2({_TASKS_OF_2})",
    # The list of all that stand above a task becomes how many they are.
    "INSERT INTO tasks_of_2 SELECT id, session_id, status, options_id, payload_id, initial_id, "
    "created_by, dependencies, outputs, "
    "1 + length(parent_ids) - length(replace(parent_ids, char(10), '')), retry_of, place, owner, "
    "success, error, created_at, submitted_at, received_at, acquired_at, fetched_at, started_at, "
    "processed_at, ended_at, pod_ttl, 0.0 FROM tasks ORDER BY rowid",
    "DROP TABLE tasks",
    "ALTER TABLE tasks_of_2 RENAME TO tasks",
    "ALTER TABLE sessions ADD COLUMN leased DEFAULT 0",
    "ALTER TABLE sessions ADD COLUMN sweeping DEFAULT 0",
)


def _from_1(connection: sqlite3.Connection) -> None:
    for statement in _FROM_1:
        connection.execute(statement)


STEPS: Final[Mapping[int, Callable[[sqlite3.Connection], None]]] = {1: _from_1}
"""What brings a journal from a version to the next one."""


def migrate(connection: sqlite3.Connection, path: Path, version: int, wanted: int) -> None:
    """Bring a journal from one version to a later one.

    Raises:
        EngineError: If there is no room for it, or it cannot be written; it is as it was then.
    """
    try:
        connection.execute("BEGIN IMMEDIATE")
        for number in range(version, wanted):
            STEPS[number](connection)
        connection.execute(f"PRAGMA user_version={wanted}")
        connection.execute("COMMIT")
    except sqlite3.OperationalError as error:
        raise EngineError(
            f"the journal {path} of an earlier armoflow (schema {version}) cannot be brought to "
            f"schema {wanted}: {error}; it was left as it is: see to it that it can be written, "
            "with as much room on the disk as it takes itself, and start again",
            "FAILED_PRECONDITION",
        ) from error
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
