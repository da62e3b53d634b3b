"""Plain calls by every door: their values, errors and cancelling are their own, packed or not."""

from __future__ import annotations

import concurrent.futures
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from armoflow import Client, options, task
from armoflow.errors import SignatureError
from tests.integration.engines import STOCK, Up

PATIENCE = 60.0
COUNT = 300


@task
def double(number: int) -> int:
    return 2 * number


@task
def picky(number: int) -> int:
    if number % 7 == 3:
        raise ValueError(f"not {number}")
    return number


@task
def countdown(number: int) -> Any:
    return countdown(number - 1) if number else "ignition"


def plus(number: int, more: int = 1) -> int:
    return number + more


def total(numbers: list[int]) -> int:
    return sum(numbers)


def by_compute(client: Client, function: Any, arguments: list[Any]) -> list[Any]:
    return list(client.compute([function(argument) for argument in arguments]))


def by_submit(client: Client, function: Any, arguments: list[Any]) -> list[Any]:
    return client.gather([client.submit(function, argument) for argument in arguments])  # type: ignore[no-any-return]


def by_threads(client: Client, function: Any, arguments: list[Any]) -> list[Any]:
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        futures = list(pool.map(lambda argument: client.submit(function, argument), arguments))
    return [future.result(PATIENCE) for future in futures]


def by_map(client: Client, function: Any, arguments: list[Any]) -> list[Any]:
    return client.gather(client.map(function, arguments))  # type: ignore[no-any-return]


Door = Callable[[Client, Any, list[Any]], list[Any]]
DOORS = {"compute": by_compute, "submit": by_submit, "threads": by_threads, "map": by_map}

door = pytest.mark.parametrize("by", DOORS.values(), ids=DOORS)


@pytest.fixture(scope="module")
def stock(engine_with: Callable[..., Up]) -> Up:
    return engine_with(*STOCK)


@pytest.fixture(scope="module", params=["embedded", "stock"])
def client(request: pytest.FixtureRequest) -> Iterator[Client]:
    if request.param == "embedded":
        with Client(workers=2) as embedded:
            yield embedded
    else:
        with Client(request.getfixturevalue("stock").endpoint, workers=2) as connected:
            yield connected


@door
def test_values(client: Client, by: Door) -> None:
    numbers = list(range(COUNT))
    assert by(client, double, numbers) == [2 * number for number in numbers]


@door
def test_plain_functions_and_arguments_of_any_kind(client: Client, by: Door) -> None:
    arguments: list[Any] = [1, 2.5, True, [1, 2], {"a": 1}, "text", (1, (2, 3)), b"bytes"]
    assert by(client, lambda value: [value], arguments) == [[value] for value in arguments]


@door
def test_an_error_is_of_one_call_only(client: Client, by: Door) -> None:
    by(client, picky, [0])  # measured: the others go in packs
    with pytest.raises(ValueError, match="not 3"):
        by(client, picky, list(range(COUNT)))
    futures = [client.submit(picky, number) for number in range(COUNT)]
    for number, future in enumerate(futures):
        error = future.exception(PATIENCE)
        assert (str(error) if error else None) == (f"not {number}" if number % 7 == 3 else None)
        assert error is not None or future.result() == number


@door
def test_calls_that_return_graphs(client: Client, by: Door) -> None:
    assert by(client, countdown, [number % 4 for number in range(20)]) == ["ignition"] * 20


@door
def test_options_of_the_block_hold(client: Client, by: Door) -> None:
    with options(retries=1, timeout=30):
        assert by(client, double, list(range(20))) == list(range(0, 40, 2))


def test_a_function_that_changes_between_calls(client: Client) -> None:
    factor = 1

    def times(number: int) -> int:
        return factor * number

    futures = []
    while factor < 20:
        futures.append(client.submit(times, 10))
        factor += 1
    assert client.gather(futures) == [10 * factor for factor in range(1, 20)]


def test_arguments_are_taken_when_they_are_given(client: Client) -> None:
    growing: list[int] = []
    futures = []
    for number in range(50):
        futures.append(client.submit(len, growing))
        growing.append(number)
    assert client.gather(futures) == list(range(50))


def test_futures_of_calls_are_arguments(client: Client) -> None:
    futures = [client.submit(plus, number) for number in range(100)]
    assert client.submit(total, futures).result(PATIENCE) == sum(range(1, 101))


def test_cancelling_one_of_many_leaves_the_others(client: Client, tmp_path: Path) -> None:
    gate = tmp_path / "gate"

    @task
    def wait(number: int) -> int:
        import time

        while not gate.exists():
            time.sleep(0.01)
        return number

    futures = [client.submit(wait, number) for number in range(10)]
    assert all(future.cancel() for future in futures[5:])
    assert all(future.cancelled() for future in futures[5:])
    gate.touch()
    assert client.gather(futures[:5]) == list(range(5))
    with pytest.raises(concurrent.futures.CancelledError):
        futures[7].result()


def test_cancelling_items_of_a_map(client: Client) -> None:
    futures = client.map(double, range(COUNT))
    cancelled = [future.cancel() for future in futures[::2]]
    assert client.gather(futures[1::2]) == [2 * number for number in range(1, COUNT, 2)]
    for future, was_cancelled in zip(futures[::2], cancelled, strict=True):
        assert future.cancelled() is was_cancelled


def test_what_cannot_be_sent_is_told_by_its_future(client: Client) -> None:
    future = client.submit(plus, threading.Lock())
    with pytest.raises(TypeError, match="argument 'number'"):
        future.result(PATIENCE)


def test_many_calls_are_few_engine_tasks(stock: Up) -> None:
    with Client(stock.endpoint, workers=2) as client:
        assert by_submit(client, double, list(range(10))) == list(range(0, 20, 2))
        before = stock.called().count("Tasks/SubmitTasks")
        assert by_submit(client, double, list(range(COUNT)))[-1] == 2 * (COUNT - 1)
        assert stock.called().count("Tasks/SubmitTasks") - before < COUNT / 10


def test_closing_ends_what_waits(tmp_path: Path) -> None:
    with Client(workers=1) as client:
        futures = [client.submit(plus, number) for number in range(10_000)]
    assert all(future.done() for future in futures)


def test_a_map_over_what_is_no_iterable_is_refused(client: Client) -> None:
    number: Any = 5
    with pytest.raises(SignatureError, match="needs an iterable, not 5"):
        client.map(double, number)
