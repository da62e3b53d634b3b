"""What was deleted gives its room back while the engine runs."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from engine_support import Running, in_loop

from armoflow.config import INLINE_DATA_LIMIT
from armoflow.engine import compaction, schema

TASKS = 60
LARGE = 2 * INLINE_DATA_LIMIT


def used(directory: Path) -> int:
    """Bytes of all files but the log, which is begun anew."""
    files = (path for path in directory.rglob("*") if path.is_file())
    return sum(path.stat().st_size for path in files if not path.name.endswith(("-wal", "-shm")))


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # the test as a whole is bounded
        await asyncio.sleep(0.02)


@pytest.fixture(autouse=True)
def _little(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compaction, "LEAST", 32)


@in_loop
async def test_a_session_that_is_deleted_gives_its_room_back(tmp_path: Path) -> None:
    async with Running(tmp_path) as running:
        engine = running.engine
        kept = running.open_session()
        stays = running.submit(b"kept" * 1000)
        session = running.open_session()
        for number in range(TASKS):
            running.submit(bytes(INLINE_DATA_LIMIT))
            if number % 10 == 0:
                running.submit(bytes(LARGE))
        await engine.committed()
        engine._journal._checkpoints.ask()
        most = TASKS * INLINE_DATA_LIMIT + TASKS // 10 * LARGE
        await until(lambda: used(tmp_path) > most)
        await engine.sweeper.change(
            session, lambda: engine.state.delete_session(engine.now(), session)
        )
        await until(lambda: used(tmp_path) < most / 8)
        # It is whole, and written on.
        running.session = kept
        running.submit()
        await engine.committed()
        payload = engine.state.results[stays.payload_id]
        assert await engine.objects.read(payload.opaque_id) == b"kept" * 1000
    assert not engine._journal._compaction.due


def old_journal(path: Path, rows: int) -> None:
    """A journal of before room was given back, of which half is free."""
    schema.open_journal(path, "normal").close()
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode=DELETE")
    connection.execute("PRAGMA auto_vacuum=NONE")
    connection.execute("VACUUM")
    for key in range(rows):
        connection.execute("INSERT INTO objects VALUES (?, ?)", (key, bytes(40_000)))
    connection.execute("DELETE FROM objects WHERE id > 2")
    connection.close()


@pytest.mark.parametrize(("rows", "rebuilt"), [(30, True), (4, False)])
def test_a_journal_of_before_is_written_anew_if_it_is_worth_it(
    tmp_path: Path, rows: int, rebuilt: bool
) -> None:
    path = tmp_path / "journal.db"
    old_journal(path, rows)
    connection = schema.open_journal(path, "normal")
    mode = connection.execute("PRAGMA auto_vacuum").fetchone()[0]
    assert (mode == 2) is rebuilt
    assert connection.execute("SELECT count(*) FROM objects").fetchone()[0] == 3
    free = connection.execute("PRAGMA freelist_count").fetchone()[0]
    assert (free == 0) is rebuilt
    connection.close()


def test_what_cannot_be_given_back_now_stays(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    connection = schema.open_journal(tmp_path / "journal.db", "normal")
    giving = compaction.Compaction(connection)
    for key in range(30):
        connection.execute("INSERT INTO objects VALUES (?, ?)", (key, bytes(40_000)))
    connection.execute("DELETE FROM objects")
    giving.look()
    assert giving.due
    other = sqlite3.connect(tmp_path / "journal.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    connection.execute("PRAGMA busy_timeout=0")
    giving.step()
    assert not giving.due
    assert "keeps the room of what was deleted: database is locked" in caplog.text
    other.execute("ROLLBACK")
    other.close()
    giving.look()
    while giving.due:
        giving.step()
    assert connection.execute("PRAGMA page_count").fetchone()[0] < 60
    connection.close()


@in_loop
async def test_a_journal_that_does_not_tell_its_room_is_written_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: compaction.Compaction, name: str) -> int:
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(compaction.Compaction, "_read", refuse)
    async with Running(tmp_path) as running:
        engine = running.engine
        running.open_session()
        for _ in range(3):
            task = running.submit(b"x" * 1000)
            await engine.committed()
            engine.apply(engine.state.delete_results(engine.now(), [task.payload_id]))
            await engine.committed()
