"""Whatever an exception's class, or a value's code, makes of being looked at, the caller gets it.

No such code takes the place of the error that a task has raised, ends the process that it runs in,
or the program that asks for the value.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import sys
import threading
import unittest.mock
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

import pytest

from armoflow import Client, task
from armoflow.codec.bare import cause_of
from armoflow.errors import RemoteTaskError, RemoteTraceback, SerializationError
from armoflow.graph.arguments import contains_lazy, find_dependencies


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


def leave(*_: Any) -> Any:
    """What the code of the classes below does: nothing that runs it may end for that."""
    raise SystemExit("looked at")


def interrupt(*_: Any) -> Any:
    """In a worker nobody presses Ctrl-C."""
    raise KeyboardInterrupt("looked at")


ENDING: dict[str, tuple[type[Exception], dict[str, Any]]] = {
    **{
        name: (Exception, {name: property(leave)})
        for name in ("__notes__", "__dict__", "__class__", "exceptions", "__suppress_context__")
    },
    "attributes": (Exception, {"__getattribute__": leave}),
    "length": (Exception, {"__len__": leave}),
    "name": (NameError, {"name": property(leave)}),
    "module": (ImportError, {"name": property(leave)}),
    "place": (AttributeError, {"obj": property(leave)}),
    "syntax": (SyntaxError, {"text": property(leave)}),
    "text": (Exception, {"__str__": interrupt}),
    "reduced": (Exception, {"__reduce_ex__": interrupt}),
    "parts": (Exception, {"exceptions": (1, 2)}),
}


def ending(kind: str) -> Exception:
    base, names = ENDING[kind]
    odd: Any = type("Ending", (base,), dict(names))
    return odd("bad")  # type: ignore[no-any-return]


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


@task
def ends(kind: str) -> int:
    raise ending(kind)


@task
def ends_in_the_middle(number: int, kind: str) -> int:
    if number == 1:
        raise ending(kind)
    return number


@task
def tells_of_what_ends(kind: str) -> int:
    raise ValueError("outer") from ending(kind)


@task
def returns_what_ends(kind: str, door: str) -> Any:
    if door == "call":
        return ends(kind)
    if door == "cause":
        return tells_of_what_ends(kind)
    if door == "map":
        return ends_in_the_middle.map(range(3), kind=kind).gather()
    return same.map(range(3)).filter(ends_in_the_middle, kind=kind).gather()


@task
def same(value: Any) -> Any:
    return value


def is_told(error: BaseException) -> bool:
    """As its own type, or by the name of that where it cannot be made again."""
    name = type(error).__name__
    return name == "Ending" or (name == "RemoteTaskError" and "Ending" in str(error))


@pytest.mark.parametrize("kind", ENDING)
def test_what_ends_whoever_looks_at_it_is_told_as_what_it_is(client: Client, kind: str) -> None:
    in_map = ends_in_the_middle.map(range(3), kind=kind).gather()
    for asked in (
        *(ends(kind), in_map),
        *(returns_what_ends(kind, door) for door in ("call", "map", "filter")),
    ):
        error = caught(client, asked)
        cause = cause_of(error)
        assert is_told(error)
        assert isinstance(cause, RemoteTraceback)
        assert cause.node.partition("[")[0] in ("ends", "ends_in_the_middle")
    for asked in (tells_of_what_ends(kind), returns_what_ends(kind, "cause")):
        assert type(caught(client, asked)) is ValueError


@task
def fails_with_a_lock(door: str) -> int:
    class Held(ValueError):
        code: int

    held = Held("held")
    held.code, held.lock = 503, threading.Lock()  # type: ignore[attr-defined]
    if door == "alone":
        raise held
    raise ExceptionGroup("many", [KeyError("one"), ExceptionGroup("more", [held])])  # noqa: F821


def test_what_cannot_travel_of_an_exception_is_left_out(anywhere: Client) -> None:
    """Its type, arguments and other attributes arrive, though a function has made the type."""
    error: Any = caught(anywhere, fails_with_a_lock("alone"))
    assert (type(error).__name__, error.args, error.code) == ("Held", ("held",), 503)
    assert isinstance(error, ValueError)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="exception groups")
def test_what_cannot_travel_of_one_exception_takes_no_group_with_it(anywhere: Client) -> None:
    error: Any = caught(anywhere, fails_with_a_lock("group"))
    assert type(error) is ExceptionGroup  # noqa: F821
    key, (held,) = error.exceptions[0], error.exceptions[1].exceptions
    assert (type(key), key.args, error.args[0]) == (KeyError, ("one",), "many")
    assert (type(held).__name__, held.args, held.code) == ("Held", ("held",), 503)


@task
def gives_up(number: int) -> int:
    raise concurrent.futures.CancelledError(f"by the task, {number}")


def test_a_task_that_ends_with_a_cancellation_of_its_own_cancels_nobody(anywhere: Client) -> None:
    async def ask() -> None:
        await anywhere.submit(gives_up(1))

    future = anywhere.submit(gives_up(1))
    for wait in (future.result, lambda: asyncio.run(ask())):
        with pytest.raises(RemoteTaskError, match="CancelledError: by the task, 1"):
            wait()
    assert not future.cancelled()
    with pytest.raises(RemoteTaskError, match="by the task, 2"):
        anywhere.compute(same(gives_up(2)))


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


def odd(name: str, base: type = object) -> Any:
    """A value whose class, made where it is returned, ends whoever looks at it there."""
    content = property(leave) if name == "__class__" else leave
    return type("Odd", (base,), {name: content})()


@task
def odd_in_the_middle(number: int, name: str, base: type) -> Any:
    return odd(name, base) if number == 1 else number


@task
def returns_odd(name: str, base: type) -> Any:
    return odd_in_the_middle(1, name, base)


@pytest.mark.parametrize("base", [object, list, dict, tuple])
@pytest.mark.parametrize("name", ["__class__", "__getattribute__", "__iter__", "__reduce_ex__"])
def test_a_value_that_leaves_when_it_is_looked_at(client: Client, name: str, base: type) -> None:
    """It arrives, or its item has failed; others are what they are, and nothing hangs."""
    items = odd_in_the_middle.map(range(3), name=name, base=base)
    found = client.compute(items, return_exceptions=True, timeout=30)
    assert [found[0], found[2]] == [0, 2]
    (alone,) = client.compute([returns_odd(name, base)], return_exceptions=True, timeout=30)
    for value in (found[1], alone):
        kind = type(value)
        assert kind.__name__ == "Odd" or issubclass(kind, (SerializationError, RemoteTaskError))


def test_what_only_says_that_it_is_a_list_is_none() -> None:
    mock = unittest.mock.Mock(spec=list)
    assert find_dependencies([mock]) == []
    assert not contains_lazy([mock])


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


class Measureless(str):
    def __len__(self) -> int:
        raise RuntimeError("no length")


class Weightless:
    @property
    def nbytes(self) -> int:
        raise RuntimeError("no weight")


class Unlisted(list[int]):
    def __iter__(self) -> Any:
        raise RuntimeError("not listed")


def test_an_argument_whose_size_cannot_be_told_is_an_argument(anywhere: Client) -> None:
    found = anywhere.compute(same(Measureless("text")), same(Weightless()))
    assert [type(value).__name__ for value in found] == ["Measureless", "Weightless"]


def test_an_argument_that_says_that_it_is_a_list_is_none(client: Client) -> None:
    for asked in (same(unittest.mock.Mock(spec=list)), same.map([unittest.mock.Mock(spec=list)])):
        assert "give it a __reduce__" in str(caught(client, asked))


def test_a_value_that_lets_nobody_look_into_it_takes_no_other_with_it(anywhere: Client) -> None:
    @task
    def unlisted(number: int) -> Any:
        return Unlisted([number]) if number == 1 else number

    found = anywhere.compute(unlisted.map(range(3)), return_exceptions=True)
    assert (found[0], found[2]) == (0, 2)
    assert isinstance(found[1], (Unlisted, SerializationError))
