"""A state directory is looked at, as it is and damaged; nothing of it changes."""

from __future__ import annotations

import asyncio
import sqlite3
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from engine_support import Running, in_loop

from armoflow.cli.main import main
from armoflow.engine import backup
from armoflow.engine.backup import back_up
from armoflow.engine.checking import check_state
from armoflow.engine.core import Engine
from armoflow.engine.engine_options import EngineOptions
from armoflow.engine.records import TaskRecord
from armoflow.errors import EngineError, OptionError

if TYPE_CHECKING:
    from tests.conftest import SmallDisk

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


def test_an_empty_journal_is_what_a_start_takes_it_for(tmp_path: Path) -> None:
    """None, so that it is begun; and refused, where there are files that it would not know."""
    (tmp_path / "journal.db").touch()
    assert unharmed(tmp_path) == []
    assert check_state(tmp_path).counts == {"sessions": 0, "tasks": 0, "results": 0}
    (tmp_path / "objects").mkdir()
    (tmp_path / "objects" / "a").touch()
    with pytest.raises(EngineError, match="has no journal"):
        check_state(tmp_path)

    async def start() -> None:
        await Engine(EngineOptions(tmp_path)).start()

    with pytest.raises(EngineError, match="has no journal"):
        asyncio.run(start())
    (tmp_path / "objects" / "a").unlink()

    async def run() -> None:
        async with Running(tmp_path) as running:
            running.open_session()

    asyncio.run(run())
    assert check_state(tmp_path).counts["sessions"] == 1


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


@in_loop
async def test_rows_that_make_no_sense_are_told(state: Path) -> None:
    damage(
        state,
        "UPDATE results SET opaque_id='zz' WHERE name='payload'",
        "UPDATE tasks SET status=77",
    )
    problems = unharmed(state)
    assert sum("has the status 77, which is none" in text for text in problems) == 2
    assert sum("its data is not in the journal" in text for text in problems) == 2
    with pytest.raises(EngineError, match=r"makes no sense.*armoflow up --check says") as caught:
        await Engine(EngineOptions(state)).start()
    assert caught.value.code == "DATA_LOSS"


def test_what_is_no_state_of_ours(tmp_path: Path, state: Path) -> None:
    with pytest.raises(EngineError, match="it has no"):
        check_state(tmp_path)
    damage(state, "PRAGMA application_id=1")
    with pytest.raises(EngineError, match="another program"):
        check_state(state)
    (state / "journal.db").write_bytes(b"rubbish" * 1000)
    with pytest.raises(EngineError, match="damaged"):
        check_state(state)


@pytest.mark.parametrize(
    ("damages", "what"),
    [
        (("PRAGMA user_version=-1",), "no schema -1"),
        (("PRAGMA user_version=0",), "not the number of its schema"),
        (("ALTER TABLE tasks DROP COLUMN not_before",), "its table tasks is not that of schema 2"),
        (("DROP TABLE results",), "its table results is not that of schema 2"),
        (("ALTER TABLE sessions ADD COLUMN later",), "its table sessions is not"),
    ],
)
def test_tables_that_are_not_of_their_version_are_refused(
    state: Path, damages: Sequence[str], what: str
) -> None:
    damage(state, *damages)
    before = contents(state)
    with pytest.raises(EngineError, match=what):
        check_state(state)
    assert contents(state) == before
    with pytest.raises(EngineError, match=what):
        asyncio.run(Engine(EngineOptions(state)).start())


@pytest.mark.parametrize(
    ("statement", "what"),
    [
        ("DELETE FROM sessions", "names session .*, which is not there"),
        ("DELETE FROM options", "there are no options 1"),
        ("UPDATE tasks SET created_at='yesterday'", "yesterday"),
        ("UPDATE tasks SET outputs=7", "makes no sense"),
        ("UPDATE tasks SET status=77", "77"),
    ],
)
def test_rows_that_make_no_sense_are_refused_at_the_start(
    state: Path, statement: str, what: str
) -> None:
    damage(state, statement)
    with pytest.raises(EngineError, match=what) as refusal:
        asyncio.run(Engine(EngineOptions(state)).start())
    assert "--check" in str(refusal.value)


def test_a_state_of_an_earlier_version(tmp_path: Path) -> None:
    with tarfile.open(Path(__file__).parent / "fixtures" / "state-0.1.0.tar.gz") as archive:
        archive.extractall(tmp_path)
    (problem,) = unharmed(tmp_path)
    assert "earlier version, 1" in problem


# --- copies ---------------------------------------------------------------------------------------


@in_loop
async def test_a_copy_of_a_state_that_an_engine_writes(tmp_path: Path) -> None:
    """Large data comes and goes all the time; what stays is in the copy, whatever the moment."""
    state, copy = tmp_path / "state", tmp_path / "copy"
    async with Running(state) as running:
        running.open_session()
        kept = [running.submit(bytes([number]) * LARGE) for number in range(3)]
        await running.engine.committed()
        copying = asyncio.create_task(asyncio.to_thread(back_up, state, copy))
        while not copying.done():
            brief = running.submit(bytes(LARGE))
            await running.engine.committed()
            engine, now = running.engine, running.engine.now()
            engine.apply(engine.state.cancel_tasks(now, [brief.id]))
            engine.apply(engine.state.delete_results(now, [brief.payload_id]))
        findings = await copying
        assert findings.problems == []
        assert findings.counts["tasks"] >= len(kept)
    assert {path.name for path in copy.iterdir()} <= {"journal.db", "objects", "output"}
    assert copy.stat().st_mode & 0o777 == 0o700
    assert (copy / "journal.db").stat().st_mode & 0o777 == 0o600
    async with Running(copy) as again:
        for number, task in enumerate(kept):
            payload = again.engine.state.results[task.payload_id]
            data = await again.engine.objects.read(payload.opaque_id)
            assert isinstance(data, Path)
            assert data.read_bytes() == bytes([number]) * LARGE


@in_loop
async def test_what_is_deleted_while_a_copy_is_made_goes_when_it_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Data that is made just before the journal is copied, and deleted just after it."""
    state, copy = tmp_path / "state", tmp_path / "copy"
    loop = asyncio.get_running_loop()
    copy_journal = backup._copy_journal
    async with Running(state) as running:
        engine = running.engine
        running.open_session()

        async def make() -> TaskRecord:
            task = running.submit(bytes(LARGE))
            await engine.committed()
            return task

        async def delete(task: TaskRecord) -> None:
            engine.apply(engine.state.cancel_tasks(engine.now(), [task.id]))
            engine.apply(engine.state.delete_results(engine.now(), [task.payload_id]))
            await engine.committed()

        def between(*arguments: Any) -> None:
            task = asyncio.run_coroutine_threadsafe(make(), loop).result()
            copy_journal(*arguments)
            asyncio.run_coroutine_threadsafe(delete(task), loop).result()

        monkeypatch.setattr(backup, "_copy_journal", between)
        findings = await asyncio.to_thread(back_up, state, copy)
        assert findings.problems == []
        (kept,) = (path for path in (copy / "objects").glob("*/*") if path.is_file())
        assert kept.stat().st_size == LARGE
        assert check_state(state).problems == []
        running.submit()
        await engine.committed()
        assert not (state / kept.relative_to(copy)).exists()


def test_a_copy_of_a_state_without_an_engine(
    tmp_path: Path, state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(state)
    copy = tmp_path / "new" / "copy"
    command = ["up", "--state", str(state), "--backup", str(copy)]
    assert main(command) == 0
    assert f"{copy}: sound (1 sessions, 2 tasks, 4 results)" in capsys.readouterr().out
    assert contents(state) == before
    large = [path for path in contents(copy) if path.startswith("objects/")]
    assert len(large) == 1
    assert main(command) == 2
    assert f"--backup {copy} is not empty: name a new directory" in capsys.readouterr().err
    assert main(["up", "--state", str(tmp_path), "--backup", str(tmp_path / "x")]) == 2
    assert not (tmp_path / "x").exists()


def test_a_copy_of_what_is_damaged_says_so(tmp_path: Path, state: Path) -> None:
    (large,) = [path for path in (state / "objects").glob("*/*") if path.is_file()]
    large.unlink()
    (problem,) = back_up(state, tmp_path / "copy").problems
    assert "data is not in" in problem


@pytest.mark.parametrize("place", ["", "copy", "objects/copy", "output/copy"])
def test_a_state_is_not_copied_into_itself(state: Path, place: str) -> None:
    before = contents(state)
    with pytest.raises(OptionError, match="in the directory that is copied: name one elsewhere"):
        back_up(state, state / place)
    assert contents(state) == before


def test_a_copy_that_does_not_fit_leaves_nothing(state: Path, small_disk: SmallDisk) -> None:
    copy = small_disk.root / "copy"
    small_disk.fill()
    with pytest.raises(OptionError, match=rf"--backup: cannot write {copy}/.*full .*another disk"):
        back_up(state, copy)
    assert list(copy.iterdir()) == []
    small_disk.make_room()
    assert back_up(state, copy).problems == []


def test_a_copy_that_is_cut_short_is_no_state(
    tmp_path: Path, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "copy"
    seen: list[str] = []

    def stop(_: Path, target: Path) -> None:
        seen.extend(path.name for path in target.iterdir())
        raise KeyboardInterrupt

    monkeypatch.setattr(backup, "_copy_files", stop)
    with pytest.raises(KeyboardInterrupt):
        back_up(state, copy)
    assert seen == ["journal.db.part"]  # all that would be there, had it been killed
    assert list(copy.iterdir()) == []
