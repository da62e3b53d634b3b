"""Programs whose tasks return graphs, to any depth; their modules are imported by workers, too."""

from __future__ import annotations

import threading
from typing import Any

from armoflow import options, task

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
    if kind == "unplanned":
        return join(run(rest[0]), threading.Lock())
    if kind == "apart":
        with options(fuse=False):
            return join(run(rest[0]))
    raise AssertionError(kind)


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
