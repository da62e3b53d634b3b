"""Programs whose tasks return graphs, to any depth; their modules are imported by workers, too."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any

from armoflow import items, options, task, zip_items

Program = tuple[Any, ...]


@task
def join(*parts: Any) -> list[Any]:
    joined = list(parts)
    for part in parts:
        if isinstance(part, list):
            part.append("mine")  # nobody else sees it
    return joined


@task(outputs=2)
def halves(first: Program, second: Program) -> Any:
    return run(first), run(second)


@task
def listed(value: Any, *others: Any, tag: Any = "") -> list[Any]:
    return [value, *others, tag]


@task
def concatenated(first: list[Any], second: list[Any]) -> list[Any]:
    return first + second


@task
def is_something(value: Any, *, nothing: Any = None) -> bool:
    return value is not nothing


@task
def programs(*parts: Program) -> list[Program]:
    return list(parts)


@task
def run(program: Program) -> Any:
    """Interprets a program: most of them return a graph."""
    kind, *rest = program
    if kind == "value":
        return rest[0]
    if kind == "raise":
        raise LookupError(rest[0])
    if kind == "alias":
        return run(rest[0])
    if kind == "join":
        return join(*map(run, rest))
    if kind == "list":
        return {"parts": [run(part) for part in rest]}
    if kind == "twice":
        part = run(rest[0])
        return join(part, part, [part])
    if kind == "halves":
        first, second = halves(rest[0], rest[1])
        return join(second, first) if len(rest) == 3 else join(first)
    if kind == "map":
        return run.map(rest).gather()
    if kind in COLLECTIONS:
        return COLLECTIONS[kind](rest)
    if kind == "unplanned":
        return join(run(rest[0]), threading.Lock())
    if kind == "apart":
        with options(fuse=False):
            return join(run(rest[0]))
    raise AssertionError(kind)


def _zipped(rest: list[Program]) -> Any:
    first = run(rest[0])
    rows = zip_items(run.map(rest), range(len(rest)), [first] * len(rest))
    return rows.starmap(listed, tag=first).gather()


def _kept(rest: list[Program]) -> Any:
    kept = run.map(rest).filter(is_something, nothing=run(("value", None)))
    return kept.map(listed, tag=run(rest[0])).gather()


def _begun(rest: list[Program]) -> Any:
    kept = run.map(rest).filter(is_something).map(listed)
    return kept.reduce(concatenated, initial=[run(rest[0])], fan_in=3)


COLLECTIONS: dict[str, Callable[[list[Program]], Any]] = {
    "filter": _kept,
    "zip": _zipped,
    "tuples": lambda rest: run.map(rest).zip(range(len(rest))).map(listed).gather(),
    "reduce": lambda rest: run.map(rest).map(listed).reduce(concatenated),
    "begun": _begun,
    "fold": lambda rest: run.map(iter(rest)).fold(listed, initial="first"),
    "item": lambda rest: run.map(rest)[-1],
    "slice": lambda rest: listed(run.map(rest)[::-1]),
    "dynamic": lambda rest: run.map(programs(*rest)).map(listed).reduce(concatenated),
    "items": lambda rest: (
        items([*map(run, rest), [run(rest[0])]]).map(listed, tag=run.map(rest)).gather()
    ),
}
"""Operations on collections: what a task returns that has them."""


def _plain(kind: str, rest: list[Program]) -> Any:
    """What plain Python makes of such an operation."""
    if kind == "item":
        return expected(rest[-1])
    values = [expected(part) for part in rest]
    some = [value for value in values if value is not None]
    if kind == "filter":
        return [[value, values[0]] for value in some]
    if kind == "zip":
        return [[value, i, values[0], values[0]] for i, value in enumerate(values)]
    if kind == "tuples":
        return [[(value, i), ""] for i, value in enumerate(values)]
    if kind == "begun":
        return [values[0], *(part for value in some for part in (value, ""))]
    if kind == "slice":
        return [values[::-1], ""]
    if kind == "items":
        return [[value, values] for value in [*values, [values[0]]]]
    if kind == "fold":
        return functools.reduce(lambda held, value: [held, value, ""], values, "first")
    return [part for value in values for part in (value, "")]


def expected(program: Program) -> Any:
    """What plain Python makes of a program."""
    kind, *rest = program
    if kind == "value":
        return rest[0]
    if kind == "raise":
        raise LookupError(rest[0])
    if kind == "alias":
        return expected(rest[0])
    if kind == "list":
        return {"parts": [expected(part) for part in rest]}
    if kind in COLLECTIONS:
        return _plain(kind, rest)
    if kind == "map":
        return [expected(part) for part in rest]
    if kind == "twice":
        part = expected(rest[0])
        return _joined([part, part, [part]], same=isinstance(part, list))
    if kind == "halves":
        asked = rest[1::-1] if len(rest) == 3 else rest[:1]  # a failure that nobody needs is none
        return _joined([expected(part) for part in asked])
    return _joined([expected(part) for part in rest])


def _joined(parts: list[Any], *, same: bool = False) -> list[Any]:
    parts = [[*part] if isinstance(part, list) else part for part in parts]
    for part in parts:
        if isinstance(part, list):
            part.append("mine")
    if same:  # the same value three times is one object in a call
        both = [*parts[0], "mine"]
        return [both, both, [both, "mine"]]
    return parts
