"""``compute(fail_fast=True)``: the first error ends the wait, and what is left."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from armoflow import AsyncClient, Client, task
from armoflow.errors import OptionError, RemoteTraceback, shown


@pytest.fixture
def client(anywhere: Client) -> Client:
    return anywhere


@pytest.fixture
def engine_client(client: Client, request: pytest.FixtureRequest) -> Client:
    if request.node.callspec.params["anywhere"] == "local":
        pytest.skip("one task runs after the other")
    return client


@task
def refuse(number: int) -> int:
    if number == 3:
        raise ValueError(f"not {number}")
    return number


@task
def add(first: int, second: int) -> int:
    return first + second


@task
def wait_for(path: str, number: int) -> int:
    """Wait until a file is there, or a minute."""
    for _ in range(6_000):
        if Path(path).exists():
            break
        time.sleep(0.01)
    return number


@task(batch_size=1)
def meet(mine: str, other: str) -> bool:
    """Whether the other one runs at the same time."""
    Path(mine).touch()
    for _ in range(6_000):
        if Path(other).exists():
            return True
        time.sleep(0.01)
    return False


@task
def in_a_graph() -> Any:
    return refuse.map(range(5)).reduce(add)


@pytest.mark.parametrize(
    ("make", "path"),
    [
        (lambda: (refuse(3),), ["refuse"]),
        (lambda: (refuse(1), refuse(3)), ["refuse"]),
        (lambda: (refuse.map(range(6)),), ["refuse[3]"]),
        (lambda: (refuse.map(range(6)).reduce(add),), ["refuse[3]", "add"]),
        (lambda: (add(refuse(3), 1),), ["refuse", "add"]),
    ],
)
def test_the_error_is_that_of_any_other_compute(
    client: Client, make: Callable[[], Any], path: list[str]
) -> None:
    with pytest.raises(ValueError, match="not 3") as raised:
        client.compute(*make(), fail_fast=True)

    cause = raised.value.__cause__
    assert isinstance(cause, RemoteTraceback)
    assert cause.path[0] == path[0]


def test_an_error_in_a_graph_that_a_task_returned(client: Client) -> None:
    with pytest.raises(ValueError, match="not 3"):
        client.compute(in_a_graph(), fail_fast=True)


def test_values_are_values_where_nothing_fails(client: Client) -> None:
    assert client.compute(refuse.map(range(3)), refuse(7), fail_fast=True) == ([0, 1, 2], 7)


@pytest.mark.parametrize("other", ["call", "item", "reduced"])
def test_what_is_left_is_cancelled(engine_client: Client, tmp_path: Path, other: str) -> None:
    path = tmp_path / "go on"
    waiting = wait_for.map([str(path)], [1])  # one worker is free
    values: dict[str, list[Any]] = {
        "call": [wait_for(str(path), 1), refuse(3)],
        "item": [waiting, refuse.map([1, 3])],
        "reduced": [waiting.zip(refuse.map([3])).starmap(add).reduce(add)],
    }

    with pytest.raises(ValueError, match="not 3"):
        engine_client.compute(*values[other], fail_fast=True)

    # Nothing that waits holds a worker any more: both are free.
    one, two = str(tmp_path / "one"), str(tmp_path / "two")
    assert engine_client.compute(meet(one, two), meet(two, one), timeout=30) == (True, True)
    assert not path.exists()


def test_nothing_runs_after_it_in_the_debug_mode() -> None:
    ran = []

    @task
    def note(number: int) -> int:
        ran.append(number)
        return refuse.local(number)

    with Client(local=True) as client, pytest.raises(ValueError, match="not 3"):
        client.compute(note.map(range(6)), fail_fast=True)

    assert ran == [0, 1, 2, 3]


def test_it_does_not_go_with_giving_errors_back(client: Client) -> None:
    with pytest.raises(OptionError, match="say one of them"):
        client.compute(refuse(1), return_exceptions=True, fail_fast=True)


def test_the_client_for_coroutines_has_it_too(engine_client: Client, tmp_path: Path) -> None:
    endpoint = engine_client._backend.endpoint

    async def fail() -> None:
        async with AsyncClient(endpoint, workers=2) as client:
            assert await client.compute(refuse(1), refuse(2), fail_fast=True) == (1, 2)
            waiting = wait_for(str(tmp_path / "never"), 1)
            with pytest.raises(ValueError, match="not 3"):
                await client.compute(waiting, refuse(3), fail_fast=True)
            with pytest.raises(OptionError, match="say one of them"):
                await client.compute(refuse(1), return_exceptions=True, fail_fast=True)

    async def leave() -> None:
        async with AsyncClient(endpoint, workers=2) as client:
            stuck = wait_for.map([str(tmp_path / "never")] * 2, [1, 2])
            computing = asyncio.ensure_future(client.compute(stuck, fail_fast=True))
            await asyncio.sleep(0)
            computing.cancel()
            with pytest.raises(asyncio.CancelledError):
                await computing
            assert await client.compute(refuse.map(range(3))) == [0, 1, 2]  # workers are free

    asyncio.run(fail())
    asyncio.run(leave())


@pytest.mark.parametrize("timeout", [-1, float("nan"), float("inf"), True, "1"])
def test_every_timeout_is_checked_alike(timeout: Any) -> None:
    refuse_timeout(timeout, f"a number of seconds, 0 or more, or None, not {timeout!r}")


@pytest.mark.parametrize("timeout", [1e308, 10**400])
def test_a_timeout_has_an_end(timeout: Any) -> None:
    longest = f"at most {threading.TIMEOUT_MAX:.0f} seconds, not "
    refuse_timeout(
        timeout, f"{longest}{shown(timeout)}: leave it out to wait for as long as it takes"
    )


def refuse_timeout(timeout: Any, told: str) -> None:
    """Each call that takes one refuses it in the same words."""
    with Client(local=True) as client:
        future = client.submit(refuse(1))
        for call in (
            lambda: client.compute(refuse(1), timeout=timeout),
            lambda: client.as_completed([future], timeout=timeout),
            lambda: future.result(timeout=timeout),
            lambda: future.exception(timeout),
            lambda: future.download("there", timeout),
            lambda: client.executor().map(abs, [1], timeout=timeout),
        ):
            with pytest.raises(OptionError) as refused:
                call()
            assert str(refused.value) == f"timeout must be {told}"
