"""A shared engine ends the sessions of armoflow's clients that are gone, and no others."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from armonik.common import ResultStatus, SessionStatus, TaskStatus

from armoflow import Client, task
from armoflow.errors import SessionEndedError
from tests.integration.engines import Up, up
from tests.integration.looking import Looking
from tests.integration.proxy import proxy
from tests.processes import running

PATIENCE = 60.0
LEASED = ("--workers", "2", "--client-lease", "1")

SCRIPT = """
import sys, time
from armoflow import Client, task

@task
def fail(number):
    raise ValueError(number)

@task
def hang(number):
    time.sleep(1000)

@task
def make(number):
    return bytes(100_000)

client = Client(sys.argv[1], extensions=sys.argv[2] == "extensions")
kept = client.submit(make(1))
kept.result()
assert isinstance(client.submit(fail(2)).exception(), ValueError)
waiting = client.submit(hang(3))
print("ready", flush=True)
time.sleep(1000)
"""


@contextmanager
def script(engine: Up, extensions: str = "extensions") -> Iterator[subprocess.Popen[str]]:
    """A client in a process of its own that has values, a failure, and something outstanding."""
    command = [sys.executable, "-c", SCRIPT, engine.endpoint, extensions]
    with running(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Up]:
    with up(tmp_path, *LEASED) as started:
        yield started


def test_the_session_of_a_client_that_was_killed_ends(engine: Up) -> None:
    look = Looking(engine)
    with script(engine) as process:
        (session_id,) = look.sessions()
        look.until(lambda: len(look.tasks(session_id)) == 3)  # the last one is there by now
        process.kill()
    look.until(lambda: look.sessions()[session_id] == SessionStatus.CANCELLED)
    tasks = {found.status: found for found in look.tasks(session_id)}
    look.until(
        lambda: (
            {found.status for found in look.tasks(session_id)}
            == {TaskStatus.COMPLETED, TaskStatus.ERROR, TaskStatus.CANCELLED}
        )
    )
    failed = tasks[TaskStatus.ERROR]
    look.until(
        lambda: (
            {
                result_id
                for result_id, status in look.results(session_id).items()
                if status == ResultStatus.COMPLETED
            }
            == {failed.payload_id}
        )
    )
    with Client(engine.endpoint) as client:
        assert client.compute(task(abs)(-1)) == 1, "the worker is free"


def test_others_keep_their_sessions(engine: Up) -> None:
    """A client that lives and does nothing, one of ArmoniK's own, one without extensions."""
    look = Looking(engine)
    with Client(engine.endpoint) as idle, script(engine, "standard") as standard:
        value = idle.put([1, 2, 3])
        first, second = look.sessions()
        standard.kill()
        with script(engine) as process:
            (third,) = look.sessions().keys() - {first, second}
            process.kill()
        look.until(lambda: look.sessions()[third] == SessionStatus.CANCELLED)
        assert look.sessions()[first] == look.sessions()[second] == SessionStatus.RUNNING
        assert idle.compute(task(sum)(value)) == 6


def test_a_lease_runs_anew_when_the_engine_starts_again(engine: Up) -> None:
    look = Looking(engine)
    with script(engine) as process:
        (session_id,) = look.sessions()
        process.kill()
        process.wait()
        engine.kill()
    engine.start()
    look.until(lambda: look.sessions()[session_id] == SessionStatus.CANCELLED)


def test_a_client_that_comes_back_goes_on(tmp_path: Path) -> None:
    """In time: nothing has happened to its session."""
    with (
        up(tmp_path, "--workers", "1", "--client-lease", "600") as engine,
        proxy(engine.endpoint) as between,
        Client(between.endpoint) as client,
    ):
        value = client.put(20)
        between.cut_now()
        assert client.compute(task(abs)(value)) == 20


def test_a_client_that_comes_back_too_late_is_told(engine: Up, tmp_path: Path) -> None:
    look = Looking(engine)
    with proxy(engine.endpoint) as between, Client(between.endpoint) as client:
        never = tmp_path / "never"

        @task
        def wait() -> None:
            while not never.exists():
                time.sleep(0.01)

        future = client.submit(wait())
        look.until(lambda: len(look.sessions()) == 1)
        (session_id,) = look.sessions()
        between.delay("Extension/Connect")
        between.cut_now()
        look.until(lambda: look.sessions()[session_id] == SessionStatus.CANCELLED)
        between.release("Extension/Connect")
        with pytest.raises(SessionEndedError, match=r"its lease of 1 s .*--client-lease"):
            future.result(PATIENCE)
        assert client.compute(task(abs)(-5)) == 5, "another session is opened"


def test_without_a_lease_sessions_stay(tmp_path: Path) -> None:
    with up(tmp_path, "--workers", "1", "--client-lease", "none") as engine:
        look = Looking(engine)
        with script(engine) as process:
            (session_id,) = look.sessions()
            process.kill()
            process.wait()
        assert look.sessions()[session_id] == SessionStatus.RUNNING
