"""Options of the client and of blocks hold everywhere, on every path to a worker."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import armoflow
from armoflow import Client, items, task
from armoflow.errors import SubmissionError
from tests.integration.engines import Up


def once(place: Path, name: object) -> None:
    """Raise for the first time that this name is met."""
    file = place / str(name)
    if not file.exists():
        file.touch()
        raise RuntimeError(f"{name}: the first time")


@task
def flaky(number: int, *, place: Path, name: str = "flaky") -> int:
    once(place, f"{name}{number}")
    return number + 1


@task
def is_even(number: int, *, place: Path) -> bool:
    once(place, f"even{number}")
    return number % 2 == 0


@task
def combine(first: Any, second: Any) -> Any:
    place, number = first
    once(place, f"combine{second[1]}")
    return place, number + second[1]


@task
def listing(place: Path, count: int) -> list[int]:
    once(place, "listing")
    return list(range(count))


@task
def pairs(place: Path, count: int) -> list[tuple[Path, int]]:
    return [(place, number) for number in range(count)]


@task
def nested(place: Path, depth: int) -> Any:
    once(place, f"nested{depth}")
    return nested(place, depth - 1) if depth else flaky(0, place=place)


@task
def returned_map(number: int, place: Path) -> Any:
    return flaky.map(listing(place, 3), place=place, name=f"child{number}").map(
        flaky, place=place, name=f"chained{number}"
    )


@task
def returned_calls(place: Path) -> Any:
    return {"calls": [flaky(number, place=place) for number in range(3)]}


@task
def second_of(pair: tuple[Path, int]) -> int:
    return pair[1]


GRAPHS: dict[str, tuple[Callable[[Path], Any], Any]] = {
    "call": (lambda p: flaky(1, place=p), 2),
    "siblings": (lambda p: [flaky(number, place=p) for number in range(3)], [1, 2, 3]),
    "chain": (lambda p: flaky(flaky(1, place=p, name="a"), place=p), 3),
    "map": (lambda p: flaky.map([1, 2], place=p), [2, 3]),
    "filter": (lambda p: items([1, 2, 3]).filter(is_even, place=p), [2]),
    "reduce": (lambda p: second_of(items([(p, n) for n in range(4)]).reduce(combine)), 6),
    "fold": (lambda p: second_of(items([(p, n) for n in range(4)]).fold(combine)), 6),
    "map over a value": (lambda p: flaky.map(listing(p, 3), place=p), [1, 2, 3]),
    "filter over a value": (
        lambda p: flaky.map(listing(p, 3), place=p).filter(is_even, place=p).gather(),
        [2],
    ),
    "reduce over a value": (lambda p: second_of(as_items(pairs(p, 4)).reduce(combine)), 6),
    "fold over a value": (lambda p: second_of(as_items(pairs(p, 4)).fold(combine)), 6),
    "returned graphs": (lambda p: nested(p, 3), 1),
    "returned map": (lambda p: returned_map(0, p), [2, 3, 4]),
    "graphs in a map": (lambda p: returned_map.map([0, 1], place=p), [[2, 3, 4]] * 2),
    "returned container": (returned_calls, {"calls": [1, 2, 3]}),
    "after a returned graph": (lambda p: flaky(nested(p, 1), place=p, name="after"), 2),
    "map after returned graphs": (
        lambda p: nested.map([p], depth=1).map(flaky, place=p, name="after"),
        [2],
    ),
}


@task
def same(value: Any) -> Any:
    return value


def as_items(value: Any) -> Any:
    """The items of a value that is known only when the graph runs."""
    return same.map(value)


@pytest.fixture(params=["local", "batch", "standard"])
def connect(request: pytest.FixtureRequest, engine: Up) -> Callable[..., Client]:
    """A client by each of its ways to a worker."""
    if request.param == "local":
        return lambda **options: Client(local=True, backoff=0.01, **options)
    extensions = request.param == "batch"
    return lambda **options: Client(
        engine.endpoint, workers=2, extensions=extensions, backoff=0.01, **options
    )


@pytest.fixture
def places(tmp_path: Path) -> Iterator[Path]:
    """A new directory for each graph."""

    def make() -> Iterator[Path]:
        number = 0
        while True:
            place = tmp_path / str(number)
            place.mkdir()
            yield place
            number += 1

    yield make()  # type: ignore[misc]


def test_options_of_the_client_hold_everywhere(connect: Any, places: Iterator[Path]) -> None:
    with connect(retries=1) as client:
        for name, (build, expected) in GRAPHS.items():
            assert client.compute(build(next(places))) == expected, name


def test_options_of_a_block_hold_in_what_is_computed_in_it(
    connect: Any, places: Iterator[Path]
) -> None:
    with connect() as client:
        for name, (build, expected) in GRAPHS.items():
            graph = build(next(places))
            with armoflow.options(retries=1, backoff=0.01):
                assert client.compute(graph) == expected, name


def test_options_of_a_block_hold_in_what_was_called_in_it(
    connect: Any, places: Iterator[Path]
) -> None:
    with connect() as client:
        for name, (build, expected) in GRAPHS.items():
            with armoflow.options(retries=1, backoff=0.01):
                graph = build(next(places))
            assert client.compute(graph) == expected, name


def test_submit_and_iteration_take_the_block_that_they_are_in(
    connect: Any, places: Iterator[Path]
) -> None:
    with connect() as client:
        with armoflow.options(retries=1, backoff=0.01):
            futures = client.map(nested, [next(places), next(places)], depth=1)
            one = client.submit(nested(next(places), 1))
            iteration = client.as_completed(flaky.map([1, 2], place=next(places)))
        assert client.gather([*futures, one]) == [1, 1, 1]
        assert sorted(future.result() for future in iteration) == [2, 3]


def test_the_nearest_to_the_call_wins(connect: Any, places: Iterator[Path]) -> None:
    with connect(retries=1) as client:
        graph = flaky.with_options(retries=0)(1, place=next(places))
        with pytest.raises(RuntimeError, match="the first time"):
            client.compute(graph)
        with armoflow.options(retries=0):
            inner = flaky(1, place=next(places))
            with armoflow.options(retries=1):
                assert client.compute(flaky(1, place=next(places))) == 2
        with armoflow.options(retries=1), pytest.raises(RuntimeError, match="the first time"):
            client.compute(inner)


def test_the_task_s_own_options_are_not_those_of_the_graph_that_it_returns(
    connect: Any, places: Iterator[Path]
) -> None:
    with connect() as client, pytest.raises(RuntimeError, match="nested0"):
        client.compute(nested.with_options(retries=1)(next(places), 1))


@task
def blocked(place: Path, retries: int) -> Any:
    with armoflow.options(retries=retries):
        return flaky(1, place=place)


def test_a_block_inside_a_task_holds_in_what_it_returns(
    connect: Any, places: Iterator[Path]
) -> None:
    with connect() as client:
        assert client.compute(blocked(next(places), 1)) == 2
        with armoflow.options(retries=1), pytest.raises(RuntimeError):
            client.compute(blocked(next(places), 0))


def test_each_call_over_a_value_keeps_the_block_that_it_was_made_in(
    connect: Any, places: Iterator[Path]
) -> None:
    with connect() as client:
        place = next(places)
        values = same([1, 2])
        with armoflow.options(retries=1, backoff=0.01):
            first = flaky.map(values, place=place)
        with pytest.raises(RuntimeError, match="later"):
            client.compute(first.map(flaky, place=place, name="later").gather())
        with armoflow.options(retries=1, backoff=0.01):
            both = first.map(flaky, place=place, name="latest")
        assert client.compute(both) == [3, 4]


def test_partitions_and_priorities_of_blocks_are_checked_before_anything_is_sent(
    client: Client,
) -> None:
    own = same.with_options(partition="default", priority=1)
    with armoflow.options(partition="nowhere"):
        graph = own(1)  # the graph that it may return would wait for ever
    with pytest.raises(SubmissionError, match="'nowhere'"):
        client.compute(graph)
    with armoflow.options(priority=11), pytest.raises(SubmissionError, match="priority 11"):
        client.compute(same(1))
    with contextlib.ExitStack() as stack:
        stack.enter_context(armoflow.options(priority=11))
        stack.enter_context(armoflow.options(priority=2))
        assert client.compute(same(1)) == 1
