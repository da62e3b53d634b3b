"""When arguments are taken, at every door; and what tasks get is theirs to write to."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from armoflow import Client, task

SIZES = [3, 2_000, 40_000, 400_000]  # in the pickle, beside it, in a file, a constant


@pytest.fixture(params=["engine", "local"])
def anywhere(request: pytest.FixtureRequest, client: Client) -> Iterator[Client]:
    if request.param == "engine":
        yield client
    else:
        with Client(local=True) as local:
            yield local


@task
def same(value: Any) -> Any:
    return value


@task
def total(value: Any, *rest: Any) -> float:
    return float(np.sum(np.asarray(value)))


@task
def several(*values: Any) -> list[Any]:
    return list(values)


@task
def passed_on(value: Any) -> Any:
    return total(value)


WAYS: dict[str, Callable[[Client, Any], Any]] = {
    "submit": lambda client, array: client.submit(total(array)),
    "function": lambda client, array: client.submit(total.function, array),
    "in a list": lambda client, array: client.submit(total([array])),
    "twice": lambda client, array: client.submit(total(array, array)),
    "in a child": lambda client, array: client.submit(passed_on(array)),
}


class Counted:
    """Says how often it was pickled."""

    def __init__(self, size: int) -> None:
        self.content = "x" * size
        self.pickled = 0

    def __reduce__(self) -> Any:
        self.pickled += 1
        return str, (self.content,)


@pytest.mark.parametrize("size", [10, 1_000_000])
@pytest.mark.parametrize("way", ["compute", "submit"])
def test_an_argument_is_pickled_once(client: Client, way: str, size: int) -> None:
    values = [Counted(size) for _ in range(3)]
    calls = [same([value]) for value in values]
    if way == "compute":
        client.compute(*calls)
    else:
        client.gather([client.submit(call) for call in calls])
    assert [value.pickled for value in values] == [1, 1, 1]


@task
def spoiled(number: int, value: Any) -> float:
    before = float(np.sum(value))
    value += 1
    return before


@task
def spoiled_by_children(size: int, way: str) -> Any:
    array = ones(size) if way == "made" else np.ones(size)
    if way == "mapped":
        return spoiled.map(range(4), value=array).gather()
    return several(*[spoiled(number, array) for number in range(4)])


@task
def ones(size: int) -> Any:
    return np.ones(size)


@pytest.mark.filterwarnings("ignore:task 'spoiled' has changed its argument")
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("way", ["given", "mapped", "made"])
def test_calls_of_a_returned_graph_that_write_do_not_see_each_other(
    anywhere: Client, way: str, size: int
) -> None:
    assert anywhere.compute(spoiled_by_children(size, way)) == [size] * 4


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("way", WAYS)
def test_an_array_may_be_written_to_at_once(anywhere: Client, way: str, size: int) -> None:
    array = np.ones(size)
    future = WAYS[way](anywhere, array)
    array[:] = 0
    assert future.result() == size


@pytest.mark.parametrize("size", SIZES)
def test_bytes_may_be_written_to_at_once(anywhere: Client, size: int) -> None:
    data = bytearray(b"a" * size)
    future = anywhere.submit(task(bytes)(data))
    data[:] = b"b" * size
    assert future.result() == b"a" * size


def test_what_is_shared_by_many_calls_may_be_written_to(anywhere: Client) -> None:
    array = np.ones(400_000)
    future = anywhere.submit(several(*[total(array) for _ in range(5)]))
    array[:] = 0
    assert future.result() == [400_000.0] * 5


def test_calls_of_a_large_graph(anywhere: Client) -> None:
    values = [[number] for number in range(500)]
    future = anywhere.submit(several(*[total(value, (1, [2])) for value in values]))
    for value in values:
        value.append(1_000_000)
    assert future.result() == [float(number) for number in range(500)]


def test_what_changes_before_the_graph_is_started_is_seen(anywhere: Client) -> None:
    value: list[int] = []
    call, submitted = total(value), total(value)
    value.append(7)
    assert anywhere.compute(call) == 7
    assert anywhere.submit(submitted).result() == 7


CONTAINERS: dict[str, Callable[[], Any]] = {
    "list": lambda: list(range(2_000)),
    "dict": lambda: dict.fromkeys(range(2_000)),
    "set": lambda: set(range(2_000)),
    "deque": lambda: deque(range(2_000)),
    "bytearray": lambda: bytearray(b"a" * 2_000),
}


@pytest.mark.parametrize("kind", CONTAINERS)
def test_the_container_of_items_may_be_changed_at_once(anywhere: Client, kind: str) -> None:
    for start in (
        lambda items: anywhere.submit(same.map(items).gather()),
        lambda items: anywhere.submit(same.map(items)),
        lambda items: anywhere.submit(same.map(items).map(same).reduce(max)),
    ):
        items = CONTAINERS[kind]()
        future = start(items)
        expected = list(items)
        items.clear()
        told = future.result()
        assert told == (expected if isinstance(told, list) else max(expected))
    items = CONTAINERS[kind]()
    futures = anywhere.map(same, items)
    expected = list(items)
    items.clear()
    assert anywhere.gather(futures) == expected


def test_an_array_of_items_may_be_changed_at_once(client: Client) -> None:
    items = np.arange(2_000)
    future = client.submit(same.map(items).reduce(max))
    items[:] = -1
    assert future.result() == 1_999


# --- what a task gets is its own ------------------------------------------------------------------


@task
def written(value: Any) -> float:
    array = value["in"][0] if isinstance(value, dict) else value
    array[0] = 5
    return float(array[0])


@task
def made(size: int) -> Any:
    return np.ones(size)


@pytest.mark.parametrize("size", SIZES)
def test_arrays_are_writeable_whatever_their_size(client: Client, size: int) -> None:
    array = np.ones(size)
    assert client.compute(written(array)) == 5
    assert client.compute(written({"in": [array]})) == 5
    assert client.compute(written(made(size))) == 5
    assert client.compute(written({"in": [made(size)]})) == 5
    assert client.compute(written(client.put(array))) == 5
    assert client.compute(written.map([array, array])) == [5, 5]
    assert client.compute(made.map([size, size]).map(written)) == [5, 5]
    assert client.compute([written(array), written(array)]) == [5, 5]
    assert client.compute(written(same(array))) == 5
    assert array[0] == 1
    result = client.compute(made(size))
    result[0] = 2
    (listed,) = client.compute(made.map([size]))
    listed[0] = 2
    future = client.submit(made(size))
    future.result()[0] = 2
    assert result[0] == listed[0] == 2


@pytest.mark.parametrize("size", SIZES)
def test_two_tasks_that_write_do_not_see_each_other(client: Client, size: int) -> None:
    kept = client.put(np.ones(size))
    array = client.submit(made(size))

    @task(fuse=False)
    def first(value: Any) -> float:
        found = float(value[0])
        value[0] = 9
        return found

    assert client.compute([first(kept) for _ in range(4)]) == [1.0] * 4
    assert client.compute([first(array) for _ in range(4)]) == [1.0] * 4
    assert array.result()[0] == 1
