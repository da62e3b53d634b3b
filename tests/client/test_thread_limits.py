"""A client at the limit of its threads says so, and goes on when there is room."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from armoflow import Client, task
from armoflow.errors import ThreadLimitError


@task
def one(value: int) -> int:
    return value


@pytest.fixture
def no_thread(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Lets no thread of a name start."""
    start = threading.Thread.start

    def forbid(name: str) -> None:
        def refuse(thread: threading.Thread) -> None:
            if thread.name == name:
                raise RuntimeError("can't start new thread")
            start(thread)

        monkeypatch.setattr(threading.Thread, "start", refuse)

    return forbid


def test_a_graph_that_no_thread_can_plan_is_told(no_thread: Callable[[str], None]) -> None:
    with Client(workers=1) as client:
        assert client.compute(one(1)) == 1
        no_thread("armoflow-plan")
        values = one.map(iter(range(5_000)))  # more than is planned in the caller's own thread
        with pytest.raises(ThreadLimitError, match=r"plan a graph .*limit of threads.*ulimit -u"):
            client.compute(values.gather(), timeout=30)
        assert isinstance(client.submit(one.map(range(5_000)).gather()).exception(30), RuntimeError)
        no_thread("")
        assert client.compute(one.map(range(5_000)).gather(), timeout=60) == [*range(5_000)]


def test_a_client_that_cannot_watch_its_engine_says_so(no_thread: Callable[[str], None]) -> None:
    no_thread("armoflow-engine-watch")
    with pytest.raises(ThreadLimitError, match="watch an engine"), Client(workers=1) as client:
        client.compute(one(1))
    no_thread("")
    with Client(workers=1) as client:
        assert client.compute(one(1)) == 1
