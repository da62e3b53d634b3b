"""Whatever an exception's class, or a value's code, makes of being looked at, the caller gets it.

No such code takes the place of the error that a task has raised, ends the process that it runs in,
or the program that asks for the value.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

import pytest

from armoflow import Client, task
from armoflow.codec.bare import cause_of
from armoflow.errors import RemoteTraceback, SerializationError


class Silent(Exception):
    """Has no attribute, and says so in its own way."""

    def __getattr__(self, name: str) -> Any:
        raise ValueError(f"no {name}")


class Causeless(Exception):
    @property
    def __cause__(self) -> BaseException | None:
        raise RuntimeError("no cause")


class Untrue(Exception):
    def __bool__(self) -> bool:
        raise RuntimeError("no truth")


class Wordless(Exception):
    def __str__(self) -> str:
        raise SystemExit("no words")


class Leaving(Exception):
    """Ends the process that reads it back."""

    def __reduce__(self) -> Any:
        return sys.exit, (3,)


class Noted(Exception):
    """Its notes cannot be told."""

    def __init__(self) -> None:
        super().__init__("with notes")
        self.__notes__ = [Wordless()]


@dataclass(frozen=True)
class Refused(Exception):
    code: int


KINDS: dict[str, Callable[[], Exception]] = {
    "silent": lambda: Silent("bad"),
    "causeless": lambda: Causeless("bad"),
    "untrue": lambda: Untrue("bad"),
    "wordless": lambda: Wordless("bad"),
    "leaving": lambda: Leaving("bad"),
    "noted": Noted,
    "frozen": lambda: Refused(503),
}


@task
def fails(kind: str) -> int:
    raise KINDS[kind]()


@task
def fails_in_the_middle(number: int, kind: str) -> int:
    if number == 1:
        raise KINDS[kind]()
    return number


@task
def returns_what_fails(kind: str) -> Any:
    return fails(kind)


def caught(client: Client, asked: Any) -> BaseException:
    with pytest.raises(Exception) as raised:
        client.compute(asked)
    return raised.value


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_raised_in_the_caller_with_where_it_was(anywhere: Client, kind: str) -> None:
    expected = type(KINDS[kind]())
    for asked in (fails(kind), returns_what_fails(kind)):
        error = caught(anywhere, asked)
        cause = cause_of(error)
        assert type(error) is expected
        assert isinstance(cause, RemoteTraceback)
        assert cause.node == "fails"
        assert "raise KINDS[kind]()" in cause.full_text()
    found = anywhere.compute(fails_in_the_middle.map(range(3), kind=kind), return_exceptions=True)
    assert [found[0], type(found[1]), found[2]] == [0, expected, 2]


def test_a_frozen_one_has_its_attributes(anywhere: Client) -> None:
    assert caught(anywhere, fails("frozen")) == Refused(503)


# --- values whose own code would end whoever looks at them ----------------------------------------


class LeavesWhenPickled:
    def __reduce__(self) -> Any:
        sys.exit(4)


class LeavesWhenRead:
    def __reduce__(self) -> Any:
        return sys.exit, (5,)


@task
def value_of(kind: type, number: int = 1) -> Any:
    return kind() if number == 1 else number


@task
def returns_value_of(kind: type) -> Any:
    return value_of(kind)


@task
def counts(values: list[Any]) -> int:
    return len(values)


def numbers(error: BaseException) -> Iterator[int]:
    yield 1
    raise error


@task
def maps_over_what_leaves() -> Any:
    return counts(value_of.map([int] * 3, numbers(SystemExit(6))))


def test_a_value_that_leaves_when_it_is_pickled(client: Client) -> None:
    for asked in (value_of(LeavesWhenPickled), returns_value_of(LeavesWhenPickled)):
        error = caught(client, asked)
        assert isinstance(error, SerializationError)
        assert "'value_of' returned a value that cannot be stored" in str(error)
    found = client.compute(value_of.map([LeavesWhenPickled] * 3, range(3)), return_exceptions=True)
    assert [found[0], type(found[1]), found[2]] == [0, SerializationError, 2]
    assert "value_of[1]" in str(found[1])


def test_a_value_that_leaves_when_it_is_read(client: Client) -> None:
    error = caught(client, value_of(LeavesWhenRead))
    assert isinstance(error, SerializationError)
    assert "the value of task 'value_of'" in str(error)
    assert "SystemExit: 5" in str(error)
    error = caught(client, counts([value_of(LeavesWhenRead)]))
    assert isinstance(error, SerializationError)
    assert "'counts'" in str(error)


def test_an_iterator_that_leaves(client: Client) -> None:
    assert "SystemExit: 6" in str(caught(client, maps_over_what_leaves()))


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, asyncio.CancelledError])
@pytest.mark.parametrize("items", [1, 5000])
def test_whoever_reads_an_iterator_that_leaves_is_told(
    client: Client, kind: type[BaseException], items: int
) -> None:
    """Planned in the caller's thread, or in one of its own."""
    values = value_of.map([int] * (items + 1), chain(range(items - 1), numbers(kind())))
    with pytest.raises(kind):
        client.compute(counts(values))
    assert client.compute(value_of(int, 2)) == 2


class Unmade(Exception):
    """Cannot be read back: it is made of more than it is pickled with."""

    def __new__(cls, _code: int, _text: str) -> Unmade:
        return super().__new__(cls, _code)

    def __init__(self, _code: int, _text: str) -> None:
        """Its arguments stay those that it was made with."""


def test_a_function_that_cannot_be_read_back_names_its_task(client: Client) -> None:
    kept = Unmade(1, "two")

    @task
    def closes_over() -> None:
        raise kept

    error = caught(client, closes_over())
    assert isinstance(error, SerializationError)
    assert "the function of task 'closes_over' cannot be read back where it runs" in str(error)


# --- frames ---------------------------------------------------------------------------------------


@task
async def fails_in_a_coroutine() -> None:
    await asyncio.sleep(0)
    raise KeyError("inside")


def test_the_frames_of_a_coroutine_are_the_users(anywhere: Client) -> None:
    cause = caught(anywhere, fails_in_a_coroutine()).__cause__
    assert isinstance(cause, RemoteTraceback)
    assert 'raise KeyError("inside")' in cause.traceback
    assert "asyncio" not in cause.traceback.replace("await asyncio.sleep", "")
    assert f"armoflow{os.sep}system" not in cause.traceback
    assert "another exception occurred" not in cause.traceback
