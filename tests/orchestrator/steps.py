"""Tasks for the tests of plans, in a module without tests: what runs tasks may import it anew."""

from __future__ import annotations

from typing import Any

from armoflow import task
from armoflow.graph.delayed import Delayed


@task
def inc(number: int) -> int:
    return number + 1


@task
def double(number: int) -> int:
    return 2 * number


@task
def add(first: int, second: int) -> int:
    return first + second


@task
def total(*numbers: int) -> int:
    return sum(numbers)


@task
def odd(number: int) -> bool:
    return number % 2 == 1


@task
def no_threes(number: int) -> int:
    if number % 3 == 0:
        raise ValueError(f"{number} is a multiple of three")
    return number


@task
def grow(number: int) -> int | Delayed[int]:
    """An odd number becomes a graph."""
    return add(number, double(number)) if number % 2 else 3 * number


def one_more(number: int) -> int:
    """A plain function."""
    return number + 1


def grandchild(number: int) -> Any:
    """Becomes a call."""
    return task(one_more, name="grandchild")(number)


@task
def two_of(number: int) -> list[int]:
    return [number, number + 1]


def grown(number: int) -> Any:
    """A child, a map over what it makes, and a child of each item."""
    return task(grandchild, name="mapped").map(two_of(number))
