"""Small calls with large values: each value is a result of its own, by every door."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from armoflow import Client, task
from tests.integration.engines import Up
from tests.integration.looking import Looking
from tests.integration.test_inline import looking, tasks_of_last_session

__all__ = ["looking"]

CALLS = 20
SIZE = 100_000
VALUES = [bytes([number]) * SIZE for number in range(CALLS)]


@task
def large(number: int) -> bytes:
    return bytes([number]) * SIZE


@task
def total(*values: bytes) -> int:
    return sum(map(len, values))


@task
def several(count: int) -> Any:
    return [large(number) for number in range(count)]


@pytest.fixture
def client(engine: Up) -> Iterator[Client]:
    # Nothing of a returned graph is begun where it was made.
    with Client(engine.endpoint, workers=1, inline_seconds=0) as connected:
        yield connected


def test_each_large_value_is_a_result_of_its_own(client: Client, looking: Looking) -> None:
    assert client.compute(large(0)) == VALUES[0]  # from here on it is known
    paces = client._backend._settings.paces  # type: ignore[attr-defined]
    assert paces.wait(large.function, 60)
    tasks = 1
    calls = [large(number) for number in range(CALLS)]
    assert client.compute(calls) == VALUES
    assert tasks_of_last_session(looking) == (tasks := tasks + CALLS)
    futures = [client.submit(large(number)) for number in range(CALLS)]
    assert [future.result() for future in futures] == VALUES
    assert tasks_of_last_session(looking) == (tasks := tasks + CALLS)
    calls = [large(number) for number in range(CALLS)]
    assert client.compute(total(*calls)) == CALLS * SIZE
    assert tasks_of_last_session(looking) == (tasks := tasks + CALLS + 1)
    assert client.compute(several(CALLS)) == VALUES
    assert tasks_of_last_session(looking) >= tasks + CALLS + 1
