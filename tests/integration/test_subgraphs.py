"""Trees of quick calls as one task, on an embedded engine and on a stock one."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Any

import pytest

from armoflow import Client, task
from armoflow.errors import RemoteTraceback, TaskTimeoutError, WorkerDiedError
from tests.integration.engines import Up
from tests.integration.gates import Log, note
from tests.integration.looking import Looking
from tests.integration.test_inline import log, looking, tasks_of_last_session

__all__ = ["log", "looking"]


@task
def value(number: Any) -> Any:
    return number


@task
def add(first: Any, second: Any) -> Any:
    return first + second


@task
def act(log: str, how: str) -> int:
    note(log, how)
    if how == "die":
        os._exit(7)
    if how == "hang":
        time.sleep(1000)
    if how == "raise":
        raise LookupError("no such thing")
    return 1


@pytest.fixture
def client(engine: Up) -> Iterator[Client]:
    """A client that knows how long the calls take, and whose graphs no busy machine cuts."""
    with Client(engine.endpoint, workers=1, inline_seconds=10) as connected:
        know(connected)
        yield connected


def know(client: Client) -> None:
    """Whatever was measured in processes that were cold: calls are quick."""
    paces = client._backend._settings.paces  # type: ignore[attr-defined]
    for one in (value, add, act):
        for _ in range(50):
            paces.note(one.function, 1e-6, 1000)


def tree(leaves: list[Any]) -> Any:
    while len(leaves) > 1:
        leaves = [add(*pair) for pair in zip(leaves[::2], leaves[1::2], strict=True)]
    return leaves[0]


def test_a_tree_is_one_task_by_every_door(client: Client, looking: Looking) -> None:
    def numbers() -> Any:
        return tree([value(number) for number in range(16)])

    assert client.compute(numbers()) == 120
    assert tasks_of_last_session(looking) == 1
    know(client)
    assert client.submit(numbers()).result() == 120
    assert tasks_of_last_session(looking) == 2
    know(client)
    assert client.compute([numbers(), numbers()]) == [120, 120]
    assert tasks_of_last_session(looking) <= 5  # two, and perhaps one that makes the list


def test_large_values_and_put_data(client: Client) -> None:
    data = client.put(b"x" * 100_000)
    assert client.compute(add(add(value(data), value(b"y" * 300_000)), value(data))) == (
        b"x" * 100_000 + b"y" * 300_000 + b"x" * 100_000
    )


def test_a_future_among_the_arguments_is_waited_for_by_its_reader_alone(client: Client) -> None:
    future = client.submit(value(5))
    assert client.compute(add(add(value(1), value(2)), add(value(future), value(3)))) == 11


def test_an_error_is_that_of_its_call(client: Client, log: Log) -> None:
    with pytest.raises(LookupError, match="no such thing") as caught:
        client.compute(add(add(value(1), act(log.path, "raise")), value(2)))
    cause = caught.value.__cause__
    assert isinstance(cause, RemoteTraceback)
    assert list(cause.path) == ["act", "add", "add"]
    assert "in act" in str(cause)


def test_a_call_has_its_own_timeout(client: Client, log: Log) -> None:
    hanging = act.with_options(timeout=0.3)
    one = value.with_options(timeout=0.3)
    with pytest.raises(TaskTimeoutError, match=r"'act' ran longer than its timeout of 0.3 s"):
        client.compute(add.with_options(timeout=0.3)(one(1), hanging(log.path, "hang")))


def test_a_call_that_ends_its_process_is_told_by_its_name(client: Client, log: Log) -> None:
    with pytest.raises(WorkerDiedError, match="'act' exited with status 7"):
        client.compute(
            add.with_options(crash_retries=0)(
                act.with_options(crash_retries=0)(log.path, "fine"),
                act.with_options(crash_retries=0)(log.path, "die"),
            )
        )
    assert log.counts()["die"] == 2  # with the others, then alone


def test_what_the_first_calls_took_makes_the_next_ones_one_task(engine: Up) -> None:
    with Client(engine.endpoint, workers=1, inline_seconds=10) as learning:
        for _ in range(100):
            tasks = learning.compute(tree([value(number) for number in range(8)]))
            assert tasks == 28
            paces = learning._backend._settings.paces  # type: ignore[attr-defined]
            if all(paces.of(one.function) is not None for one in (value, add)):
                return
    raise AssertionError("how long calls take was never measured")
