"""What a task changes in its arguments nobody else sees: no neighbour, and no further attempt."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from armoflow import Client, current_task, items, task, zip_items

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
def test_calls_of_one_value(client: Client, size: int) -> None:
    value = zeros(0, size)
    calls = [change(value, number) for number in range(20)]
    assert client.compute([calls, look(value)]) == [[1.0] * 20, 0.0]


@pytest.mark.parametrize("size", [0, *SIZES])
def test_arguments_that_all_items_have(client: Client, size: int) -> None:
    local = zeros.function(0, size)
    for value in (local, zeros(0, size), client.put(local)):
        assert client.compute(change_shared.map(range(20), value=value)) == [1.0] * 20
        kept = items(range(20)).filter(is_first_change, value=value)
        assert client.compute(kept) == [*range(20)]
    assert local[0] == 0


@pytest.mark.parametrize("size", [0, *SIZES])
def test_items_that_are_one_value(client: Client, size: int) -> None:
    local = zeros.function(0, size)
    for value in (local, zeros(0, size), client.put(local)):
        assert client.compute(change.map([value] * 20)) == [1.0] * 20


@pytest.mark.parametrize("size", [0, *SIZES])
def test_several_readers_of_a_collection(client: Client, size: int) -> None:
    made = zeros.map(range(4), size=size)
    assert client.compute(made.filter(change_and_keep).map(look)) == [0.0] * 4
    assert client.compute([made.map(change), made.map(look)]) == [[1.0] * 4, [0.0] * 4]
    assert client.compute(look_at_second.starmap(zip_items(made, made))) == [0.0] * 4
    sums = [look(made.reduce(add)), look(made.fold(add)), look(made.reduce(add))]
    assert client.compute(sums) == [client.compute(look(made.fold(add)))] * 3
    assert client.compute([change(made[1]), change(made[1]), look(made[1])]) == [1.0, 1.0, 0.0]


@pytest.mark.parametrize("size", [0, *SIZES])
def test_attempts_begin_with_what_the_first_one_got(client: Client, size: int) -> None:
    local = zeros.function(0, size)
    for value in (local, zeros(0, size), client.put(local)):
        assert client.compute(change_again(value)) == 1.0
        assert client.compute(change_shared_again.map(range(3), value=value)) == [1.0] * 3
        assert client.compute(change_again.map([value] * 3)) == [1.0] * 3
    made = zeros.map(range(4), size=size)
    assert client.compute(made.map(change_again)) == [1.0] * 4
    assert client.compute(made.fold(add_again)) == client.compute(made.fold(add_once))
    assert client.compute(made.reduce(add_again, fan_in=4)) == client.compute(made.fold(add_once))


@task
def add_once(left: Any, right: Any) -> Any:
    return [left[0] + 1 + right[0] + 1]


@pytest.mark.parametrize("size", [0, *SIZES])
def test_graphs_that_tasks_return(client: Client, size: int) -> None:
    assert client.compute(children(size)) == [1.0, [1.0] * 4, 1.0, 0.0]
