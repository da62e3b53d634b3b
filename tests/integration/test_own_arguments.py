"""What a task changes in its arguments nobody else sees: no neighbour, and no further attempt.

The debug mode gives the same values, and tells which arguments were changed.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from armoflow import Client, current_task, items, task, zip_items
from armoflow.errors import ChangedArgumentWarning

pytestmark = pytest.mark.filterwarnings("ignore::armoflow.errors.ChangedArgumentWarning")

SIZES = [3, 20_000, 200_000]  # arrays in the pickle, beside it, in a mapped file


@task
def zeros(_: int, size: int) -> Any:
    return np.zeros(size) if size else [0.0]


def changed(value: Any) -> float:
    """Change a value in place; returns how often that was done."""
    if isinstance(value, list):
        value.append(value.pop() + 1)
    else:
        value += 1
    return float(value[0])


@task
def change(value: Any, *_: Any) -> float:
    return changed(value)


@task
def change_shared(_: Any, value: Any) -> float:
    return changed(value)


@task
def is_first_change(_: Any, value: Any) -> bool:
    return changed(value) == 1


@task
def change_and_keep(value: Any) -> bool:
    return changed(value) > 0


@task
def look(value: Any, *_: Any) -> float:
    return float(value[0])


@task
def look_at_second(first: Any, second: Any) -> float:
    changed(first)
    return float(second[0])


@task(retries=3, backoff=0)
def change_again(value: Any) -> float:
    found = changed(value)
    if current_task().attempt < 3:
        raise ValueError("not yet")
    return found


@task(retries=3, backoff=0)
def change_shared_again(_: Any, value: Any) -> float:
    found = changed(value)
    if current_task().attempt < 3:
        raise ValueError("not yet")
    return found


@task(retries=3, backoff=0)
def add_again(left: Any, right: Any) -> Any:
    changed(left)
    changed(right)
    if current_task().attempt < 3:
        raise ValueError("not yet")
    return [left[0] + right[0]]


@task
def add(left: Any, right: Any) -> Any:
    changed(left)
    changed(right)
    return [left[0] + right[0]] if isinstance(left, list) else left + right


@task
def children(size: int) -> Any:
    value = zeros(0, size)
    return [change(value), change_shared.map(range(4), value=value), change(value), look(value)]


@pytest.mark.parametrize("size", [0, *SIZES])
def test_calls_of_one_value(anywhere: Client, size: int) -> None:
    value = zeros(0, size)
    calls = [change(value, number) for number in range(20)]
    assert anywhere.compute([calls, look(value)]) == [[1.0] * 20, 0.0]


@pytest.mark.parametrize("size", [0, *SIZES])
def test_arguments_that_all_items_have(anywhere: Client, size: int) -> None:
    local = zeros.function(0, size)
    for value in (local, zeros(0, size), anywhere.put(local)):
        assert anywhere.compute(change_shared.map(range(20), value=value)) == [1.0] * 20
        kept = items(range(20)).filter(is_first_change, value=value)
        assert anywhere.compute(kept) == [*range(20)]
    assert local[0] == 0


@pytest.mark.parametrize("size", [0, *SIZES])
def test_items_that_are_one_value(anywhere: Client, size: int) -> None:
    local = zeros.function(0, size)
    for value in (local, zeros(0, size), anywhere.put(local)):
        assert anywhere.compute(change.map([value] * 20)) == [1.0] * 20


@pytest.mark.parametrize("size", [0, *SIZES])
def test_several_readers_of_a_collection(anywhere: Client, size: int) -> None:
    made = zeros.map(range(4), size=size)
    assert anywhere.compute(made.filter(change_and_keep).map(look)) == [0.0] * 4
    assert anywhere.compute([made.map(change), made.map(look)]) == [[1.0] * 4, [0.0] * 4]
    assert anywhere.compute(look_at_second.starmap(zip_items(made, made))) == [0.0] * 4
    sums = [look(made.reduce(add)), look(made.fold(add)), look(made.reduce(add))]
    assert anywhere.compute(sums) == [anywhere.compute(look(made.fold(add)))] * 3
    assert anywhere.compute([change(made[1]), change(made[1]), look(made[1])]) == [1.0, 1.0, 0.0]


@pytest.mark.parametrize("size", [0, *SIZES])
def test_attempts_begin_with_what_the_first_one_got(anywhere: Client, size: int) -> None:
    local = zeros.function(0, size)
    for value in (local, zeros(0, size), anywhere.put(local)):
        assert anywhere.compute(change_again(value)) == 1.0
        assert anywhere.compute(change_shared_again.map(range(3), value=value)) == [1.0] * 3
        assert anywhere.compute(change_again.map([value] * 3)) == [1.0] * 3
    made = zeros.map(range(4), size=size)
    assert anywhere.compute(made.map(change_again)) == [1.0] * 4
    assert anywhere.compute(made.fold(add_again)) == anywhere.compute(made.fold(add_once))
    assert anywhere.compute(made.reduce(add_again, fan_in=4)) == anywhere.compute(
        made.fold(add_once)
    )


@task
def add_once(left: Any, right: Any) -> Any:
    return [left[0] + 1 + right[0] + 1]


@pytest.mark.parametrize("size", [0, *SIZES])
def test_graphs_that_tasks_return(anywhere: Client, size: int) -> None:
    assert anywhere.compute(children(size)) == [1.0, [1.0] * 4, 1.0, 0.0]


@dataclass
class Basket:
    fruit: dict[str, list[int]] = field(default_factory=lambda: {"apples": [1, 2]})


@task
def eat(basket: Basket, *others: Basket, **more: Basket) -> int:
    for each in (basket, *others, *more.values()):
        each.fruit["apples"].pop()
    return 1


@task
def read_only(values: Any, **_: Any) -> int:
    return len(sorted(values))


@task
def join(left: list[int], right: list[int]) -> list[int]:
    left.extend(right)
    return left


@task
def push(values: list[int]) -> list[int]:
    values.append(1)
    return values


@task
def note(item: int, table: list[int]) -> int:
    table.append(item)
    return len(table)


@pytest.fixture
def local() -> Iterator[Client]:
    with Client(local=True) as client:
        yield client


Told = Callable[[Any], list[str]]


@pytest.fixture
def told(local: Client) -> Told:
    """What the debug mode warns of when it computes something."""

    def compute(value: Any) -> list[str]:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            local.compute(value)
        assert {each.category for each in caught} <= {ChangedArgumentWarning}
        return [str(each.message).partition(":")[0] for each in caught]

    return compute


def test_the_debug_mode_names_task_argument_and_place(told: Told) -> None:
    changed = "task 'eat' has changed its argument {} in place, at .fruit['apples'][1]"
    assert told(eat(Basket(), Basket(), last=Basket())) == [
        changed.format(name) for name in ("'basket'", "'others[0]'", "'last'")
    ]


def test_each_argument_of_a_task_is_told_once(told: Told) -> None:
    calls = [push([number]) for number in range(3)]
    assert told(calls) == ["task 'push' has changed its argument 'values' in place, at [1]"]
    assert told(push.map([[1], [2]])) == []


def test_what_changes_nothing_is_told_of_nothing(told: Told) -> None:
    text = "a" * 3
    for value in ({"b", "a"}, [text, "aaa"], {"b": 1, "a": 2}, np.zeros(9), b"a", "text", (1, 2)):
        assert told(read_only(value, value=value)) == []


def test_a_reduction_may_add_to_what_it_holds(local: Client, told: Told) -> None:
    lists = push.map([[1], [2]])
    assert told(items([[1], [2], [3]]).reduce(join)) == []
    assert local.compute([items([[1], [2]]).fold(join), lists.reduce(join), lists]) == [
        [1, 2],
        [1, 1, 2, 1],
        [[1, 1], [2, 1]],
    ]


def test_what_items_share_is_told_when_all_have_run(told: Told) -> None:
    assert told(note.map(range(3), table=[*range(30_000)])) == [
        "task 'note' has changed its argument 'table' in place, at [30000]"
    ]


def test_what_cannot_be_copied_is_the_object_itself(local: Client, told: Told) -> None:
    lock = threading.Lock()

    @task
    def is_same(first: Any, second: list[int]) -> bool:
        second.append(1)
        return first is lock

    second = [1]
    assert told(is_same(lock, second)) == [
        "task 'is_same' has changed its argument 'second' in place, at [1]"
    ]
    assert local.compute(is_same(lock, second)) and second == [1]


def test_the_warning_can_be_an_error(local: Client) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", ChangedArgumentWarning)
        with pytest.raises(ChangedArgumentWarning, match="push"):
            local.compute(push([1]))
