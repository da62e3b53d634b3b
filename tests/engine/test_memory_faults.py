"""Memory, and the number of threads, at their limits: states of an engine, not its end."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from serving import serve

from armoflow import Client, task
from armoflow.engine import checkpoints, schema
from armoflow.engine.services import stream_socket
from armoflow.system.threads import Threads
from armoflow.worker import supervisor
from armoflow.worker.child_process import ChildProcess
from armoflow.worker.spares import Spares


@task
def double(number: int) -> int:
    print(number)
    return 2 * number


def failing(function: Callable[..., Any], failures: list[str], error: type[Exception]) -> Any:
    """A function that fails as often as there are entries in a list."""

    def call(*args: Any, **kwargs: Any) -> Any:
        if failures:
            failures.pop()
            raise error("no memory left")
        return function(*args, **kwargs)

    return call


def refuse_to_start(_: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


def test_work_is_done_by_the_threads_that_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    with Threads(8, "test") as threads:
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", refuse_to_start)
            asked = [threads.submit(max, number, 2) for number in range(5)]
            assert [future.result(30) for future in asked] == [2, 2, 2, 3, 4]
        with monkeypatch.context() as patched, pytest.raises(RuntimeError, match="can't start"):
            patched.setattr(threading.Thread, "start", refuse_to_start)
            Threads(8, "test")


def test_the_journals_log_is_copied_when_there_is_a_thread_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "journal.db"
    with contextlib.closing(schema.open_journal(path, "normal")) as connection:
        connection.execute("CREATE TABLE rows (number)")
        checkpointer = checkpoints.Checkpointer(path)
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", refuse_to_start)
            checkpointer.ask()
        assert not checkpointer.running
        checkpointer.ask()
        while checkpointer.running:
            time.sleep(0.001)
        assert checkpointer.length > 0
        checkpointer.stop()


def test_a_client_that_comes_while_there_is_no_memory_is_served_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is raised where a connection is accepted keeps all others from being accepted."""
    failures = ["first", "second"]
    stream = failing(stream_socket._Stream, failures, MemoryError)
    with serve(tmp_path / "state", workers=1) as serving:
        monkeypatch.setattr(stream_socket, "_Stream", stream)
        with Client(serving.server.address.url) as client:
            assert client.compute(double(2)) == 4
    assert not failures


@pytest.mark.parametrize(
    "where", [(Spares, "take"), (ChildProcess, "_feed"), (supervisor, "listen")]
)
def test_a_process_that_is_not_made_or_heard_has_another_in_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: tuple[Any, str]
) -> None:
    kind, name = where
    with (
        serve(tmp_path / "state", workers=1) as serving,
        Client(serving.server.address.url) as client,
    ):
        assert client.compute(double(2)) == 4
        failures = ["first"]
        monkeypatch.setattr(kind, name, failing(getattr(kind, name), failures, MemoryError))
        if name == "take":
            (agent,) = serving.server._agents
            (seat,) = agent._seats  # type: ignore[attr-defined]
            seat._child.kill()
        assert client.compute(double.map(range(20))) == [2 * number for number in range(20)]
        assert not failures
