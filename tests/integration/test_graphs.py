"""Whole graphs on real engines: what comes back is what plain Python would have given."""

from __future__ import annotations

import dataclasses
import itertools
import operator
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from armoflow import Client, DelayedList, config, items, task, zip_items
from armoflow.errors import GraphError


@task
def inc(number: int, by: int = 1) -> int:
    return number + by


@task
def add(first: int, second: int) -> int:
    return first + second


@task
def total(numbers: list[int]) -> int:
    return sum(numbers)


@task
def is_odd(number: int) -> bool:
    return number % 2 == 1


@task(outputs=2)
def both(number: int) -> tuple[int, int]:
    return number, -number


@task
def join(*parts: Any, **named: Any) -> Any:
    return (parts, named)


@task
def concat(first: str, second: str) -> str:
    return first + second


@task
def upto(number: int) -> list[int]:
    return list(range(number))


@task
def fib(number: int) -> Any:
    return number if number < 2 else add(fib(number - 1), fib(number - 2))


@task
def spread(depth: int) -> Any:
    return 1 if depth == 0 else total([spread(depth - 1) for _ in range(10)])


@dataclasses.dataclass
class Point:
    x: Any
    y: Any


def test_a_call_of_a_call(client: Client) -> None:
    assert client.compute(inc(inc(1), by=inc(2))) == 5


def test_a_shared_node_runs_once(client: Client, tmp_path: Any) -> None:
    log = tmp_path / "ran"

    @task
    def note(value: int) -> int:
        with log.open("a") as file:
            file.write("x")
        return value

    shared = note(1)
    assert client.compute(add(shared, shared), inc(shared)) == (2, 2)
    assert log.read_text() == "x"


def test_delayed_values_anywhere_in_containers(client: Client) -> None:
    one = inc(0)
    value = join([one, (one, {"k": {2: one}})], Point(one, [one]), named={one})
    (parts, named) = client.compute(value)
    assert parts == ([1, (1, {"k": {2: 1}})], Point(1, [1]))
    assert named == {"named": {1}}


def test_compute_takes_containers(client: Client) -> None:
    assert client.compute({"a": [inc(1), 5]}) == {"a": [2, 5]}


def test_several_outputs(client: Client) -> None:
    plus, minus = both(3)
    assert client.compute(plus, minus, add(plus, minus)) == (3, -3, 0)
    firsts, seconds = both.map(range(4))
    assert client.compute(firsts, seconds.map(inc)) == ([0, 1, 2, 3], [1, 0, -1, -2])


@pytest.mark.parametrize("batch_size", [None, 1, 3])
def test_collections(client: Client, batch_size: int | None) -> None:
    sized = inc.with_options(batch_size=batch_size) if batch_size else inc
    numbers = sized.map(range(20))
    assert client.compute(numbers) == list(range(1, 21))
    assert client.compute(numbers.map(sized, by=10)) == list(range(11, 31))
    assert client.compute(numbers.filter(is_odd)) == list(range(1, 21, 2))
    assert client.compute(numbers.filter(is_odd).map(inc).reduce(add)) == 110
    assert client.compute(numbers.reduce(add, fan_in=3, initial=1000)) == 1210
    assert client.compute(numbers.gather()) == list(range(1, 21))
    assert client.compute(total(numbers)) == 210
    assert client.compute(numbers[3], numbers[-1], numbers[5:8], numbers[::-7]) == (
        4,
        20,
        [6, 7, 8],
        [20, 13, 6],
    )


def test_order_is_kept_by_reduce_and_fold(client: Client) -> None:
    letters = items("abcdefghijk")
    word = concat.with_options(batch_size=2)
    assert client.compute(letters.reduce(word)) == "abcdefghijk"
    assert client.compute(letters.fold(word, initial=">")) == ">abcdefghijk"


def test_zip_and_starmap(client: Client) -> None:
    pairs = zip_items(inc.map(range(5)), range(100, 200))
    assert client.compute(pairs) == [(n + 1, n + 100) for n in range(5)]
    assert client.compute(pairs.starmap(add)) == [2 * n + 101 for n in range(5)]
    assert client.compute(add.starmap([(1, 2), (3, 4)])) == [3, 7]


def test_empty_collections(client: Client) -> None:
    nothing = inc.map([])
    assert client.compute(nothing) == []
    assert client.compute(nothing.gather(), nothing.reduce(add, initial=7)) == ([], 7)
    with pytest.raises(TypeError, match="no initial value"):
        client.compute(nothing.reduce(add))
    assert client.compute(inc.map(range(4)).filter(lambda _: False).gather()) == []


def test_generators_are_read_lazily_and_once(client: Client) -> None:
    read: list[int] = []

    def numbers() -> Iterator[int]:
        for number in range(50):
            read.append(number)
            yield number

    lazy = inc.map(numbers())
    assert read == []
    assert client.compute(lazy.reduce(add)) == sum(range(1, 51))
    with pytest.raises(GraphError, match=r"list\("):
        client.compute(lazy)


def test_a_generator_that_raises_fails_its_collection(client: Client) -> None:
    def numbers() -> Iterator[int]:
        yield 1
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        client.compute(inc.map(numbers()).reduce(add))


def test_a_collection_over_a_value_known_only_at_run_time(client: Client) -> None:
    assert client.compute(inc.map(upto(5))) == [1, 2, 3, 4, 5]
    assert client.compute(inc.map(upto(5)).filter(is_odd).reduce(add)) == 9


def test_a_task_that_returns_a_graph_hands_its_output_to_it(client: Client) -> None:
    assert client.compute(fib(9)) == 34
    assert client.compute(add(fib(5), 1)) == 6


def test_items_of_a_batch_may_return_graphs(client: Client) -> None:
    assert client.compute(fib.map(range(8))) == [0, 1, 1, 2, 3, 5, 8, 13]


def test_a_container_with_delayed_values_is_put_together(client: Client) -> None:
    @task
    def report(number: int) -> Any:
        return {"double": add(number, number), "plain": number}

    assert client.compute(report(4)) == {"double": 8, "plain": 4}


def test_a_recursive_fan_out_of_a_thousand_tasks(client: Client) -> None:
    assert client.compute(spread(3)) == 1000


def test_lambdas_and_closures(client: Client) -> None:
    factor = 7
    assert client.compute(task(lambda number: number * factor)(6)) == 42


def test_a_redefined_function_runs_its_new_code(client: Client) -> None:
    @task
    def answer() -> int:
        return 1

    assert client.compute(answer()) == 1

    @task  # type: ignore[no-redef]
    def answer() -> int:
        return 2

    assert client.compute(answer()) == 2


def test_more_inputs_than_one_task_may_have(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config, "MAXIMUM_INPUTS", 100)
    single = inc.with_options(batch_size=1)
    assert client.compute(total(single.map(range(150)))) == sum(range(1, 151))


def test_arrays(client: Client) -> None:
    @task
    def double(array: Any) -> Any:
        return array * 2

    array = np.arange(300_000, dtype=np.float64)
    assert np.array_equal(client.compute(double(double(array))), array * 4)


def test_a_deep_chain(client: Client) -> None:
    value = inc(0)
    for _ in range(300):
        value = inc(value)
    assert client.compute(value) == 301


def test_put_uploads_once_for_many_tasks(client: Client) -> None:
    table = client.put({"a": 1, "b": 2})

    @task
    def look_up(key: str, table: dict[str, int]) -> int:
        return table[key]

    assert client.compute(look_up.map(["a", "b", "a"], table=table)) == [1, 2, 1]


def test_a_future_is_an_argument(client: Client) -> None:
    one = client.submit(inc(0))
    many = client.submit(inc.map(range(3)))
    assert client.compute(add(one, 1)) == 2
    assert client.compute(total(many)) == 6


def test_slices_of_a_collection_are_collections(client: Client) -> None:
    numbers: DelayedList[int] = inc.map(range(30))
    assert client.compute(numbers[10:20].reduce(add)) == sum(range(11, 21))


def test_ten_thousand_calls_in_one_graph(client: Client) -> None:
    count = 10_000 if "batch" in client.extensions else 1_000
    numbers = client.compute([inc(number) for number in range(count)])
    assert numbers == list(range(1, count + 1))


def test_operators_as_tasks(client: Client) -> None:
    numbers = itertools.count()
    first = itertools.islice(numbers, 100)
    assert client.compute(items(first).reduce(operator.add)) == 4950
