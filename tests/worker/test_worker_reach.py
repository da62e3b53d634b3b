"""Which functions can change nothing in their process but through what they are given."""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest

import armoflow
from armoflow import items, task
from armoflow.worker.reach import Reach

FACTOR = 3
PAIR = (1, "two", frozenset({None}))
TABLE: dict[str, Any] = {}


def triple(number: int, *, times: int = FACTOR) -> int:
    return abs(number) * times


def both(number: int) -> Any:
    return triple(number) + FACTOR, PAIR


def countdown(number: int) -> int:
    return countdown(number - 1) if number else 0


def nested(number: int) -> list[int]:
    return [triple(part) for part in range(number)]


@task
def later(number: int) -> int:
    return number


def measured(number: float) -> float:
    time.sleep(math.floor(number) + math.pi)
    return time.perf_counter()


def calls_tasks(number: int) -> Any:
    return later(later(number) if number else 0)


def makes_tasks(number: int) -> Any:
    from armoflow import task
    from armoflow import zip_items as pairs

    node = task(batch_size=1)(triple)
    return pairs([node(number)], items([number]))


def names_the_package(number: int) -> Any:
    return armoflow.task(triple)(number)


def imports_more() -> Any:
    from armoflow import Client, task

    return task(Client)


def imports_the_package() -> Any:
    import armoflow

    return armoflow


def calls_task_as_something_else(task: Any) -> Any:
    return task.armoflow()


def replaces_sleep() -> None:
    time.sleep = moves


def names_what_is_not_there() -> Any:
    return math.nothing  # type: ignore[attr-defined]


def gives_a_module_away() -> Any:
    return vars(math), math.pi


def moves() -> None:
    os.chdir("/")


def calls_what_moves() -> None:
    moves()


def reads_any() -> Any:
    return globals()["os"]


def with_default(module: Any = os) -> None:
    return None


def method(given: Any) -> Any:
    return given.update()


def closure() -> Callable[[], Any]:
    place = os

    def inside() -> Any:
        return place

    return inside


@pytest.mark.parametrize(
    "function",
    [
        *(triple, both, countdown, nested, measured, calls_tasks, time.sleep, lambda: None),
        *(makes_tasks, names_the_package),
    ],
)
def test_short(function: Any) -> None:
    assert Reach(function).is_short()


@pytest.mark.parametrize(
    "function",
    [
        *(moves, calls_what_moves, reads_any, with_default, method, closure()),
        *(replaces_sleep, names_what_is_not_there, gives_a_module_away),
        *(imports_more, imports_the_package, calls_task_as_something_else),
        *(
            lambda: TABLE,
            lambda: math,
            lambda: time.tzset() or 1,
            time.tzset,
            lambda: later.retries,
            lambda: open,
            lambda: exec,
            lambda: setattr,
            print,
            int,
            Reach,
        ),
    ],
)
def test_long(function: Any) -> None:
    assert not Reach(function).is_short()


def test_a_name_with_another_meaning_is_another_function(monkeypatch: pytest.MonkeyPatch) -> None:
    reach = Reach(both)
    monkeypatch.setitem(globals(), "triple", moves)
    assert not reach.is_short()
    monkeypatch.undo()
    assert reach.is_short()
    monkeypatch.setitem(globals(), "abs", moves)
    assert not reach.is_short()


def test_a_function_of_a_module_that_was_replaced_is_another_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reach = Reach(measured)
    monkeypatch.setattr(math, "floor", moves)
    assert not reach.is_short()
    monkeypatch.undo()
    assert reach.is_short()


def test_a_package_that_was_replaced_is_another_one(monkeypatch: pytest.MonkeyPatch) -> None:
    reach = Reach(makes_tasks)
    monkeypatch.setitem(sys.modules, "armoflow", os)
    assert not reach.is_short()
    monkeypatch.undo()
    assert reach.is_short()
    monkeypatch.setattr(armoflow, "task", moves)
    assert not reach.is_short()
