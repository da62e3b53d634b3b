"""Tasks that came to a partition with another worker than armoflow's: told, with where that was."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from armoflow import Client, task
from armoflow.errors import EnvelopeError, RemoteTraceback, TaskError

PROGRAM = Path(__file__).with_name("foreign_worker.py")


@task
def double(x: int) -> int:
    return 2 * x


@pytest.fixture(params=[(), ("--no-extensions",)], ids=["embedded", "stock"])
def endpoint_of(
    request: pytest.FixtureRequest, start_engine: Callable[..., str]
) -> Callable[[str], str]:
    """The endpoint of an engine with the foreign worker in one of its two ways."""

    def start(way: str) -> str:
        command = f"{sys.executable} {PROGRAM} {way}"
        partitions = ("--partition", "csharp=1", "--partition", "other=1")
        return start_engine("--worker", command, *partitions, *request.param)

    return start


def failure(client: Client, value: Any) -> BaseException:
    with pytest.raises(BaseException) as raised:
        client.compute(value)
    assert isinstance(raised.value.__cause__, RemoteTraceback)
    return raised.value


@pytest.mark.parametrize(
    ("way", "why"),
    [
        ("upper", "it starts with b'AFLW'"),
        ("older", "it has format version 0, this armoflow reads 1"),
    ],
)
def test_a_result_of_another_worker(endpoint_of: Callable[[str], str], way: str, why: str) -> None:
    with Client(endpoint_of(way), partition="csharp") as client:
        error = failure(client, double(1))
        assert isinstance(error, EnvelopeError)
        for said in (
            f"the result of task 'double' was not written by a worker of this armoflow: {why}. ",
            " in partition 'csharp'. ",
            "@task(partition=...); the engine has 'csharp', 'other'",
        ):
            assert said in str(error)
        future = client.submit(double(2))
        assert isinstance(future.exception(), EnvelopeError)
        mapped = failure(client, double.with_options(batch_size=1).map([1, 2]))
        assert "of task 'double'" in str(mapped)
        assert isinstance(mapped.__cause__, RemoteTraceback)
        assert mapped.__cause__.path[0].startswith("double[")
        for done in client.as_completed(double.map([3])):
            assert isinstance(done.exception(), EnvelopeError)


def test_the_words_of_another_worker(endpoint_of: Callable[[str], str]) -> None:
    with Client(endpoint_of("fail"), partition="csharp") as client:
        error = failure(client, double(1))
        assert isinstance(error, TaskError)
        assert "task 'double' ended in error: " in str(error)
        assert "Unable to find the library MyCompany.Grid.dll" in str(error)
