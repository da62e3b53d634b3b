"""Cached maps of which items here and there are new: these travel in packs, by every door."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import armoflow
from armoflow import Client, task
from armoflow.errors import WorkerDiedError
from tests.integration.engines import Up
from tests.integration.looking import Looking
from tests.integration.test_caching import Counter, add, counter, double, is_even, plain, split

__all__ = ["counter"]

MANY = 200
EACH = 10
"""One of so many items is new."""


@task(cache=True)
def fragile(number: int, counter: Counter, until: Path) -> int:
    counter.ran(number)
    if number % 60 == 0 and not until.exists():
        raise ValueError(f"no {number}")
    return number


@task(cache=True, retries=1, backoff=0)
def second_time(number: int, counter: Counter) -> int:
    counter.ran(number)
    if armoflow.current_task().attempt == 1:
        raise ValueError("try again")
    return number


@task(cache=True, crash_retries=0)
def deadly(number: int, counter: Counter) -> int:
    counter.ran(number)
    if number == 36:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


@task(cache=True)
def summed(first: int, second: int, counter: Counter) -> int:
    counter.ran(first)
    return first + second


@task(cache=True)
def gated(number: int, counter: Counter, gate: Path) -> int:
    counter.ran(number)
    while not gate.exists():
        time.sleep(0.01)
    return number


@task
def inner(number: int) -> int:
    return number + 1


@task(cache=True)
def returning(count: int, counter: Counter) -> list[int]:
    return double.map(range(count), counter=counter).gather()  # type: ignore[return-value]


@task
def negated(number: int) -> int:
    return -number


def _tasks(engine: Up) -> list[Any]:
    """The tasks of the newest session."""
    looking = Looking(engine)
    return looking.tasks([*looking.sessions()][-1])


def _holes(numbers: range) -> list[int]:
    """The same, but for some."""
    return [number for number in numbers if number % EACH]


DOORS: dict[str, Callable[[Client, Any], object]] = {
    "compute": lambda client, xs: client.compute(xs),
    "submit": lambda client, xs: client.submit(xs.gather()).result(),
    "fail_fast": lambda client, xs: client.compute(xs, fail_fast=True),
    "as_completed": lambda client, xs: sorted(
        future.result() for future in client.as_completed(xs)
    ),
}


def test_each_may_be_asked_for_and_given_up_for_itself(
    engine: Up, counter: Counter, tmp_path: Path
) -> None:
    numbers, gate = range(60), tmp_path / "gate"
    waiting = gated.with_options(batch_size=3)
    with Client(engine.endpoint, workers=2) as client:
        gate.touch()
        client.compute(waiting.map(_holes(numbers), counter=counter, gate=gate))
        gate.unlink()
        counter.new()
        futures = client.map(waiting, numbers, counter=counter, gate=gate)
        assert [futures[at].result() for at in (1, 29)] == [1, 29]  # they are known
        assert futures[20].cancel() and not futures[21].cancel()
        gate.touch()
        others = [future for at, future in enumerate(futures) if at != 20]
        assert client.gather(others) == [number for number in numbers if number != 20]
        assert futures[20].cancelled()


@pytest.mark.parametrize("door", DOORS)
def test_new_items_between_those_that_are_known_share_tasks(
    engine: Up, counter: Counter, door: str
) -> None:
    numbers = range(MANY)
    with Client(engine.endpoint, workers=2) as client:
        client.compute(double.map(_holes(numbers), counter=counter))
    counter.new()
    with Client(engine.endpoint, workers=2) as client:
        packs = double.with_options(batch_size=5).map(numbers, counter=counter)
        assert DOORS[door](client, packs) == [2 * number for number in numbers]
        assert counter.new() == MANY // EACH
        copying = 1 if door == "submit" else 0
        assert len(_tasks(engine)) == MANY // EACH // 5 + copying
        assert client.compute(double.map(numbers, counter=counter).reduce(add)) == 39_800
        assert counter.new() == 0
    with Client(engine.endpoint, workers=2) as client:
        assert client.compute(double.map(numbers, counter=counter))[-1] == 398
        assert counter.new() == 0


def test_whoever_reads_them_gets_each_in_its_place(engine: Up, counter: Counter) -> None:
    numbers = range(MANY)
    with Client(engine.endpoint, workers=2) as client:
        client.compute(double.map(_holes(numbers), counter=counter))
        client.compute(*split.map(_holes(numbers), counter=counter))
        client.compute(armoflow.items(_holes(numbers)).filter(is_even, counter=counter))
        counter.new()
        xs = double.map(numbers, counter=counter)
        tens, ones = split.map(numbers, counter=counter)
        even = armoflow.items(numbers).filter(is_even, counter=counter)
        assert client.compute(negated.map(xs)) == [-2 * number for number in numbers]
        assert client.compute(add.map(tens, ones)) == [n // 10 + n % 10 for n in numbers]
        assert client.compute(add.starmap(xs.zip(ones)))[95] == 190 + 5
        assert client.compute(xs[5::7], xs[10]) == ([2 * n for n in numbers[5::7]], 20)
        assert client.compute(negated.map(even)) == [-n for n in numbers[::2]]
        assert counter.new() == 3 * MANY // EACH


def test_nothing_runs_for_items_that_are_known(engine: Up, counter: Counter) -> None:
    with Client(engine.endpoint, workers=2) as client:
        for numbers, new in ((_holes(range(MANY)), 180), (range(MANY), 20), (range(5, 215), 15)):
            loaded = plain.map(numbers, counter=counter)
            assert client.compute(double.map(loaded, counter=counter)) == [
                2 * number + 2 for number in numbers
            ]
            assert counter.new() == 2 * new
        both = client.compute(loaded, double.map(loaded, counter=counter))
        assert [len(values) for values in both] == [210, 210]
        assert counter.new() == 210


def test_nothing_runs_for_known_items_of_what_is_zipped(engine: Up, counter: Counter) -> None:
    with Client(engine.endpoint, workers=2) as client:
        for numbers, new in ((_holes(range(MANY)), 180), (range(MANY), 20)):
            twice = plain.map(plain.map(numbers, counter=counter), counter=counter)
            both = twice.zip(plain.map(numbers, counter=counter))
            assert client.compute(summed.starmap(both, counter=counter)) == [
                2 * number + 3 for number in numbers
            ]
            assert counter.new() == 4 * new


def test_only_what_somebody_needs_is_made(engine: Up, counter: Counter) -> None:
    numbers = range(MANY)
    values = [number + 1 for number in numbers]
    with Client(engine.endpoint, workers=2) as client:
        for chosen in (slice(90, 95), slice(None, None, -30), slice(5, 5)):
            xs = plain.map(numbers, counter=counter)
            assert client.compute(xs[chosen]) == values[chosen]
            assert counter.new() == len(numbers[chosen])
        xs = plain.map(numbers, counter=counter)
        assert client.compute(xs[:9], xs[50:60][::2], xs[7]) == (values[:9], values[50:60:2], 8)
        assert counter.new() == 9 + 5
        some = plain.map(_holes(numbers), counter=counter)
        client.compute(double.map(some, counter=counter))
        counter.new()
        doubled = double.map(xs, counter=counter)
        both = summed.starmap(doubled.zip(xs)[10:40], counter=counter)
        assert client.compute(both, xs[:3]) == ([3 * v for v in values[10:40]], values[:3])
        assert counter.new() == 30 + 3 + 30 + 3  # plain is not kept: of double three are new


@pytest.mark.parametrize("door", ["submit", "a named run", "as an argument"])
def test_slices_make_only_what_is_needed_by_every_door(
    engine: Up, counter: Counter, door: str
) -> None:
    with Client(engine.endpoint, workers=2) as client:
        client.compute(double.map(range(92), counter=counter)[88:])
        assert counter.new() == 4
        some = double.map(range(MANY), counter=counter)[90:95]
        if door == "submit":
            assert client.submit(some).result() == [180, 182, 184, 186, 188]
        elif door == "a named run":
            name = f"slices-{random.random()}"
            assert client.submit(some, name=name).result() == [180, 182, 184, 186, 188]
        else:
            assert client.compute(task(sum)(some)) == 920
        assert counter.new() == 3  # two of them are known


def test_errors_and_retries_are_those_of_the_item(
    engine: Up, counter: Counter, tmp_path: Path
) -> None:
    numbers, until = range(MANY), tmp_path / "until"
    with Client(engine.endpoint, workers=2) as client:
        client.compute(fragile.map(_holes(numbers), counter=counter, until=until))
        counter.new()
        xs = fragile.map(numbers, counter=counter, until=until)
        values = client.gather(client.submit(xs), return_exceptions=True)
        failed = {at: value for at, value in enumerate(values) if isinstance(value, Exception)}
        assert {at: str(error) for at, error in failed.items()} == {
            at: f"no {at}" for at in (0, 60, 120, 180)
        }
        paths = [error.__cause__.path for error in failed.values()]  # type: ignore[union-attr]
        assert paths == [["fragile[0]"], ["fragile[60]"], ["fragile[120]"], ["fragile[180]"]]
        skipped = client.gather(client.submit(negated.map(xs)), return_exceptions=True)
        assert [at for at, value in enumerate(skipped) if isinstance(value, Exception)] == [*failed]
        counter.new()
        enough = fragile.with_options(on_failure="skip", min_success=0.9)
        most = enough.map(numbers, counter=counter, until=until)
        assert len(client.compute(most)) == MANY - len(failed)
        instead = fragile.with_options(on_failure=-1).map(numbers, counter=counter, until=until)
        assert [at for at, v in enumerate(client.compute(instead)) if v == -1] == [*failed]
        counter.new()
        until.touch()
        assert client.compute(fragile.map(numbers, counter=counter, until=until)) == [*numbers]
        assert counter.new() == len(failed)
        client.compute(second_time.map(_holes(numbers), counter=counter))
        counter.new()
        assert client.compute(second_time.map(numbers, counter=counter)) == [*numbers]
        assert counter.new() == 2 * MANY // EACH


def test_a_resumed_run_packs_what_had_failed(
    engine: Up, counter: Counter, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    until = tmp_path / "until"
    uncached = fragile.with_options(cache=False, batch_size=10)
    packed = plain.with_options(batch_size=10)
    graph = packed.map(uncached.map(range(600), counter=counter, until=until), counter=counter)
    with Client(engine.endpoint, workers=2) as client:
        assert isinstance(client.submit(graph, name=request.node.name).exception(), ValueError)
        assert counter.new() == 600 + 590
    until.touch()
    before = {task.id for task in _tasks(engine)}
    with Client(engine.endpoint, workers=2) as client:
        future = client.submit(graph, name=request.node.name)
        assert future.result() == [number + 1 for number in range(600)]
        assert counter.new() == 10 + 10
        again = [task.id for task in _tasks(engine) if task.id not in before]
        assert len(again) == 2
    with Client(engine.endpoint, workers=2) as client:
        assert client.attach(request.node.name).result()[-1] == 600
        assert counter.new() == 0


def test_a_process_that_dies_costs_the_item_that_it_ran(engine: Up, counter: Counter) -> None:
    numbers = range(40)
    with Client(engine.endpoint, workers=2) as client:
        client.compute(deadly.map([n for n in numbers if n % 3], counter=counter))
        values = client.gather(
            client.submit(deadly.map(numbers, counter=counter)), return_exceptions=True
        )
    (error,) = [value for value in values if isinstance(value, Exception)]
    assert isinstance(error, WorkerDiedError) and "deadly[36]" in str(error)
    assert [*values[:36], *values[37:]] == [n for n in numbers if n != 36]


ODD: dict[str, tuple[list[int], list[int], int]] = {
    "the same item twice, known": ([1, 2], [1, 2, 1, 2], 0),
    "the same item twice, new": ([1, 2], [1, 3, 2, 3], 2),  # as two equal calls of a graph
    "none": ([], [], 0),
    "one, known": ([1], [1], 0),
    "one, new": ([], [1], 1),
    "only the last is known": ([9], [*range(10)], 9),
    "only the first is known": ([0], [*range(10)], 9),
    "only the last is new": ([*range(9)], [*range(10)], 1),
    "only the first is new": ([*range(1, 10)], [*range(10)], 1),
    "in another order": ([*range(10)], [*range(9, -1, -1)], 0),
    "every second": ([*range(0, 40, 2)], [*range(40)], 20),
}


@pytest.mark.parametrize("size", [None, 1, 3])
def test_odd_maps(engine: Up, counter: Counter, size: int | None) -> None:
    with Client(engine.endpoint, workers=2) as client:
        for number, (before, after, new) in enumerate(ODD.values()):
            sized = double.with_options(version=str(number), batch_size=size)
            client.compute(sized.map(before, counter=counter))
            counter.new()
            values = client.compute(sized.map(after, counter=counter))
            assert values == [2 * item for item in after], [*ODD][number]
            assert counter.new() == new, [*ODD][number]


@pytest.mark.parametrize("seed", range(4))
def test_maps_drawn_by_chance(engine: Up, counter: Counter, seed: int) -> None:
    chance = random.Random(seed)
    version = f"{seed}"
    with armoflow.options(version=version), Client(engine.endpoint, workers=2) as client:
        for _ in range(5):
            size = chance.choice([None, 1, 2, 7])
            numbers = [chance.randrange(60) for _ in range(chance.randrange(40))]
            pairs = [chance.randrange(3) for _ in numbers]
            doubled = double.with_options(batch_size=size)
            once = doubled.map(numbers, counter=counter)
            graphs: list[tuple[Any, list[int]]] = [
                (once, [2 * n for n in numbers]),
                (
                    summed.map(once, pairs, counter=counter),
                    [2 * n + p for n, p in zip(numbers, pairs, strict=True)],
                ),
                (doubled.map(once, counter=counter), [4 * n for n in numbers]),
                (
                    doubled.map([inner(n) for n in numbers[:5]], counter=counter),
                    [2 * n + 2 for n in numbers[:5]],
                ),
                (
                    armoflow.items(numbers).filter(is_even, counter=counter),
                    [n for n in numbers if n % 2 == 0],
                ),
                (
                    doubled.map(numbers[::-1], counter=counter)[2:9:3],
                    [2 * n for n in numbers[::-1]][2:9:3],
                ),
            ]
            chosen = chance.sample(graphs, 3)
            values = client.compute(*[graph for graph, _ in chosen])
            assert list(values) == [expected for _, expected in chosen]
            counter.new()
            again = client.compute(*[graph for graph, _ in chosen])
            assert list(again) == list(values)
            assert counter.new() == 0


def test_a_task_that_returns_a_cached_map_is_kept_as_a_whole(engine: Up, counter: Counter) -> None:
    with Client(engine.endpoint, workers=2) as client:
        client.compute(double.map(_holes(range(40)), counter=counter))
        counter.new()
        for ran in (40, 0):
            assert client.compute(returning(40, counter)) == [2 * n for n in range(40)]
            assert counter.new() == ran


def test_in_the_debug_mode_all_items_run(counter: Counter) -> None:
    with Client(local=True) as client:
        for _ in range(2):
            assert client.compute(double.map(range(5), counter=counter)) == [0, 2, 4, 6, 8]
            assert counter.new() == 5
