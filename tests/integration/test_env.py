"""``env``: environment variables of tasks, at every door, and put back after them."""

from __future__ import annotations

import os
from typing import Any

import pytest

import armoflow
from armoflow import Client, task
from armoflow.errors import OptionError
from tests.integration.engines import Up

NAMES = ("ARMOFLOW_TEST_A", "ARMOFLOW_TEST_B")
A, B = NAMES


@task
def seen(number: int = 0) -> list[str | None]:
    return [os.environ.get(name) for name in NAMES]


@task(env={A: "task"})
def told(number: int = 0) -> list[str | None]:
    return [os.environ.get(name) for name in NAMES]


def test_a_task_has_its_variables_and_the_next_has_not(anywhere: Client) -> None:
    for _ in range(3):  # one after the other, each in whatever process is free
        assert anywhere.compute(told(1)) == ["task", None]
        assert anywhere.compute(seen(1)) == [None, None]
    assert anywhere.compute(told.map(range(3))) == [["task", None]] * 3
    assert os.environ.get(A) is None


def test_of_each_variable_the_nearest_place_that_names_it_holds(anywhere: Client) -> None:
    with armoflow.options(env={A: "block", B: "block"}):
        calls = [seen(1), told(1), told.options(env={B: "call"})(1), told.options(env={A: "c"})(1)]
    assert anywhere.compute(*calls) == (
        ["block", "block"],
        ["task", "block"],
        ["task", "call"],
        ["c", "block"],
    )


def test_those_of_a_client_hold_in_the_graphs_that_tasks_return(engine: Up) -> None:
    @task
    def outer() -> Any:
        return [seen(1), told(2), seen.options(env={B: "call"})(3)]

    with Client(engine.endpoint, env={A: "client"}) as client:
        assert client.compute(outer()) == [["client", None], ["task", None], ["client", "call"]]
        assert client.submit(seen(1)).result() == ["client", None]
    with Client(engine.endpoint) as client:
        assert client.compute(outer()) == [[None, None], ["task", None], [None, "call"]]


def test_they_are_part_of_the_key_where_they_are_said_near_the_task(engine: Up) -> None:
    @task(cache=True)
    def named(number: int) -> list[str | None]:
        return [os.environ.get(name) for name in NAMES]

    with Client(engine.endpoint, env={B: "one"}) as client:
        assert client.compute(named(1)) == [None, "one"]
        assert client.compute(named.options(env={A: "x"})(1)) == ["x", "one"]
        assert client.compute(named.options(env={A: "y"})(1)) == ["y", "one"]
    with Client(engine.endpoint, env={B: "two"}) as client:  # a client's make no difference
        assert client.compute(named(1)) == [None, "one"]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"A": 1}, "env must be a dict of texts, not {'A': 1}"),
        (["A"], "env must be a dict of texts, not ['A']"),
        ({"": "x"}, "env names a variable ''"),
        ({"A=B": "x"}, "env names a variable 'A=B'"),
        ({"A": "a\0b"}, "env names a variable 'A'"),
        ({"ARMOFLOW_PROCESS": "x"}, "env sets ARMOFLOW_PROCESS, by which armoflow finds its"),
        ({f"V{n}": "" for n in range(50_000)}, "env has 50,000 variables of 288,890 characters"),
        ({"A": "x" * 2_000_000}, "env has 1 variables of 2,000,001 characters: at most 4,096 of"),
    ],
)
def test_what_is_no_variable_is_refused_where_it_is_written(given: Any, told: str) -> None:
    with pytest.raises(OptionError) as refused:
        task(env=given)(len)
    assert told in str(refused.value)
