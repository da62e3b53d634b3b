"""What stands in the place of values that could not be made: ``on_failure`` and ``min_success``."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import pytest

from armoflow import Client, options, task
from armoflow.errors import (
    CollectionError,
    GraphError,
    OptionError,
    RemoteTraceback,
    SerializationError,
    TooManyFailuresError,
)
from armoflow.graph.task import Task


@pytest.fixture
def client(anywhere: Client) -> Client:
    return anywhere


@pytest.fixture
def processes(client: Client, request: pytest.FixtureRequest) -> Client:
    """A client whose tasks run in processes that may end."""
    if request.node.callspec.params["anywhere"] == "local":
        pytest.skip("tasks run in this process")
    return client


@task
def inc(number: int) -> int:
    return number + 1


@task
def add(first: int, second: int) -> int:
    return first + second


def _odd(number: int) -> int:
    if number % 2 == 0:
        raise ValueError(f"{number} is even")
    return number


odd = task(name="odd", on_failure="skip")(_odd)
or_zero = task(name="or_zero", on_failure=0, retries=1, backoff=0)(_odd)
told = task(name="told", on_failure=lambda error: f"{type(error).__name__}: {error}")(_odd)


@task(outputs=2, on_failure=lambda error: (str(error), 0))
def pair(number: int) -> tuple[Any, int]:
    return str(_odd(number)), number


@task(on_failure=lambda error: 1 // 0)
def unlucky(number: int) -> int:
    return _odd(number)


@task
def returns_a_graph(count: int) -> Any:
    return odd.map(range(count)).map(inc).gather()


@task
def inc_all(numbers: list[int]) -> list[int]:
    return [number + 1 for number in numbers]


FORMS: dict[str, tuple[Callable[[], Any], Any]] = {
    "items are skipped": (lambda: odd.map(range(6)), [1, 3, 5]),
    "steps after it see what is left": (lambda: odd.map(range(6)).map(inc), [2, 4, 6]),
    "so do reductions": (lambda: odd.map(range(6)).reduce(add), 9),
    "and lists": (lambda: odd.map(range(6)).gather(), [1, 3, 5]),
    "of a filter an item may be skipped": (lambda: inc.map(range(6)).filter(odd), [1, 3, 5]),
    "nothing may be left": (lambda: odd.map([2, 4]), []),
    "a value, of a call": (lambda: or_zero(2), 0),
    "a value, of an item": (lambda: or_zero.map(range(4)), [0, 1, 0, 3]),
    "a value, of many calls": (lambda: inc_all([or_zero(n) for n in range(5)]), [1, 2, 1, 4, 1]),
    "a value, where the call is a step of a chain": (lambda: inc(or_zero(inc(1))), 1),
    "a function of the exception": (
        lambda: told.map(range(2)),
        ["ValueError: 0 is even", 1],
    ),
    "a value for each output": (lambda: pair(2)[0], "2 is even"),
    "in a graph that a task returns": (lambda: returns_a_graph(5), [2, 4]),
    "of a task that has not failed": (lambda: told(1), 1),
}


@pytest.mark.parametrize("form", FORMS)
def test_something_stands_in_the_place_of_what_failed(client: Client, form: str) -> None:
    make, expected = FORMS[form]

    assert client.compute(make()) == expected


def test_it_holds_by_every_door(client: Client) -> None:
    assert client.submit(or_zero, 2).result() == 0
    assert [future.result() for future in client.map(or_zero, range(3))] == [0, 1, 0]
    assert sorted(future.result() for future in client.as_completed(odd.map(range(4)))) == [1, 3]


def test_a_block_may_say_it(client: Client) -> None:
    with options(on_failure=7):
        numbers = inc.map(["a", 1])
    with options(on_failure="skip"):
        some = inc.map(["a", 1])

    assert client.compute(numbers, some) == ([7, 2], [2])


@task
def numbers_to(count: int) -> list[int]:
    return list(range(count))


@task
def returns_a_call(number: int) -> Any:
    return _ODD(number)


@task
def returns_a_map(count: int) -> Any:
    return _ODD.map(numbers_to(count)).gather()


_ODD = task(name="plainly_odd")(_odd)


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: _ODD.map(numbers_to(4)), [7, 1, 7, 3]),
        (lambda: returns_a_call(2), 7),
        (lambda: returns_a_call.map([1, 2]), [1, 7]),
        (lambda: returns_a_map(4), [7, 1, 7, 3]),
        (lambda: returns_a_call.with_options(on_failure=5)(2), 7),  # what the task says is its own
        (lambda: or_zero.map(numbers_to(4)), [0, 1, 0, 3]),
    ],
)
def test_a_block_says_it_of_graphs_that_are_made_later_too(
    client: Client, make: Callable[[], Any], expected: Any
) -> None:
    with options(on_failure=7):
        made = make()
        assert client.compute(make()) == expected

    assert client.compute(made) == expected


def test_what_leaves_items_out_is_said_of_maps_that_are_there(client: Client) -> None:
    with options(on_failure="skip"):
        call = returns_a_call(2)

    with pytest.raises(ValueError, match="2 is even"):
        client.compute(call)


@pytest.mark.parametrize(
    ("make", "path"),
    [
        (lambda: odd(2), ["odd"]),  # a call cannot be left out
        (lambda: or_zero(odd(2)), ["odd", "or_zero"]),  # nor is it this task that failed
        (lambda: or_zero.map([odd.with_options(on_failure="raise")(2)]), ["odd", "or_zero[0]"]),
    ],
)
def test_what_failed_otherwise_stays_an_error(
    client: Client, make: Callable[[], Any], path: list[str]
) -> None:
    with pytest.raises(ValueError, match="2 is even") as raised:
        client.compute(make())

    cause = raised.value.__cause__
    assert isinstance(cause, RemoteTraceback)
    assert cause.path == path


def test_a_function_that_fails_too_is_the_error(client: Client) -> None:
    with pytest.raises(ZeroDivisionError):
        client.compute(unlucky(2))


@task(on_failure=lambda error: type(error).__name__, crash_retries=0, timeout=1)
def ends_badly(number: int) -> Any:
    if number == 3:
        os._exit(9)
    if number == 5:
        time.sleep(60)
    return number


def test_a_graph_is_no_value_that_stands_for_another(client: Client) -> None:
    asked: list[Any] = [task(name="odd", on_failure=lambda error: [inc(1)])(_odd)(2)]
    asked.append(task(name="odd", on_failure=lambda error: inc(1))(_odd).map([1, 2]))
    asked.append(task(name="pair", outputs=2, on_failure=lambda error: (1, inc(1)))(_odd)(2)[0])
    for graph in asked:
        with pytest.raises(GraphError, match="stands for a value, and cannot be lazy"):
            client.compute(graph)


def test_the_function_is_given_what_the_caller_would_see(client: Client) -> None:
    def leave(number: int) -> Any:
        raise SystemExit(number)

    def tell(error: BaseException) -> Any:
        cause = error.__cause__
        assert isinstance(cause, RemoteTraceback)
        return type(error).__name__, str(error), cause.node, cause.attempts

    leaves: Any = task(name="leaves", retries=1, backoff=0, on_failure=tell)(leave)
    assert client.compute(leaves(3)) == ("RemoteTaskError", "SystemExit: 3", "leaves", 2)
    assert client.compute(leaves.map([4]))[0][1:] == ("SystemExit: 4", "leaves[0]", 2)


def test_a_value_that_cannot_be_one_of_the_task_is_a_failure(client: Client) -> None:
    def waits() -> Any:
        async def wait() -> int:
            return 1

        return wait()

    told: Any = lambda error: type(error).__name__  # noqa: E731
    assert client.compute(task(name="waits", on_failure=told)(waits)()) == "SerializationError"
    with pytest.raises(SerializationError, match="give the value that awaiting it gives"):
        client.compute(task(waits)())
    three: Any = task(name="three", outputs=2, on_failure=lambda error: (0, 0))(lambda: (1, 2, 3))
    assert client.compute(three()) == (0, 0)


def test_a_process_that_dies_and_a_timeout_are_failures_too(processes: Client) -> None:
    values = processes.compute(ends_badly.map(range(7)), ends_badly(3), inc_all([ends_badly_as(5)]))

    items = [0, 1, 2, "WorkerDiedError", 4, "TaskTimeoutError", 6]
    assert values == (items, "WorkerDiedError", [11])


def ends_badly_as(number: int) -> Any:
    return ends_badly.with_options(on_failure=10)(number)


# --- how many may fail ----------------------------------------------------------------------------


@task(on_failure="skip", min_success=0.5)
def below(number: int, limit: int) -> int:
    if number >= limit:
        raise ValueError(number)
    return number


def test_some_may_fail_but_not_too_many(client: Client) -> None:
    assert client.compute(below.map(range(10), limit=5)) == [0, 1, 2, 3, 4]
    assert client.compute(below.map(range(10), limit=5).map(inc).reduce(add)) == 15

    with pytest.raises(
        TooManyFailuresError, match=r"6 of 10 items of 'below' failed: .* lets 5 fail"
    ):
        client.compute(below.map(range(10), limit=4))


def test_shares_are_counted_as_people_count(client: Client) -> None:
    share = below.with_options(min_success=0.07)  # 0.07 * 100 is a little more than 7

    assert client.compute(share.map(range(100), limit=7)) == list(range(7))


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: task(on_failure="skp"), "on_failure='skp' is neither 'raise' nor 'skip'"),
        (lambda: task(on_failure=[]), r"write a function that makes it, on_failure=lambda"),
        (lambda: task(min_success=2), "min_success must be a share from 0 to 1, not 2"),
        (lambda: Task(abs).with_options(min_success=0.5).map([1]), "on_failure='skip' too"),
        (lambda: below.map((n for n in [1]), limit=1), "needs a known number of items"),
    ],
)
def test_what_makes_no_sense_is_said_at_once(make: Callable[[], Any], told: str) -> None:
    with pytest.raises(OptionError, match=told):
        make()


def test_how_many_are_left_is_not_known_before() -> None:
    with pytest.raises(CollectionError, match="on_failure='skip' leaves"):
        len(odd.map([1, 2]))


def test_what_was_written_without_a_word_of_it_is_not_left_out(client: Client) -> None:
    numbers = inc.map(range(3))

    with options(on_failure="skip"), pytest.raises(OptionError, match="where a map is written"):
        client.compute(numbers)
