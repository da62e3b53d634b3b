"""What a client that has ended leaves can be looked at, however it ended."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from armoflow import Client, task
from armoflow.cli.main import main
from tests.integration.engines import Up


@task
def speak(number: int) -> int:
    print("speaking of", number)
    return number


@task
def fail(number: int) -> int:
    raise ValueError(f"no {number}")


class Stop(Exception):
    """Leaves a block."""


def _run(endpoint: str, name: str, *, well: bool) -> None:
    with Client(endpoint, name=name, logs=True) as client:
        assert client.compute(speak(7)) == 7
        assert isinstance(client.submit(fail(speak(3))).exception(), ValueError)
        if not well:
            raise Stop


@pytest.mark.parametrize("well", [True, False], ids=["exit", "exception"])
def test_a_session_can_be_looked_at_after_its_client(
    engine: Up, well: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = f"ended-{well}"
    try:
        _run(engine.endpoint, name, well=well)
    except Stop:
        assert not well
    run = _commands(engine.endpoint, capsys)

    sessions = json.loads(run("ps", "--json"))["sessions"]
    (session,) = (one for one in sessions if one["application"] == name)
    assert session["status"] == "closed" and session["tasks"]["failed"] == 1
    facts = json.loads(run("show", session["id"], "--json"))
    (failure,) = facts["failures"]
    assert "ValueError: no 3" in failure["error"]
    failed = json.loads(run("show", failure["first"], "--json"))
    assert 'raise ValueError(f"no {number}")' in failed["traceback"]
    assert "speak | speaking of 7" in run("logs", session["id"])
    page = tmp_path / "run.html"
    assert json.loads(run("report", session["id"], "-o", str(page), "--json"))["tasks"] >= 2
    assert "ValueError: no 3" in page.read_text("utf-8")
    assert "fail" in run("graph", session["id"], "-o", str(tmp_path / "g.dot")) + (
        tmp_path / "g.dot"
    ).read_text("utf-8")


def _commands(endpoint: str, capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """Runs commands in this process: those as processes have tests of their own."""

    def run(command: str, *arguments: str) -> str:
        capsys.readouterr()
        assert main([command, "--endpoint", endpoint, *arguments]) == 0
        return capsys.readouterr().out

    return run
