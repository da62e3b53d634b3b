"""Rows of tasks for who watches a session live."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from armoflow import Client, current_task, task
from armoflow.dashboard.sources import EngineRows, StandardCalls, source_of
from armoflow.engine.schema import (
    OPTIONS_COLUMNS,
    TASK_COLUMNS,
    create_statements,
    write_statement,
)
from armoflow.engine.task_row_queries import _ENDED, FIELDS, LiveTasks, TaskRowsReader
from armoflow.errors import EngineError, MalformedError
from armoflow.protocol.inspection import Inspection
from armoflow.protocol.settings import ConnectionSettings
from armoflow.protocol.task_rows import TaskRow, _unpack, read_task_rows
from tests.engine.serving import serve

TIMES = ("created", "queued", "taken", "started", "stopped", "ended")


@task(batch_size=1)
def double(number: int) -> int:
    return 2 * number


@task(outputs=2, fuse=False)
def parts(number: int, other: int) -> tuple[int, int]:
    return number, other


@task(fuse=False)
def refuse(number: int) -> int:
    raise ValueError(f"not {number}")


@pytest.fixture(scope="module")
def inspection(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inspection]:
    """Of an engine that has run something."""
    with serve(tmp_path_factory.mktemp("engine"), workers=1) as serving:
        settings = ConnectionSettings(f"unix:{serving.target.removeprefix('unix:')}")
        with Client(settings.endpoint, progress=False, logs=False) as client:
            doubled = [double(number) for number in range(5)]
            client.compute(doubled)
            client.compute(*parts(doubled[0], doubled[1]))
            assert client.submit(refuse(3)).exception() is not None
        with Inspection(settings) as inspection:
            yield inspection


def test_fields_are_those_that_are_asked_for() -> None:
    assert tuple(FIELDS) == TaskRow._fields


def test_rows_say_what_lists_say(inspection: Inspection) -> None:
    session_id = inspection.sessions(1)[1][0].session_id
    told = source_of(inspection, session_id)
    assert isinstance(told, EngineRows)
    rows = told.ended(session_id, None, 0, (), live=True)
    listed = StandardCalls(inspection).ended(session_id, None, 0, (), live=True)
    assert rows.size == listed.size == len(rows.runs) >= 7 and not rows.full
    for run, other in zip(rows.runs, listed.runs, strict=True):
        times = [[getattr(each, name) for name in TIMES] for each in (run, other)]
        assert times[0] == pytest.approx(times[1], abs=2e-6)
        untimed: dict[str, Any] = dict.fromkeys(TIMES)
        assert run._replace(**untimed) == other._replace(**untimed)
    assert {run.name for run in rows.runs} >= {"double", "parts", "refuse"}
    assert sum(bool(run.error) for run in rows.runs) == 1
    known = {run.id for run in rows.runs[1:]}
    assert told.ended(session_id, None, 0, known, live=False).runs == rows.runs[:1]
    assert told.seconds > 0


def test_pages_follow_one_another(inspection: Inspection) -> None:
    session_id = inspection.sessions(1)[1][0].session_id
    whole = read_task_rows(inspection, session_id, 0.0, 0, 100).rows
    assert [row.ended for row in whole] == sorted(row.ended for row in whole)
    pages = [read_task_rows(inspection, session_id, 0.0, skip, 2).rows for skip in (0, 2, 4)]
    assert [row for page in pages for row in page] == whole[:6]
    later = read_task_rows(inspection, session_id, whole[3].ended / 1e6, 0, 100).rows
    assert [row.id for row in later] == [row.id for row in whole[3:]]


def test_what_runs_comes_with_counts(inspection: Inspection) -> None:
    session_id = inspection.sessions(1)[1][0].session_id
    found = read_task_rows(inspection, session_id, None, 0, 10)
    assert found.rows == [] and found.counts == inspection.counts(session_id)
    nothing = read_task_rows(inspection, "nobody's", None, 0, 10)
    assert nothing.rows == [] and nothing.counts == {}


@task(name="gated")
def wait_for_gate(gate: str) -> None:
    current_task().progress(0.2)
    current_task().progress(1, "at the gate")
    while not Path(gate).exists():
        time.sleep(0.02)


def test_what_running_tasks_tell_comes_with_them(inspection: Inspection, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    with Client(inspection.settings.endpoint, progress=False, logs=False) as client:
        future = client.submit(wait_for_gate(str(gate)))
        while (
            not (sessions := inspection.sessions(1)[1])
            or not (
                found := read_task_rows(inspection, sessions[0].session_id, None, 0, 10)
            ).progress
        ):
            time.sleep(0.02)
        assert found.progress == {found.rows[0].id: ("gated", "100% at the gate")}
        session_id = sessions[0].session_id
        gate.touch()
        future.result(60)
    assert read_task_rows(inspection, session_id, None, 0, 10).progress == {}
    assert read_task_rows(inspection, session_id, 0.0, 0, 10).progress == {}


@pytest.mark.parametrize("limit", [0, 1_000_000])
def test_what_cannot_be_meant_is_refused(inspection: Inspection, limit: int) -> None:
    with pytest.raises(EngineError, match="limit"):
        read_task_rows(inspection, "s", None, 0, limit)


@pytest.mark.parametrize(
    "reply", [b"", b"\xc1", b"\x95\xa1[\x90\x90\x01\x90", b"\x95\xa3[1]\x90\x90\x01\x90"]
)
def test_what_is_no_reply_is_told(reply: Any) -> None:
    with pytest.raises(MalformedError, match="cannot be read"):
        _unpack(reply)


def test_sessions_of_before_are_left_out() -> None:
    connection = sqlite3.connect(":memory:")
    for statement in create_statements():
        connection.execute(statement)
    connection.execute(f"INSERT INTO options VALUES ({','.join(['0'] * len(OPTIONS_COLUMNS))})")
    reader = TaskRowsReader()

    def write(number: int, session: str) -> None:
        values = dict.fromkeys(TASK_COLUMNS, 0) | {"dependencies": "", "outputs": "", "error": ""}
        values |= {"id": f"t{number}", "session_id": session, "owner": "", "status": 4}
        values |= {"payload_id": "", "retry_of": "", "created_by": "", "ended_at": number}
        connection.execute(write_statement("tasks", 1), [*values.values()])

    def ended(session: str) -> list[str]:
        text = reader.read(connection, session, 0.0, 0, 10, live=LiveTasks({}, []))[0]
        return [row[0] for row in json.loads(f"[{text}]")]

    assert ended("late") == []
    for number, session in enumerate(("early", "early", "late", "early", "late"), 1):
        write(number, session)
    assert ended("late") == ["t3", "t5"] and ended("early") == ["t1", "t2", "t4"]
    write(6, "early")
    write(7, "late")
    assert ended("early")[-1] == "t6" and ended("late") == ["t3", "t5", "t7"]
    plan = connection.execute(f"EXPLAIN QUERY PLAN SELECT id {_ENDED}", (1, "late", 0))
    scanned = [row[3] for row in plan]
    assert any("USING INTEGER PRIMARY KEY" in line for line in scanned)
