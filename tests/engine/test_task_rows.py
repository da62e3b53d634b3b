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
from armoflow.engine.task_row_queries import _ENDED, FIELDS, TaskRowsReader
from armoflow.errors import EngineError, MalformedError
from armoflow.protocol.inspection import Inspection
from armoflow.protocol.settings import ConnectionSettings
from armoflow.protocol.task_rows import OVERLAP, EndedPosition, TaskRow, read_ended, read_running
from armoflow.report import collect as collecting
from armoflow.report.collect import collect
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
    rows = told.ended((), live=True)
    listed = StandardCalls(inspection, session_id).ended((), live=True)
    assert len(listed.runs) == len(rows.runs) >= 7 and not rows.nothing
    for run, other in zip(rows.runs, listed.runs, strict=True):
        times = [[getattr(each, name) for name in TIMES] for each in (run, other)]
        assert times[0] == pytest.approx(times[1], abs=2e-6)
        untimed: dict[str, Any] = dict.fromkeys(TIMES)
        assert run._replace(**untimed) == other._replace(**untimed)
    assert {run.name for run in rows.runs} >= {"double", "parts", "refuse"}
    assert sum(bool(run.error) for run in rows.runs) == 1
    again = told.ended((), live=True)
    assert not again.runs and again.nothing
    known = {run.id for run in rows.runs[1:]}
    anew = EngineRows(inspection, session_id)
    assert anew.ended(known, live=False).runs == rows.runs[:1]
    assert anew.seconds > 0


def test_a_report_is_the_same_by_rows_and_by_lists(
    inspection: Inspection, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = next(
        each for each in inspection.sessions(100)[1] if inspection.counts(each.session_id)
    )
    by_rows = collect(inspection, session)
    monkeypatch.setattr(collecting, "offers_task_rows", lambda *_: False)
    by_lists = collect(inspection, session)
    untimed: dict[str, Any] = dict.fromkeys(TIMES)
    found, listed = (
        sorted(run._replace(**untimed) for run in trace.runs) for trace in (by_rows, by_lists)
    )
    assert found == listed and found


def test_pages_follow_one_another(inspection: Inspection) -> None:
    session_id = inspection.sessions(1)[1][0].session_id
    whole = read_ended(inspection, session_id, None, 100)
    assert [row.ended for row in whole.rows] == sorted(row.ended for row in whole.rows)
    place, pages, more = None, [], True
    while more:
        page = read_ended(inspection, session_id, place, 2)
        place, more = page.place, page.more
        pages.append(page.rows)
    assert [row for page in pages for row in page] == whole.rows
    assert {len(page) for page in pages[:-1]} == {2}
    # Told again, if the reply was lost.
    assert (
        read_ended(inspection, session_id, whole.place._replace(position=3), 2).rows
        == (whole.rows[3:5])
    )


def test_what_ends_after_the_first_page_is_told_once_it_has(inspection: Inspection) -> None:
    with Client(inspection.settings.endpoint, progress=False, logs=False) as client:
        client.compute(double(1))
        session_id = inspection.sessions(1)[1][0].session_id
        place: EndedPosition | None = read_ended(inspection, session_id, None, 10).place
        found: list[str] = []
        for count in (3, 4):
            client.compute([double(number) for number in range(count)])
            more = True
            while more:
                page = read_ended(inspection, session_id, place, 2)
                place, more = page.place, page.more
                found += [row.id for row in page.rows]
        whole = [row.id for row in read_ended(inspection, session_id, None, 100).rows]
    assert found == whole[1:] and len(whole) == 8


def test_who_is_not_known_any_more_goes_on_where_he_was(inspection: Inspection) -> None:
    session_id = inspection.sessions(1)[1][0].session_id
    whole = read_ended(inspection, session_id, None, 100)
    last = whole.rows[-1].ended
    gone = EndedPosition("forgotten", 1_000, last)
    page = read_ended(inspection, session_id, gone, 100)
    assert page.place.list != "forgotten" and page.place.since == last
    assert page.rows == [row for row in whole.rows if row.ended >= last - OVERLAP * 1e6]
    later = read_ended(inspection, session_id, gone._replace(since=last + 10_000_000), 100)
    assert later.rows == [] and not later.more


def test_what_runs_comes_with_counts(inspection: Inspection) -> None:
    session_id = inspection.sessions(1)[1][0].session_id
    found = read_running(inspection, session_id, 10)
    assert found.rows == [] and found.counts == inspection.counts(session_id)
    nothing = read_running(inspection, "nobody's", 10)
    assert nothing.rows == [] and nothing.counts == {}
    assert read_ended(inspection, "nobody's", None, 10).rows == []


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
            or not (found := read_running(inspection, sessions[0].session_id, 10)).progress
        ):
            time.sleep(0.02)
        assert found.progress == {found.rows[0].id: ("gated", "100% at the gate")}
        session_id = sessions[0].session_id
        gate.touch()
        future.result(60)
    assert read_running(inspection, session_id, 10).progress == {}


@pytest.mark.parametrize("limit", [0, 1_000_000])
def test_what_cannot_be_meant_is_refused(inspection: Inspection, limit: int) -> None:
    with pytest.raises(EngineError, match="limit"):
        read_running(inspection, "s", limit)
    with pytest.raises(EngineError, match="limit"):
        read_ended(inspection, "s", None, limit)
    with pytest.raises(EngineError, match="place"):
        read_ended(inspection, "s", EndedPosition("", -1, 0), 10)


class Answering:
    """An engine that answers something."""

    def __init__(self, reply: bytes) -> None:
        self._reply = reply

    def stream(
        self, method: str, request: bytes, what: str, timeout: float | None = None
    ) -> list[bytes]:
        return [self._reply]


@pytest.mark.parametrize(
    "reply", [b"", b"\xc1", b"\x94\xa1[\x90\x90\x01", b"\x94\xa3[1]\x90\x90\x01"]
)
def test_what_is_no_reply_is_told(reply: bytes) -> None:
    engine: Any = Answering(reply)
    with pytest.raises(MalformedError, match="cannot be read"):
        read_running(engine, "s", 10)
    with pytest.raises(MalformedError, match="cannot be read"):
        read_ended(engine, "s", None, 10)


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
        numbers = reader.ended(connection, session, 0.0)
        text = reader.rows(connection, session, numbers, []).text
        return [row[0] for row in json.loads(f"[{text}]")]

    assert ended("late") == []
    for number, session in enumerate(("early", "early", "late", "early", "late"), 1):
        write(number, session)
    assert ended("late") == ["t3", "t5"] and ended("early") == ["t1", "t2", "t4"]
    write(6, "early")
    write(7, "late")
    assert ended("early")[-1] == "t6" and ended("late") == ["t3", "t5", "t7"]
    plan = connection.execute(f"EXPLAIN QUERY PLAN {_ENDED}", (1, "late", 0))
    scanned = [row[3] for row in plan]
    assert any("USING INTEGER PRIMARY KEY" in line for line in scanned)
