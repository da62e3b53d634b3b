"""A state directory is looked at, as it is and damaged; nothing of it changes."""

from __future__ import annotations

import asyncio
import sqlite3
import tarfile
from pathlib import Path

import pytest
from engine_support import Running, in_loop

from armoflow.cli.main import main
from armoflow.engine.checking import check_state
from armoflow.errors import EngineError

LARGE = 100_000


def contents(directory: Path) -> dict[str, bytes]:
    files = [path for path in directory.rglob("*") if path.is_file()]
    return {str(path.relative_to(directory)): path.read_bytes() for path in files}


def unharmed(directory: Path) -> list[str]:
    """The problems that are found; the directory is the same afterwards."""
    before = contents(directory)
    findings = check_state(directory)
    assert contents(directory) == before
    return findings.problems


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """What a stopped engine has left: a small payload, a large one, and their tasks."""
    directory = tmp_path / "state"

    async def fill() -> None:
        async with Running(directory) as running:
            running.open_session()
            running.submit()
            running.submit(bytes(LARGE))

    asyncio.run(fill())
    return directory


def damage(state: Path, *statements: str) -> None:
    connection = sqlite3.connect(state / "journal.db")
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()


def test_a_sound_state(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert unharmed(state) == []
    assert check_state(state).counts == {"sessions": 1, "tasks": 2, "results": 4}
    assert main(["up", "--check", "--state", str(state)]) == 0
    assert "sound (1 sessions, 2 tasks, 4 results)" in capsys.readouterr().out


@in_loop
async def test_a_state_that_an_engine_runs_on(tmp_path: Path) -> None:
    async with Running(tmp_path) as running:
        running.open_session()
        running.submit(bytes(LARGE))
        await running.engine.committed()
        findings = await asyncio.to_thread(check_state, tmp_path)
        assert (findings.problems, findings.counts["tasks"]) == ([], 1)
        running.submit()
        await running.engine.committed()  # it writes on


def test_a_state_whose_engine_was_killed(tmp_path: Path, state: Path) -> None:
    copy = tmp_path / "copy"

    async def leave() -> None:
        async with Running(state) as running:
            running.open_session()
            await running.engine.committed()
            copy.mkdir()
            for name in ("journal.db", "journal.db-wal"):
                (copy / name).write_bytes((state / name).read_bytes())
            (state / "objects").rename(copy / "objects")

    asyncio.run(leave())
    assert unharmed(copy) == []
    assert check_state(copy).counts["sessions"] == 2


def test_what_is_missing_is_named(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (large,) = [path for path in (state / "objects").glob("*/*") if path.is_file()]
    large.chmod(0o600)
    large.write_bytes(b"short")
    assert [text.partition("has ")[2] for text in unharmed(state)] == [f"5 bytes, not {LARGE}"]
    large.unlink()
    damage(state, "DELETE FROM objects", "UPDATE tasks SET session_id='nowhere'")
    problems = unharmed(state)
    assert sum("names session_id nowhere" in text for text in problems) == 2
    assert sum("data is not in" in text for text in problems) == 2
    damage(state, "UPDATE results SET status=1 WHERE name='payload'")
    assert sum("queued, but its input" in text for text in unharmed(state)) == 2
    damage(state, "DELETE FROM results")
    assert sum("is not there" in text for text in unharmed(state)) == 4
    assert main(["up", "--check", "--state", str(state)]) == 1
    assert "4 problem(s)" in capsys.readouterr().out


def test_what_is_no_state_of_ours(tmp_path: Path, state: Path) -> None:
    with pytest.raises(EngineError, match="it has no"):
        check_state(tmp_path)
    damage(state, "PRAGMA application_id=1")
    with pytest.raises(EngineError, match="another program"):
        check_state(state)
    (state / "journal.db").write_bytes(b"rubbish" * 1000)
    with pytest.raises(EngineError, match="damaged"):
        check_state(state)


def test_a_state_of_an_earlier_version(tmp_path: Path) -> None:
    with tarfile.open(Path(__file__).parent / "fixtures" / "state-0.1.0.tar.gz") as archive:
        archive.extractall(tmp_path)
    (problem,) = unharmed(tmp_path)
    assert "earlier version, 1" in problem
