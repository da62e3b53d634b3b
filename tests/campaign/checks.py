"""What a round has cost, by the notes of its tasks and by the engine's journal."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import TypeAlias

from armoflow.codec.item_log import PREFIX as LOG_PREFIX
from armoflow.engine.records import ResultStatus, SessionStatus, TaskStatus
from tests.campaign.stage import Seen

Stored: TypeAlias = "tuple[str | bytes, int]"
"""Where a result's data is, and its size."""

_COMPLETED = int(ResultStatus.COMPLETED)
_LIVE = (int(SessionStatus.RUNNING), int(SessionStatus.PAUSED))
_ENDED = ",".join(
    str(int(status))
    for status in (
        TaskStatus.COMPLETED,
        TaskStatus.ERROR,
        TaskStatus.TIMEOUT,
        TaskStatus.CANCELLED,
        TaskStatus.RETRIED,
    )
)


def run_again(notes: Path, seen: Seen) -> list[str]:
    """Calls that ran after the client knew their value: what was committed was done again."""
    starts: dict[str, list[int]] = defaultdict(list)
    log = notes / "runs"
    for line in log.read_text().splitlines() if log.exists() else ():
        key, _, at = line.split()
        starts[key].append(int(at))
    return [
        f"{key} ran again {1e-6 * (max(starts[key]) - known):.0f} ms after its value was seen"
        for key, (_, known) in seen.runs.items()
        if starts[key] and max(starts[key]) > known
    ]


def doubled(seen: Seen) -> list[str]:
    """Calls of which two values were seen, by one reader or by two."""
    both = {key for key, (token, _) in seen.runs.items() if " and " in token}
    return [f"{key} was seen with two values" for key in sorted(both | seen.doubled)]


def completed_results(state: Path) -> dict[str, Stored]:
    """Data and size of each completed result, by the journal of an engine, alive or dead."""
    with tempfile.TemporaryDirectory(prefix="afc-") as folder:
        for name in ("journal.db-wal", "journal.db"):
            with contextlib.suppress(FileNotFoundError):
                shutil.copy(state / name, folder)
        connection = sqlite3.connect(f"{folder}/journal.db")
        try:
            rows = connection.execute(
                "SELECT id, opaque_id, size FROM results WHERE status=?", (_COMPLETED,)
            ).fetchall()
        except sqlite3.DatabaseError:
            return {}  # a copy of what was being written: the other copies tell
        finally:
            connection.close()
    return {result_id: (opaque_id, size) for result_id, opaque_id, size in rows}


def changed(before: dict[str, Stored], after: dict[str, Stored]) -> list[str]:
    """Completed results that have other data later; those that were deleted are fine."""
    return [
        f"result {result_id} has other data than before"
        for result_id, data in before.items()
        if after.get(result_id, data) != data
    ]


def left_in_state(state: Path) -> list[str]:
    """What an engine that has stopped kept, though its only client is gone."""
    connection = sqlite3.connect(state / "journal.db")
    try:
        found = [
            f"session {session_id} has not ended"
            for session_id, status in connection.execute("SELECT id, status FROM sessions")
            if status in _LIVE
        ]
        (tasks,) = connection.execute(
            f"SELECT count(*) FROM tasks WHERE status NOT IN ({_ENDED})"
        ).fetchone()
        data = [
            name
            for (name,) in connection.execute(
                "SELECT coalesce(name, '') FROM results WHERE status=?", (_COMPLETED,)
            )
        ]
        (objects,) = connection.execute("SELECT count(*) FROM objects").fetchone()
        logs = [name for name in data if name.startswith(LOG_PREFIX)]  # they are to stay
    finally:
        connection.close()
    for count, what in (
        (tasks, "tasks"),
        (len(data) - len(logs), f"results with data (of {', '.join(data[:5])})"),
        (objects - len(logs), "objects"),
    ):
        if count:
            found.append(f"{count} {what} in the journal")
    files = [path for path in state.rglob("*") if path.is_file() and not _belongs(path, state)]
    return [*found, *(f"file {path.relative_to(state)}" for path in files)]


def _belongs(path: Path, state: Path) -> bool:
    """Whether an engine's directory holds this file for ever."""
    if path.name == "worker.log":
        return True  # what the last worker of a seat wrote, to be read
    locks = ("lock", "starting")
    return path.parent == state and (path.name.startswith("journal.db") or path.name in locks)


def left_in(folder: Path) -> list[str]:
    """What is left in a folder for temporary files."""
    return [f"{path.relative_to(folder)} in TMPDIR" for path in sorted(folder.iterdir())]
