"""Each argument of what is public either does what it says or is refused with its name.

Nothing odd that is given ends in an error that does not name it: one of Python's, of a library's,
or of the machinery below.
"""

from __future__ import annotations

import asyncio
import datetime
import decimal
import enum
from collections.abc import Callable
from typing import Any

import pytest

import armoflow
from armoflow import AsyncClient, Client, items, task, zip_items
from armoflow.errors import (
    ArmoflowError,
    EngineUnreachableError,
    GraphError,
    OptionError,
    SignatureError,
    shown,
)
from armoflow.options import OPTION_NAMES
from armoflow.protocol.settings import CONNECTION_OPTIONS


class Shy:
    """Does not say what it is."""

    def __repr__(self) -> str:
        raise RuntimeError("no words")


class Undecided:
    """Has no truth, and equals nothing for certain: as arrays."""

    def __eq__(self, other: object) -> Any:
        return self

    def __bool__(self) -> bool:
        raise ValueError("the truth value is ambiguous")

    __hash__ = None  # type: ignore[assignment]


class Mute(str):
    """A text that cannot be shown."""

    def __repr__(self) -> str:
        raise RuntimeError("no words")

    __str__ = __format__ = __repr__  # type: ignore[assignment]


class Word(str, enum.Enum):
    """Text as programs name it: Python writes ``str(Word.LOAD)`` as ``Word.LOAD``."""

    LOAD = "load"
    DEFAULT = "default"


class Incomparable:
    def __eq__(self, other: object) -> bool:
        raise ValueError("like nothing else")

    def __hash__(self) -> int:
        return 1


ODD: list[Any] = [
    *(-1, 0, 1.5, 10**5000, -(10**5000), float("nan"), float("inf"), True, "", "nonsense"),
    *("\ud800", "a\0b", "x" * 100_000, b"x", [], {}, (1, 2), {1: {2: 3}}, object(), int, ...),
    *(decimal.Decimal(1), datetime.timedelta(-1), Shy(), Undecided(), Mute(), Mute("x")),
]

OF_CLIENTS = (
    *("workers", "payloads", "extensions", "max_priority", "connect_timeout", "inline_seconds"),
    *("name", "progress", "logs", "dry_run", "budget", "cache_limit", "partitions"),
    *CONNECTION_OPTIONS,
    *OPTION_NAMES,
)


@task
def double(number: int) -> int:
    return 2 * number


@task
def add(left: int, right: int) -> int:
    return left + right


def function(number: int) -> int:
    return number


def is_refused_by_name(name: str, call: Callable[[Any], object]) -> None:
    """Every odd value is taken, or refused by an error that names the argument."""
    for value in ODD:
        try:
            call(value)
        except (ArmoflowError, TypeError) as error:  # noqa: PERF203 - few
            assert name in str(error), (name, shown(value), error)
            assert len(str(error)) < 3000


@pytest.mark.parametrize("name", [*OPTION_NAMES, "outputs", "name"])
def test_options_of_tasks(name: str) -> None:
    is_refused_by_name(name, lambda value: task(**{name: value})(function))  # type: ignore[call-overload]
    if name != "outputs":
        is_refused_by_name(name, lambda value: double.with_options(**{name: value}))


@pytest.mark.filterwarnings("ignore:timeouts are ignored")
@pytest.mark.parametrize("name", OF_CLIENTS)
def test_arguments_of_a_client(name: str) -> None:
    def make(value: Any) -> None:
        Client(local=True, **{name: value}).close()

    is_refused_by_name(name, make)


def test_arguments_of_calls() -> None:
    with Client(local=True) as client:
        computed = double(1)
        calls: dict[str, list[Callable[[Any], object]]] = {
            "timeout": [
                lambda value: client.compute(computed, timeout=value),
                lambda value: client.submit(computed).result(value),
                lambda value: client.as_completed([client.submit(computed)], timeout=value),
            ],
            "return_exceptions": [
                lambda value: client.compute(computed, return_exceptions=value),
                lambda value: client.gather([], return_exceptions=value),
            ],
            "fail_fast": [lambda value: client.compute(computed, fail_fast=value)],
            "replace": [
                lambda value: client.submit(computed, replace=value),
                lambda value: client.put(1, replace=value),
            ],
            "name": [client.get, client.refer, client.forget, client.attach, client.resume],
            "path": [lambda value: client.visualize(computed, path=value)],
            "fn": [client.submit(computed).add_done_callback],
        }
        for name in ("name", "path"):
            calls[name] = [refusing(call, name) for call in calls[name]]
        for name, each in calls.items():
            for call in each:
                is_refused_by_name(name, call)


def refusing(call: Callable[[Any], object], name: str) -> Callable[[Any], object]:
    """What is no name, or no path, is refused; of texts any may be one."""
    return lambda value: None if isinstance(value, (str, bytes)) else call(value)


def test_arguments_of_collections() -> None:
    numbers = double.map([1, 2, 3])
    for name, call in {
        "fan_in": lambda value: numbers.reduce(add, fan_in=value),
        "size": numbers.batched,
        "start": numbers.enumerate,
        "strict": lambda value: zip_items(numbers, numbers, strict=value),
        "wrap": lambda value: double.iterate([1], steps=1, neighbours=(0,), wrap=value),
        "steps": lambda value: double.iterate([1], steps=value, neighbours=(0,)),
        "neighbours": lambda value: double.iterate([1], steps=1, neighbours=value),
        "iterable": items,
        "function": numbers.map,
    }.items():
        is_refused_by_name(name, call)


@pytest.mark.parametrize(
    ("endpoint", "says"),
    [
        ("tcp://localhost:8786", "is not an address"),
        ("http://localhost:5001/path", "is not an address"),
        ("http://local host:5001", "is not an address"),
        ("http://localhost:" + "9" * 5000, "is not an address"),
        ("unix:/" + "a" * 300, "is too long: the path of a socket has at most"),
        ("http://me:secret@localhost:5001", "holds a name or a password.*client_certificate"),
    ],
)
def test_what_is_no_endpoint(endpoint: str, says: str) -> None:
    with pytest.raises(EngineUnreachableError, match=says) as raised:
        Client(endpoint, connect_timeout=0.1)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("endpoint", ["http://\ud800:5001", "http://a\0b:5001", "unix:/a\0b"])
def test_what_no_address_holds(endpoint: str) -> None:
    with pytest.raises((OptionError, EngineUnreachableError), match="endpoint"):
        Client(endpoint, connect_timeout=0.1)


# --- habits ---------------------------------------------------------------------------------------


def test_options_among_the_arguments_of_a_call_say_where_they_go() -> None:
    says = r"an option is said by task\.with_options\(retries=\.\.\.\), or Client\(retries=\.\.\.\)"
    for call in (
        lambda: double(1, retries=2),  # type: ignore[call-arg]
        lambda: double.map([1], retries=2),
        lambda: double.starmap([(1,)], retries=2),
    ):
        with pytest.raises(SignatureError, match=says):
            call()
    with pytest.raises(SignatureError, match=r"write task\.with_options\(batch_size=\.\.\.\)"):
        double.map([1], chunksize=2)
    with pytest.raises(SignatureError, match="missing") as raised:  # it is the function's own

        @task
        def waits(number: int, timeout: float) -> int:
            return number

        waits(timeout=2.0)
    assert "with_options" not in str(raised.value)


def test_the_wrong_kind_of_with() -> None:
    async def enter() -> None:
        async with Client(local=True):  # type: ignore[attr-defined]
            pass

    with pytest.raises(GraphError, match="`async with` is for an AsyncClient"):
        asyncio.run(enter())
    with (
        pytest.raises(GraphError, match="entered by `async with`"),
        AsyncClient(local=True),  # type: ignore[attr-defined]
    ):
        pass


def test_what_is_looked_at_is_named() -> None:
    with Client(local=True) as client:
        for call in (client.explain, client.plan):
            with pytest.raises(GraphError, match=rf"{call.__name__}\(\) cannot look at Task"):
                call(double)


@pytest.mark.parametrize("name", ["chain", "shared_task", "ThreadPoolExecutor", "ALL_COMPLETED"])
def test_names_of_other_packages(name: str) -> None:
    with pytest.raises(AttributeError, match=rf"no attribute '{name}': write armoflow\."):
        getattr(armoflow, name)


def test_a_value_that_cannot_be_written_out_is_shown_all_the_same() -> None:
    with pytest.raises(OptionError, match=r"workers .* not an int of 16610 bits"):
        Client(local=True, workers=-(10**5000))
    with pytest.raises(OptionError, match="workers must be a positive integer, not <Shy>"):
        Client(local=True, workers=Shy())  # type: ignore[arg-type]


def test_a_member_of_an_enumeration_of_texts_is_its_text() -> None:
    named = task(name=Word.LOAD, partition=Word.DEFAULT)(function)
    assert (type(named.name), named.name) == (str, "load")
    assert type(named.task_options.partition) is str
    with Client(local=True) as client:
        assert client.compute(named.map([1, 2]), named(3)) == ([1, 2], 3)


def test_what_stands_for_a_failure_need_not_be_comparable() -> None:
    value = Incomparable()
    call = task(on_failure=value)(lambda: 1 // 0)
    with Client(local=True) as client, armoflow.options(on_failure=Incomparable()):
        assert client.compute(call()) is value
