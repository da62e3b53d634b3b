"""Whether a state directory is sound: it is read, and nothing of it is changed."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from enum import IntEnum
from itertools import islice
from pathlib import Path
from typing import Final

from armoflow.engine.directory import JOURNAL, check_contents
from armoflow.engine.holding import OBJECTS, held
from armoflow.engine.objects import data_key, data_path
from armoflow.engine.records import FINAL, ResultStatus, SessionStatus, TaskStatus
from armoflow.engine.rows import split_ids
from armoflow.engine.schema import VERSION, check_journal, damaged
from armoflow.errors import EngineError

AT_ONCE: Final = 500
"""Rows that are looked up by one query."""

_STATUSES: Final[Mapping[str, type[IntEnum]]] = {
    "sessions": SessionStatus,
    "tasks": TaskStatus,
    "results": ResultStatus,
}

SHOWN: Final = 20
"""Problems of one kind that are told one by one."""


@dataclass
class Findings:
    """What a look at a state directory has found.

    Attributes:
        counts: How many sessions, tasks and results there are.
        problems: What is wrong, a line each.
    """

    counts: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def tell(self, what: str, problems: Sequence[str]) -> None:
        """Add problems of one kind; of many the first ones and how many there are."""
        self.problems += problems[:SHOWN]
        if len(problems) > SHOWN:
            self.problems.append(f"... and {len(problems) - SHOWN} more {what}")


def check_state(directory: Path) -> Findings:
    """Look at a state directory, whether an engine runs on it or not.

    Raises:
        EngineError: If there is none, or its journal cannot be read at all.
    """
    findings = Findings()
    with held(directory / OBJECTS), open_to_read(directory) as connection:
        connection.execute("BEGIN")  # all of it is of one moment
        version = check_journal(connection, directory / JOURNAL)
        if not version:  # an empty file, which a start takes for none
            check_contents(directory)
            findings.counts = dict.fromkeys(_STATUSES, 0)
        elif version < VERSION:
            findings.problems.append(
                f"the journal is of an earlier version, {version}: the next start brings it to "
                f"{VERSION}; check again then"
            )
        else:
            _check(connection, directory, findings)
    return findings


@contextmanager
def open_to_read(directory: Path) -> Iterator[sqlite3.Connection]:
    """The journal of a state directory, whether an engine runs on it or not; it stays as it is.

    Raises:
        EngineError: If there is none, or it cannot be read.
    """
    path = directory / JOURNAL
    if not path.is_file():
        raise EngineError(f"{directory} is no state directory: it has no {JOURNAL}", "NOT_FOUND")
    # Of a journal that nobody has open nothing must be made, not even the index of an empty log.
    is_open = path.with_name(path.name + "-shm").exists()
    has_log = (log := path.with_name(path.name + "-wal")).exists() and log.stat().st_size > 0
    how = "mode=ro" if is_open or has_log else "immutable=1"
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?{how}", uri=True)) as connection:
            yield connection
    except sqlite3.DatabaseError as error:
        raise damaged(path, error) from error
    finally:
        if has_log and not is_open:  # the log's index, which was made to read it
            path.with_name(path.name + "-shm").unlink(missing_ok=True)


def _check(connection: sqlite3.Connection, directory: Path, findings: Findings) -> None:
    pages = [row[0] for row in connection.execute("PRAGMA quick_check(20)")]
    findings.tell("faults of the file", [f"journal.db: {text}" for text in pages if text != "ok"])
    for table in ("sessions", "tasks", "results"):
        count = connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
        findings.counts[table] = count
    for table, column, other in (
        ("tasks", "session_id", "sessions"),
        ("tasks", "options_id", "options"),
        ("sessions", "options_id", "options"),
    ):
        rows = connection.execute(
            f"SELECT id, {column} FROM {table} WHERE {column} NOT IN (SELECT id FROM {other})"
        )
        lost = [
            f"{table[:-1]} {key} names {column} {value}, which is not there" for key, value in rows
        ]
        findings.tell("of these", lost)
    for table, statuses in _STATUSES.items():
        rows = connection.execute(
            f"SELECT id, status FROM {table} WHERE status NOT IN ({_numbers(statuses)})"
        )
        odd = [f"{table[:-1]} {key} has the status {value!r}, which is none" for key, value in rows]
        findings.tell("of these", odd)
    findings.tell("results without their data", list(_missing_data(connection, directory)))
    findings.tell("tasks that cannot run", list(_stuck_tasks(connection)))


def _missing_data(connection: sqlite3.Connection, directory: Path) -> Iterator[str]:
    """Completed results whose data is gone, or of another size."""
    rows = connection.execute(
        "SELECT id, opaque_id, size FROM results WHERE status=?", (int(ResultStatus.COMPLETED),)
    )
    while part := list(islice(rows, AT_ONCE)):
        keys = {result_id: _key(opaque) for result_id, opaque, _ in part}
        small = [key for key in keys.values() if not key & 1]
        marks = ",".join("?" * len(small))
        sizes: dict[int, int] = dict(
            connection.execute(
                f"SELECT id, length(data) FROM objects WHERE id IN ({marks})", small
            ).fetchall()
        )
        for result_id, _, size in part:
            key = keys[result_id]
            found = sizes.get(key)
            place = "the journal"
            if key & 1:
                place = str(data_path(directory, key))
                found = _size(Path(place))
            if found is None:
                yield f"result {result_id}: its data is not in {place}"
            elif found != size:
                yield f"result {result_id}: its data, in {place}, has {found} bytes, not {size}"


def _stuck_tasks(connection: sqlite3.Connection) -> Iterator[str]:
    """Unfinished tasks whose inputs are unknown, or that are queued without them."""
    rows = connection.execute(
        "SELECT id, status, payload_id, dependencies FROM tasks "
        f"WHERE status NOT IN ({_numbers(FINAL)})"
    )
    while part := list(islice(rows, AT_ONCE)):
        for task_id, status, payload_id, dependencies in part:
            for result_id in (payload_id, *split_ids(dependencies)):
                row = connection.execute(
                    "SELECT status FROM results WHERE id=?", (result_id,)
                ).fetchone()
                if row is None:
                    yield f"task {task_id}: its input {result_id} is not there"
                elif status == TaskStatus.SUBMITTED and row[0] == ResultStatus.CREATED:
                    yield f"task {task_id} is queued, but its input {result_id} has no data yet"


def _numbers(statuses: Iterable[int]) -> str:
    return ",".join(str(int(status)) for status in statuses)


def _key(opaque_id: str) -> int:
    """The key of an opaque id as rows have it; -2, as for one that is none, if it is nonsense."""
    try:
        return data_key(bytes.fromhex(opaque_id))
    except (ValueError, TypeError):
        return -2


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None
