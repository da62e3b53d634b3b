"""What a client that waits for nothing is told."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from armonik.common import TaskStatus

from armoflow import Client, config, task
from tests.integration.engines import Up
from tests.integration.gates import Gate, pass_gate
from tests.integration.looking import Looking


@task
def wait_at(gate: str) -> str:
    pass_gate(gate)
    return "passed"


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "STALL_SECONDS", 0.2)


@pytest.fixture(params=[(), ("--no-extensions",)], ids=["embedded", "stock"])
def engine(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Up]:
    up = Up(tmp_path, *request.param, "--workers", "1")
    yield up
    up.stop()


@pytest.fixture
def looking(engine: Up) -> Iterator[Looking]:
    looking = Looking(engine)
    yield looking
    looking.close()


def _running(looking: Looking, session: str) -> int:
    return sum(task.status == TaskStatus.PROCESSING for task in looking.tasks(session))


def test_who_waits_for_others_is_told_so(
    engine: Up, looking: Looking, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    gate = Gate(tmp_path / "gate")
    with Client(engine.endpoint) as first, Client(engine.endpoint) as second:
        with gate.closed():
            running = [first.submit(wait_at(gate.path)) for _ in range(8)]
            looking.until(looking.sessions)
            (session,) = looking.sessions()
            looking.until(lambda: _running(looking, session))
            waiting = [second.submit(wait_at(gate.path)) for _ in range(2)]
            looking.until(lambda: "of other sessions are running there" in caplog.text)
        assert {future.result() for future in (*running, *waiting)} == {"passed"}
    assert "in partition 'default' (at most 1 pods), " in caplog.text


def test_who_waits_for_a_paused_session_is_told_so(
    engine: Up, looking: Looking, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    gate = Gate(tmp_path / "gate")
    with Client(engine.endpoint) as client:
        client.put(None)
        (session,) = looking.sessions()
        looking.pause(session)
        future = client.submit(wait_at(gate.path))
        looking.until(lambda: "1 paused: resume the session" in caplog.text)
        looking.resume(session)
        assert future.result() == "passed"


def test_a_task_that_takes_its_time_is_no_news(
    engine: Up, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "armoflow.orchestrator.stalls")
    gate = Gate(tmp_path / "gate")
    with Client(engine.endpoint) as client:
        with gate.closed():
            future = client.submit(wait_at(gate.path))
            with pytest.raises(TimeoutError):
                future.result(timeout=1.0)
        assert future.result() == "passed"
    assert "nothing has ended" not in caplog.text
