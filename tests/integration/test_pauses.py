"""A retry's pause through every door: what else there is to do is done meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from armoflow import Client, task
from tests.integration.engines import EMBEDDED, STOCK, Up

PAUSE = 0.05
LONG = 300.0


def flaky(log: Path, name: str, failing: list[Any], **options: Any) -> Any:
    """A task of one or two arguments that notes its first one; some fail the first time."""
    place = str(log / name)

    def noted(first: Any, *others: Any) -> Any:
        with Path(place).open("a") as file:
            file.write(f"{first}\n")
        if first in failing and Path(place).read_text().split().count(str(first)) == 1:
            raise RuntimeError("the first attempt")
        return first + sum(others)

    settings = {"retries": 1, "backoff": PAUSE, **options}
    return task(**settings)(noted).with_options(name=name)


def order(log: Path, name: str) -> list[int]:
    return [int(line) for line in (log / name).read_text().split()]


DOORS = {
    "embedded": (EMBEDDED, True),
    "embedded, standard calls": (EMBEDDED, False),
    "stock": (STOCK, True),
}


@pytest.fixture(scope="module", params=DOORS)
def door(request: pytest.FixtureRequest, engine_with: Callable[..., Up]) -> Iterator[Client]:
    arguments, extensions = DOORS[request.param]
    with Client(engine_with(*arguments).endpoint, workers=2, extensions=extensions) as client:
        yield client


FAILING = [0, 3, 7]
AFTERWARDS = [*range(10), *FAILING]


def test_items_of_a_map_wait_together(door: Client, tmp_path: Path) -> None:
    noted = flaky(tmp_path, "f", FAILING, batch_size=10)
    assert door.compute(noted.map(range(10))) == list(range(10))
    assert order(tmp_path, "f") == AFTERWARDS


def test_items_of_a_starmap_wait_together(door: Client, tmp_path: Path) -> None:
    noted = flaky(tmp_path, "f", FAILING, batch_size=10)
    pairs = [(number, 1) for number in range(10)]
    assert door.compute(noted.starmap(pairs)) == [number + 1 for number in range(10)]
    assert order(tmp_path, "f") == AFTERWARDS


def test_a_filter_waits_as_a_map_does(door: Client, tmp_path: Path) -> None:
    keep = flaky(tmp_path, "f", FAILING, batch_size=10)
    source = task(batch_size=10)(abs).map(range(10))
    assert door.compute(source.filter(keep)) == list(range(1, 10))
    assert order(tmp_path, "f") == AFTERWARDS


def test_fused_steps_wait_each(door: Client, tmp_path: Path) -> None:
    first = flaky(tmp_path, "f", FAILING, batch_size=10)
    second = flaky(tmp_path, "g", FAILING, batch_size=10)
    assert door.compute(first.map(range(10)).map(second)) == list(range(10))
    assert order(tmp_path, "f") == order(tmp_path, "g") == AFTERWARDS


def test_calls_and_chains_are_tried_again(door: Client, tmp_path: Path) -> None:
    first, second = flaky(tmp_path, "f", [1, 2]), flaky(tmp_path, "g", [2])
    assert door.compute(second(first(1)), second(first(2)), first(5)) == (1, 2, 5)
    assert sorted(order(tmp_path, "f")) == [1, 1, 2, 2, 5]
    assert sorted(order(tmp_path, "g")) == [1, 2, 2]


def test_a_reduction_is_tried_again_where_it_failed(door: Client, tmp_path: Path) -> None:
    add = flaky(tmp_path, "f", [1, 3], retries=1)
    source = task(abs).map([1] * 8)
    assert door.compute(source.reduce(add, fan_in=8)) == 8
    assert order(tmp_path, "f") == [1, 1, 2, 3, 3, 4, 5, 6, 7]


def test_tasks_that_a_task_returns_wait_as_others(door: Client, tmp_path: Path) -> None:
    noted = flaky(tmp_path, "f", FAILING, batch_size=10)

    @task
    def parent(count: int) -> Any:
        return noted.map(range(count))

    assert door.compute(parent(10)) == list(range(10))
    assert order(tmp_path, "f") == AFTERWARDS


def test_a_parent_that_fails_first_returns_its_graph_later(door: Client, tmp_path: Path) -> None:
    start = flaky(tmp_path, "f", [4])
    double = task(lambda number: 2 * number)

    @task(retries=1, backoff=PAUSE)
    def parent(number: int) -> Any:
        mark = tmp_path / "parent"
        if not mark.exists():
            mark.touch()
            raise RuntimeError("the first attempt")
        return double(start(number))

    assert door.compute(parent(4)) == 8
    assert order(tmp_path, "f") == [4, 4]


@pytest.mark.parametrize("extensions", [True, False])
def test_the_only_worker_is_free_in_a_pause(tmp_path: Path, extensions: bool) -> None:
    """Alone or in a pack, what waits for longer than the test does not stand in the way."""
    lone = flaky(tmp_path, "lone", [1], backoff=LONG)
    pack = flaky(tmp_path, "pack", [3], backoff=LONG, batch_size=10)
    other = flaky(tmp_path, "other", [])
    with Client(workers=1, extensions=extensions) as client:
        waiting = [client.submit(lone(1)), client.submit(pack.map(range(10)))]
        await_lines(client, tmp_path / "lone", 1)
        await_lines(client, tmp_path / "pack", 10)
        assert client.compute(other.map(range(5))) == list(range(5))
        assert not any(future.done() for future in waiting)
        assert all(future.cancel() for future in waiting)
        assert client.compute(other(7)) == 7
    assert order(tmp_path, "lone") == [1]
    assert order(tmp_path, "pack") == list(range(10))


def await_lines(client: Client, log: Path, count: int) -> None:
    """Calls that end say that time has passed for the others, too."""
    nothing = task(lambda: None)
    while not log.exists() or len(log.read_text().split()) < count:
        client.compute(nothing())


@pytest.mark.parametrize("door_name", ["compute", "submit", "map", "as_completed"])
def test_local_runs_sleep_and_have_the_same_values(door_name: str, tmp_path: Path) -> None:
    noted = flaky(tmp_path, "f", FAILING)
    doors: dict[str, Callable[[Client], list[int]]] = {
        "compute": lambda client: client.compute(noted.map(range(10))),
        "submit": lambda client: client.submit(noted.map(range(10))).result(),
        "map": lambda client: [future.result() for future in client.map(noted, range(10))],
        "as_completed": lambda client: [
            future.result() for future in client.as_completed(noted.map(range(10)))
        ],
    }
    with Client(local=True) as client:
        assert sorted(doors[door_name](client)) == list(range(10))
