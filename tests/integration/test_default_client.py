"""``x.compute()`` without a client at hand: one engine for the process, whoever asks."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from typing import Any

import pytest

import armoflow
from armoflow import Client, task
from armoflow.client.default import DEFAULT, default_client
from armoflow.errors import ClientClosedError
from armoflow.graph.context import find_current, leave
from tests.integration.engines import alive


@task
def double(number: int) -> int:
    return 2 * number


@pytest.fixture
def default(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("ARMOFLOW_ENDPOINT", raising=False)
    DEFAULT.forget()
    yield
    if DEFAULT._client is not None:
        DEFAULT._client.close()
    DEFAULT.forget()


def engine_of(client: Any) -> int:
    return int(client._backend._engine.pid)


def test_threads_and_asyncio_tasks_share_one_engine(default: None) -> None:
    ready = threading.Barrier(4)

    def compute(number: int) -> tuple[int, int]:
        ready.wait()
        value = double(number).compute()
        return value, engine_of(default_client())

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        found = list(pool.map(compute, range(4)))
    assert [value for value, _ in found] == [0, 2, 4, 6]

    async def gather() -> list[int]:
        return await asyncio.gather(*(asyncio.to_thread(double(n).compute) for n in range(3)))

    assert asyncio.run(gather()) == [0, 2, 4]
    assert double(5).compute() == 10
    assert armoflow.compute(double(1), double(2)) == (2, 4)
    assert {pid for _, pid in found} == {engine_of(default_client())}
    assert find_current() is None


def test_it_is_started_again_after_it_was_closed(default: None) -> None:
    assert double(1).compute() == 2
    first = default_client()
    first.close()
    assert first.closed
    assert double(2).compute() == 4
    assert default_client() is not first


def test_threads_see_the_client_that_was_entered_last(default: None) -> None:
    seen: list[Any] = []

    def look() -> None:
        seen.append(find_current())

    def in_a_thread() -> None:
        thread = threading.Thread(target=look)
        thread.start()
        thread.join()

    with Client(local=True) as outer:
        in_a_thread()
        with Client(local=True) as inner:
            in_a_thread()
            assert find_current() is inner
        in_a_thread()
        assert find_current() is outer
    in_a_thread()
    assert seen == [outer, inner, outer, None]
    assert DEFAULT._client is None


def test_a_client_that_is_entered_twice_is_the_current_one_no_more_once_it_is_left(
    default: None,
) -> None:
    with Client(local=True) as around:
        with Client(local=True) as client:
            with client:
                assert find_current() is client
            with pytest.raises(ClientClosedError):  # the inner block has closed it
                double(1).compute()
        assert find_current() is around
    assert find_current() is None


def test_a_client_entered_here_is_closed_when_it_is_left_elsewhere(default: None) -> None:
    client = Client(local=True)
    client.__enter__()
    thread = threading.Thread(target=client.__exit__, args=(None, None, None))
    thread.start()
    thread.join()
    assert client.closed
    # This thread has not left it, and is told.
    with pytest.raises(ClientClosedError):
        double(1).compute()
    leave(client, None)


def test_a_forked_process_is_told_and_the_parent_s_goes_on(default: None) -> None:
    script = """
        import os, sys
        from armoflow import task
        from armoflow.client.default import DEFAULT
        from armoflow.errors import ClientClosedError

        @task
        def double(number):
            return 2 * number

        assert double(1).compute() == 2
        DEFAULT._lock.acquire()  # as if another thread was starting one
        child = os.fork()
        if not child:
            try:
                double(2).compute()
            except ClientClosedError as error:
                os._exit(7 if "forked" in str(error) else 8)
            os._exit(9)
        DEFAULT._lock.release()
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        assert double(3).compute() == 6
        print(DEFAULT._client._backend._engine.pid)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        check=False,
        capture_output=True,
        text=True,
        timeout=100,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
    )
    assert done.returncode == 0, done.stderr
    assert not alive(int(done.stdout))
