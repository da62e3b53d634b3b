"""A state directory that armoflow 0.1.0 wrote (journal of schema 1) is opened, read and continued.

The fixture holds a closed session with a failed task and a task whose output went down through
three levels of children, a cancelled, a purged and a paused session, and a running one: a child
that was running, a queued second attempt, a task that waits for it, one without payload.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sqlite3
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from engine_support import Running, in_loop

from armoflow.agent.effects import Effects
from armoflow.engine import migrations, schema
from armoflow.engine.core import Engine
from armoflow.engine.engine_options import EngineOptions
from armoflow.engine.filters import Condition
from armoflow.engine.records import ResultStatus, SessionStatus, TaskStatus
from armoflow.errors import EngineError

FIXTURE = Path(__file__).parent / "fixtures" / "state-0.1.0.tar.gz"


@pytest.fixture
def old(tmp_path: Path) -> Path:
    with tarfile.open(FIXTURE) as archive:
        archive.extractall(tmp_path)
    assert read_version(tmp_path) == 1
    return tmp_path


@pytest.fixture
def names(old: Path) -> Mapping[str, str]:
    found: dict[str, str] = json.loads((old / "names.json").read_text())
    return found


def read_version(directory: Path) -> int:
    connection = sqlite3.connect(directory / "journal.db")
    try:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])
    finally:
        connection.close()


def count_rows(directory: Path) -> list[int]:
    connection = sqlite3.connect(directory / "journal.db")
    try:
        return [
            connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
            for table in ("sessions", "tasks", "results", "objects", "options")
        ]
    finally:
        connection.close()


@in_loop
async def test_sessions_tasks_results_and_data_are_read(
    old: Path, names: Mapping[str, str]
) -> None:
    rows = count_rows(old)
    async with Running(old) as running:
        engine = running.engine
        sessions = {s.id: s.status for s in (await engine.queries.sessions()).items}
        assert sessions == {
            names["completed"]: SessionStatus.CLOSED,
            names["cancelled"]: SessionStatus.CANCELLED,
            names["purged"]: SessionStatus.PURGED,
            names["paused"]: SessionStatus.PAUSED,
            names["running"]: SessionStatus.RUNNING,
        }
        failed = await engine.read_task(names["failed"])
        assert failed is not None
        assert (failed.status, failed.error) == (TaskStatus.ERROR, "it raised\nValueError: no")
        for name, status in (
            ("output", ResultStatus.COMPLETED),
            ("gone", ResultStatus.DELETED),
            ("aborted", ResultStatus.ABORTED),
            ("purged_output", ResultStatus.DELETED),
        ):
            result = await engine.read_result(names[name])
            assert result is not None
            assert result.status is status
        assert await read_data(engine, names["output"]) == b"the value"
        assert await read_data(engine, names["kept"]) == b"manual"
        assert await read_data(engine, names["big"]) == b"large " * 50_000
    assert count_rows(old)[:3] == [rows[0], rows[1] + 1, rows[2]]  # what ran is tried again


async def read_data(engine: Engine, result_id: str) -> bytes:
    record = await engine.read_result(result_id)
    assert record is not None
    data = await engine.objects.read(record.opaque_id)
    return data if isinstance(data, bytes) else data.read_bytes()


@in_loop
async def test_what_stands_above_a_task_is_as_it_was(old: Path, names: Mapping[str, str]) -> None:
    connection = sqlite3.connect(old / "journal.db")
    rows = connection.execute("SELECT id, parent_ids FROM tasks").fetchall()
    connection.close()
    before = {task_id: tuple(text.split("\n")) for task_id, text in rows}
    assert len(before[names["level3"]]) == 4
    async with Running(old) as running:
        tasks = (await running.engine.queries.tasks()).items
        lineages = await running.engine.queries.read_lineages(tasks)
        assert {task_id: lineages[task_id] for task_id in before} == before
        assert all(task.depth == len(lineages[task.id]) for task in tasks)


@in_loop
async def test_what_was_under_way_goes_on(old: Path, names: Mapping[str, str]) -> None:
    async with Running(old) as running:
        engine = running.engine
        state = engine.state
        child_again = f"{names['child']}###1"
        assert set(running.take()) == {names["retry"], child_again}
        engine.complete(
            [
                (names["retry"], Effects(data={names["retry_output"]: b"at last"})),
                (child_again, Effects(data={names["child_output"]: b"of the child"})),
            ]
        )
        assert running.take() == [names["chained"]]
        upload = engine.objects.put(b"late payload")
        engine.apply(
            state.complete_results(
                engine.now(), names["running"], [(names["late_payload"], upload)]
            )
        )
        assert running.take() == [names["late"]]
        assert state.tasks[names["late"]].options.options == {"who": "mē"}
        assert state.tasks[names["held"]].status is TaskStatus.PAUSED
        engine.apply(state.resume_session(engine.now(), names["paused"]))
        assert running.take() == [names["held"]]
        assert await read_data(engine, names["child_output"]) == b"of the child"
        running.session = names["running"]
        new = running.submit()
        assert running.take() == [new.id]
        await engine.committed()
        found = await engine.queries.tasks(
            [[Condition("session_id", "==", names["running"])]], page_size=0
        )
        assert found.total == 8


def test_a_migrated_journal_has_the_tables_of_a_new_one(
    old: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    new = tmp_path_factory.mktemp("new") / "journal.db"
    columns = []
    for path in (old / "journal.db", new):
        connection = schema.open_journal(path, "normal")
        columns.append(
            {
                table: [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
                for (table,) in connection.execute(
                    "SELECT name FROM sqlite_master WHERE type='table'"
                ).fetchall()
            }
        )
        connection.close()
    assert columns[0] == columns[1]
    assert columns[0]["tasks"] == list(schema.TASK_COLUMNS)
    assert columns[0]["sessions"] == list(schema.SESSION_COLUMNS)


def test_a_migration_that_fails_leaves_the_state_as_it_was(
    old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = count_rows(old)

    def fill_the_disk(connection: sqlite3.Connection) -> None:
        step(connection)
        raise sqlite3.OperationalError("database or disk is full")

    step = migrations.STEPS[1]
    monkeypatch.setattr(migrations, "STEPS", {1: fill_the_disk})
    for _ in range(2):
        with pytest.raises(EngineError, match=r"cannot be brought to schema 2.*disk is full"):
            asyncio.run(Engine(EngineOptions(old)).start())
    assert read_version(old) == 1
    assert count_rows(old) == rows
    monkeypatch.undo()
    schema.open_journal(old / "journal.db", "normal").close()
    assert read_version(old) == schema.VERSION


KILLED = """
import os, signal, sys
from pathlib import Path
from armoflow.engine import migrations, schema
step = migrations.STEPS[1]
def die(connection):
    step(connection)
    os.kill(os.getpid(), signal.SIGKILL)
migrations.STEPS = {1: die}
schema.open_journal(Path(sys.argv[1]), "normal")
"""


def test_a_process_that_is_killed_in_the_middle_leaves_the_state_as_it_was(old: Path) -> None:
    rows = count_rows(old)
    journal = old / "journal.db"
    killed = subprocess.run([sys.executable, "-c", KILLED, str(journal)], check=False, timeout=100)
    assert killed.returncode == -signal.SIGKILL
    assert read_version(old) == 1
    assert count_rows(old) == rows
    schema.open_journal(journal, "normal").close()
    assert read_version(old) == schema.VERSION
    assert list((old / "objects").iterdir())
