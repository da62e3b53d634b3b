"""A value that cannot be read back names its task, its item, its type and why."""

from __future__ import annotations

import importlib
import pickle
from collections.abc import Callable
from typing import Any

import pytest

from armoflow import Client, task
from armoflow.codec.pickling import dumps
from armoflow.codec.unreadable import type_in
from armoflow.errors import RemoteTraceback, SerializationError


class NoState:
    """Can be pickled, and not be read back."""

    def __init__(self) -> None:
        self.x = 1

    def __setstate__(self, state: Any) -> None:
        raise RuntimeError("no state")


class NoMake:
    def __reduce__(self) -> Any:
        return make, ()


def make() -> None:
    raise AssertionError("not again")


class Elsewhere:
    """Its module is not where it is read."""

    def __reduce__(self) -> Any:
        return importlib.import_module, ("made_elsewhere",)


@task
def same(x: Any) -> Any:
    return x


unfused = same.with_options(fuse=False)


@task
def build(kind: str) -> Any:
    return {"state": NoState, "make": NoMake, "module": Elsewhere}[kind]()


@task
def bad_at_three(number: int) -> Any:
    return NoState() if number == 3 else number


@task
def count(values: list[Any]) -> int:
    return len(values)


@task
def below() -> Any:
    return unfused(bad_at_three.map(range(5))[3])


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        ("state", "RuntimeError: no state"),
        ("make", "AssertionError: not again"),
        (
            "module",
            "ModuleNotFoundError: No module named 'made_elsewhere'. Install it where the value is "
            "read, too",
        ),
    ],
)
def test_a_value_that_the_client_cannot_read(client: Client, kind: str, why: str) -> None:
    future = client.submit(build(kind))
    error = future.exception()
    assert isinstance(error, SerializationError)
    assert "'build'" in str(error)
    assert why in str(error)
    assert type(error.__cause__).__name__ == why.partition(":")[0]
    with pytest.raises(SerializationError, match="'build'"):
        client.compute(build(kind))


def test_items_that_the_client_cannot_read(client: Client) -> None:
    for batch_size in (1, 5):
        items = bad_at_three.with_options(batch_size=batch_size).map(range(5))
        values = client.gather(client.submit(items), return_exceptions=True)
        assert values[:3] == [0, 1, 2]
        told = f"the value of task 'bad_at_three[3]', of {__name__}.NoState, cannot be read back"
        assert told in str(values[3])
        errors = [future.exception() for future in client.as_completed(items)]
        assert [str(error) for error in errors if error] == [str(values[3])]


WAYS: dict[str, tuple[Callable[[Client], Any], str, str]] = {
    "the next task": (lambda _: unfused(build("state")), "same", "the value of 'build'"),
    "the next step": (lambda _: same(build("state")), "same", "the value of 'build'"),
    "items": (
        lambda _: unfused.map(bad_at_three.map(range(5))),
        "same[3]",
        "the value of 'bad_at_three[3]'",
    ),
    "items of the next step": (
        lambda _: same.map(bad_at_three.map(range(5))),
        "same[3]",
        "the value of 'bad_at_three[3]'",
    ),
    "a list": (
        lambda _: count(bad_at_three.map(range(5))),
        "count",
        "the value of 'bad_at_three[3]'",
    ),
    "an argument": (lambda _: same(NoState()), "same", "an argument of task 'same'"),
    "an item's argument": (
        lambda _: same.map([0, NoState()]),
        "same[1]",
        "an argument of task 'same[1]'",
    ),
    "a put": (lambda client: same(client.put(NoState())), "same", "a put or shared argument"),
    "a child's": (lambda _: below(), "same", "'bad_at_three"),
}


@pytest.mark.parametrize("way", WAYS)
def test_an_argument_that_a_task_cannot_read(client: Client, way: str) -> None:
    make_value, node, told = WAYS[way]
    error = client.submit(make_value(client)).exception()
    assert isinstance(error, SerializationError)
    assert isinstance(error.__cause__, RemoteTraceback)
    assert error.__cause__.node == node
    for part in (told, "'same" if node.startswith("same") else "'count'", "no state", "NoState"):
        assert part in str(error)
    assert "RuntimeError: no state" in error.__cause__.full_text()


def test_types_of_pickles() -> None:
    class Local:
        pass

    assert type_in(pickle.dumps(NoState())) == f"{__name__}.NoState"
    assert type_in(dumps([1, {"a": Local()}]).data) == "Local"
    assert type_in(pickle.dumps({"a": [1, "builtins dict"]})) == ""
    for junk in (b"", b"\x80\x05", b"no pickle", b"\x80\x05\x93.", b"c\n\n."):
        assert type_in(junk) in {"", "."}
