"""Cells that change step by step: the same values and errors everywhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from armoflow import Client, task
from armoflow.errors import CollectionError, OptionError, RemoteTraceback, SignatureError


@pytest.fixture
def client(anywhere: Client) -> Client:
    return anywhere


@task
def total(*cells: int | None, more: int = 0) -> int:
    return sum(cell for cell in cells if cell is not None) + more


@task
def inc(number: int) -> int:
    return number + 1


@task
def add(first: int, second: int) -> int:
    return first + second


@task
def some(count: int) -> list[int]:
    return list(range(count))


@task
def not_three(left: Any, own: int, right: Any) -> int:
    if own == 3:
        raise ValueError("three")
    return own


@task
def in_a_graph(count: int) -> Any:
    return total.iterate(inc.map(range(count)), steps=2).gather()


def expected(
    cells: Sequence[int],
    steps: int,
    neighbours: Sequence[int] = (-1, 0, 1),
    *,
    wrap: bool = False,
    more: int = 0,
) -> list[int]:
    """What it comes to, worked out cell by cell."""
    now = list(cells)
    for _ in range(steps):
        before, now = now, []
        for position in range(len(before)):
            places = [position + distance for distance in neighbours]
            if wrap:
                places = [place % len(before) for place in places]
            now.append(sum(before[p] for p in places if 0 <= p < len(before)) + more)
    return now


CELLS = list(range(10))
FORMS: dict[str, tuple[Callable[[], Any], Any]] = {
    "steps": (lambda: total.iterate(CELLS, steps=3), expected(CELLS, 3)),
    "the ends are neighbours": (
        lambda: total.iterate(CELLS, steps=3, wrap=True, more=2),
        expected(CELLS, 3, wrap=True, more=2),
    ),
    "other neighbours": (
        lambda: total.iterate(CELLS, steps=2, neighbours=(-2, 0, 5)),
        expected(CELLS, 2, (-2, 0, 5)),
    ),
    "of what tasks make": (
        lambda: total.iterate(inc.map(CELLS), steps=2),
        expected([cell + 1 for cell in CELLS], 2),
    ),
    "of calls beside values": (
        lambda: total.iterate([inc(1), 5, inc(2)], steps=2),
        expected([2, 5, 3], 2),
    ),
    "no steps": (lambda: total.iterate(inc.map(CELLS), steps=0), [cell + 1 for cell in CELLS]),
    "no cells": (lambda: total.iterate([], steps=3), []),
    "one cell": (lambda: total.iterate([1], steps=3, wrap=True), [27]),
    "a lazy argument": (
        lambda: total.iterate(CELLS, steps=2, more=inc(1)),
        expected(CELLS, 2, more=2),
    ),
    "of what only the graph knows": (
        lambda: total.iterate(some(4), steps=2),
        expected(range(4), 2),
    ),
    "in a graph that a task returns": (lambda: in_a_graph(4), expected([1, 2, 3, 4], 2)),
    "then reduced": (
        lambda: total.iterate(CELLS, steps=4).reduce(add),
        sum(expected(CELLS, 4)),
    ),
    "a part of it": (lambda: total.iterate(CELLS, steps=4)[2:4], expected(CELLS, 4)[2:4]),
    "in batches as asked for": (
        lambda: total.with_options(batch_size=3).iterate(CELLS, steps=5, wrap=True),
        expected(CELLS, 5, wrap=True),
    ),
    "one cell a task": (
        lambda: total.with_options(batch_size=1).iterate(CELLS, steps=3),
        expected(CELLS, 3),
    ),
    "many cells": (
        lambda: total.iterate(range(500), steps=10, wrap=True),
        expected(range(500), 10, wrap=True),
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_cells_change_with_their_neighbours(client: Client, form: str) -> None:
    make, values = FORMS[form]

    assert client.compute(make()) == values


@given(
    cells=st.lists(st.integers(-9, 9), max_size=9),
    steps=st.integers(0, 4),
    neighbours=st.lists(st.integers(-3, 3), min_size=1, max_size=4),
    wrap=st.booleans(),
)
def test_any_cells_any_neighbours(
    cells: list[int], steps: int, neighbours: list[int], wrap: bool
) -> None:
    with Client(local=True) as client:
        values = client.compute(total.iterate(cells, steps=steps, neighbours=neighbours, wrap=wrap))

    assert values == expected(cells, steps, neighbours, wrap=wrap)


def test_a_cell_that_fails_spoils_those_that_come_of_it(client: Client) -> None:
    cells = not_three.iterate([1, 2, 3, 4, 5, 6], steps=2)

    values = client.compute(cells, return_exceptions=True)

    assert [type(value).__name__ for value in values] == ["int", *["ValueError"] * 3, "int", "int"]
    cause = values[1].__cause__
    assert isinstance(cause, RemoteTraceback)
    assert cause.path == ["not_three[2]", "not_three[1]"]


WORDS: Any = ["left", "right"]


@pytest.mark.parametrize(
    ("make", "error", "told"),
    [
        (lambda: total.iterate([1], steps=-1), OptionError, "steps of at least 0, not -1"),
        (lambda: total.iterate([1], steps=1, neighbours=()), OptionError, "as distances"),
        (lambda: total.iterate([1], steps=1, neighbours=WORDS), OptionError, "as distances"),
        (lambda: inc.iterate([1], steps=1), SignatureError, r"each of neighbours=\(-1, 0, 1\)"),
        (
            lambda: inc.iterate([1], steps=1, neighbors=(0,)),
            SignatureError,
            "keyword arguments that are not its own .steps, neighbours, wrap.: task 'inc'",
        ),
        (lambda: total.iterate((n for n in [1]), steps=1), CollectionError, "give a list"),
        (
            lambda: total.iterate(inc.map([1]).filter(inc), steps=1),
            CollectionError,
            "how many cells 'inc' has is not known",
        ),
    ],
)
def test_what_makes_no_sense_is_said_at_once(
    make: Callable[[], Any], error: type[Exception], told: str
) -> None:
    with pytest.raises(error, match=told):
        make()


def test_it_is_one_node_of_known_length() -> None:
    cells = total.iterate(range(1_000), steps=1_000)

    assert len(cells) == 1_000
    assert "1,000 steps" in cells.visualize()
