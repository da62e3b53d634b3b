"""``compute(fail_fast=True)``: the first error ends the wait, and what is left."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from armoflow import Client, task
from armoflow.errors import OptionError, RemoteTraceback


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

    # Nothing that waits holds a worker any more: something else runs.
    assert engine_client.compute(refuse.map(range(3))) == [0, 1, 2]
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
