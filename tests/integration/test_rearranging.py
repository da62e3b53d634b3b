"""Collections flattened, cut, numbered and zipped strictly; calls that are made on a condition."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from armoflow import Client, DelayedList, items, task, zip_items
from armoflow.errors import CollectionError, OptionError, RemoteTraceback, SignatureError


@pytest.fixture
def client(anywhere: Client) -> Client:
    return anywhere


@task
def inc(number: int) -> int:
    return number + 1


@task
def is_even(number: int) -> bool:
    return number % 2 == 0


@task
def add(first: Any, second: Any) -> Any:
    return first + second


@task
def words(line: str) -> list[str]:
    return line.split()


@task
def tag(number: int, word: Any) -> str:
    return f"{number}:{word}"


@task
def total(numbers: list[int]) -> int:
    return sum(numbers)


@task
def some(count: int) -> list[int]:
    return list(range(count))


@task
def grown(count: int) -> Any:
    pairs = inc.map(range(count)).batched(2).map(total).enumerate(1)
    return pairs.starmap(tag).zip(range(3), strict=True).starmap(_first).gather()


def _first(word: str, _number: int) -> str:
    return word


LINES = ["to be", "or not", "", "to be"]
FLAT = ["to", "be", "or", "not", "to", "be"]

FORMS: dict[str, tuple[Callable[[], Any], Any]] = {
    "flatten": (lambda: words.map(LINES).flatten(), FLAT),
    "flatten, then more": (lambda: words.map(LINES).flatten().map(len).reduce(add), 13),
    "flatten of what is here": (lambda: items([[1], [2, 3]]).flatten(), [1, 2, 3]),
    "flatten of nothing": (lambda: words.map([]).flatten(), []),
    "flatten twice": (lambda: items([[[1], [2]], [[3]]]).flatten().flatten(), [1, 2, 3]),
    "flatten of what a filter leaves": (
        lambda: words.map(LINES).filter(len).flatten().filter(lambda word: word != "to"),
        ["be", "or", "not", "be"],
    ),
    "batched": (lambda: inc.map(range(7)).batched(3), [[1, 2, 3], [4, 5, 6], [7]]),
    "batched, then more": (lambda: inc.map(range(7)).batched(3).map(total), [6, 15, 7]),
    "batched of what is here": (lambda: items(range(5)).batched(2).map(total), [1, 5, 4]),
    "batched of an iterator": (
        lambda: items(number for number in range(5)).batched(2).map(total),
        [1, 5, 4],
    ),
    "batched of a set": (lambda: items({5}).batched(2), [[5]]),
    "batched of what a filter leaves": (
        lambda: inc.map(range(6)).filter(is_even).batched(2),
        [[2, 4], [6]],
    ),
    "batched of what only the graph knows": (
        lambda: inc.map(some(3)).batched(2).map(total),
        [3, 3],
    ),
    "enumerate": (lambda: inc.map(range(3)).enumerate(5), [(5, 1), (6, 2), (7, 3)]),
    "enumerate, then more": (
        lambda: words.map(LINES).flatten().enumerate().starmap(tag),
        [f"{number}:{word}" for number, word in enumerate(FLAT)],
    ),
    "enumerate of an iterator": (
        lambda: inc.map(number for number in range(3)).enumerate(),
        [(0, 1), (1, 2), (2, 3)],
    ),
    "enumerate of what a filter leaves": (
        lambda: inc.map(range(6)).filter(is_even).enumerate(),
        [(0, 2), (1, 4), (2, 6)],
    ),
    "enumerate of what only the graph knows": (
        lambda: inc.map(some(3)).enumerate(1),
        [(1, 1), (2, 2), (3, 3)],
    ),
    "zip of the same length": (
        lambda: inc.map(range(3)).zip("abc", strict=True),
        [(1, "a"), (2, "b"), (3, "c")],
    ),
    "zip of lengths that are not known": (
        lambda: inc.map(number for number in range(3)).zip((c for c in "abc"), strict=True),
        [(1, "a"), (2, "b"), (3, "c")],
    ),
    "all of it in a graph that a task returns": (
        lambda: grown(5),
        ["1:3", "2:7", "3:5"],
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_collections_are_rearranged_as_in_python(client: Client, form: str) -> None:
    make, expected = FORMS[form]

    assert client.compute(make()) == expected


@pytest.mark.parametrize(
    "make",
    [
        lambda: zip_items(inc.map(n for n in range(3)), (n for n in range(5)), strict=True),
        lambda: zip_items(inc.map(n for n in range(5)), (n for n in range(3)), strict=True),
        lambda: zip_items(range(3), range(3), (n for n in range(2)), strict=True),
        lambda: inc.map(some(3)).zip(range(5), strict=True),
        lambda: inc.map(some(3)).zip(range(2), strict=True),
    ],
)
def test_a_strict_zip_does_not_end_with_the_shortest(
    client: Client, make: Callable[[], DelayedList[Any]]
) -> None:
    with pytest.raises(CollectionError, match=r"zip\(strict=True\)"):
        client.compute(make())


@pytest.mark.parametrize(
    ("item", "told"), [(7, "item 1 is 7, of type int"), ("ab", "item 1 is 'ab', of type str")]
)
def test_flatten_says_which_item_holds_none(client: Client, item: Any, told: str) -> None:
    with pytest.raises(TypeError, match=told):
        client.compute(items([[1], item]).flatten())


def test_what_a_collection_cannot_be_is_said_at_once() -> None:
    with pytest.raises(OptionError, match="a size of at least 1, not 0"):
        items([1]).batched(0)
    with pytest.raises(OptionError, match="an integer to start with, not 'a'"):
        items([1]).enumerate("a")  # type: ignore[arg-type]
    with pytest.raises(CollectionError, match=r"different lengths \(3, unknown, 5\)"):
        zip_items(range(3), iter("abc"), range(5), strict=True)


def test_lengths_are_known_where_they_can_be() -> None:
    assert len(inc.map(range(7)).batched(3)) == 3
    assert len(items([1, 2, 3]).batched(2)) == 2
    assert len(inc.map(range(7)).enumerate()) == 7


# --- conditions -----------------------------------------------------------------------------------


@task
def is_large(number: int) -> bool:
    return number > 100


@task
def halve(number: int, note: str = "") -> int:
    return number // 2


@task
def triple(number: int, note: str = "") -> int:
    return number * 3


@task
def refuse(number: int) -> int:
    raise ValueError(f"not {number}")


def test_a_call_is_made_where_its_condition_is_true(client: Client) -> None:
    values = client.compute(
        halve.when(is_large(140), otherwise=140)(140),
        halve.when(is_large(1))(1),
        halve.when(is_large(triple(50)), otherwise=triple)(triple(1), note="a note"),
        halve.when(False, otherwise=triple)(4),
        halve.when(is_large(1), otherwise=triple(7))(1),
    )

    assert values == (70, None, 1, 12, 21)


def test_what_is_not_chosen_does_not_run(client: Client) -> None:
    assert client.compute(refuse.when(is_large(1), otherwise=-1)(3)) == -1


def test_errors_of_conditions_and_of_conditional_calls_are_the_tasks_own(client: Client) -> None:
    with pytest.raises(ValueError, match="not 3") as chosen:
        client.compute(refuse.when(True)(3))
    with pytest.raises(ValueError, match="not 1") as asked:
        client.compute(halve.when(refuse(1))(4))

    assert isinstance(chosen.value.__cause__, RemoteTraceback)
    assert chosen.value.__cause__.node == "refuse"
    assert isinstance(asked.value.__cause__, RemoteTraceback)
    assert asked.value.__cause__.path == ["refuse", "halve"]


def test_a_conditional_call_is_checked_where_it_is_written() -> None:
    with pytest.raises(SignatureError, match="task 'halve'"):
        halve.when(True)(1, 2, 3)
    with pytest.raises(SignatureError, match="task 'is_large'"):
        halve.when(True, otherwise=is_large)(1, note="a note")


def test_a_conditional_call_may_be_of_a_task_that_ignores_an_argument(client: Client) -> None:
    quiet = halve.with_options(cache=True, ignore=["note"])

    assert client.compute(quiet.when(is_large(140), otherwise=0)(140, note="a note")) == 70
