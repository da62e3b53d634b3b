"""What is given to a client in place of a lazy value: told apart, with the remedy."""

from __future__ import annotations

import functools
import types
from collections.abc import Coroutine, Generator, Iterable, Iterator, Mapping, Sequence
from typing import Any

from armoflow.errors import GraphError, OptionError, shown
from armoflow.graph.arguments import find_dependencies
from armoflow.graph.base_task import BaseTask
from armoflow.graph.collection import DelayedList
from armoflow.graph.delayed import Delayed
from armoflow.graph.lazy import Lazy
from armoflow.graph.task import as_task
from armoflow.option_values import check_flag

NOT_AWAITED = "await it first, as all calls of an AsyncClient: future = await client.submit(...)"
"""What to do with a coroutine where a future is meant."""

_ROUTINES = (
    *(types.FunctionType, types.MethodType, types.BuiltinFunctionType),
    *(types.MethodDescriptorType, types.WrapperDescriptorType, types.MethodWrapperType),
    types.ClassMethodDescriptorType,
)

_PLAIN = frozenset({int, float, bool, str, bytes, type(None)})


def check_computable(values: Sequence[Any], *, deep: bool, asked: str = "compute()") -> None:
    """Refuse what only looks as if it could be computed, rather than hand it back as it is.

    Args:
        values: What was given to the call.
        deep: Look into containers too: nothing lazy was found.
        asked: The call.

    Raises:
        GraphError: If one is a task that was not called, a generator, a future, and so on.
    """
    stack = list(reversed(values))
    seen: set[int] = set()
    while stack:
        value = stack.pop()
        if type(value) in _PLAIN or isinstance(value, Lazy):
            continue
        remedy = _remedy(value)
        if remedy:
            does = "run" if asked == "compute()" else "look at"
            raise GraphError(f"{asked} cannot {does} {describe(value)}: {remedy}")
        if deep and type(value) in (list, tuple, set, frozenset, dict) and id(value) not in seen:
            seen.add(id(value))
            stack.extend(value.values() if isinstance(value, dict) else value)


def find_graph(values: Sequence[Any], asked: str) -> Sequence[Any]:
    """What of some values is lazy, which something must be.

    Args:
        values: What was given to the call.
        asked: The call.

    Raises:
        GraphError: If nothing is.
    """
    lazy = find_dependencies(values)
    check_computable(values, deep=not lazy, asked=asked)
    if not lazy:
        given = ", ".join(map(shown, values)) or "nothing"
        raise GraphError(f"{asked} looks at a graph, and there is none in what it got: {given}")
    return lazy


def call_function(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A call of a task or plain function, as it is written with executors.

    Raises:
        GraphError: If it is no function.
        SignatureError: If the arguments do not fit.
    """
    if not callable(function):
        several = ": submit each of them, or compute() all" if find_dependencies(function) else ""
        raise GraphError(
            f"submit() takes what a call of a task returned, or a function and its arguments, not "
            f"{describe(function)}{several}"
        )
    return as_task(function)(*args, **kwargs)


def map_function(function: Any, iterables: Iterable[Any], fixed: Mapping[str, Any]) -> Any:
    """A call for each item, as it is written with executors.

    What is no iterable is refused as ``task.map`` does.

    Raises:
        SignatureError: If the arguments do not fit.
    """
    return as_task(function).map(*map(_listed, iterables), **fixed)


def _listed(iterable: Any) -> Any:
    """The items of an iterable of the user's."""
    if isinstance(iterable, (Delayed, DelayedList)):
        return iterable
    try:
        items = iter(iterable)
    except TypeError:
        return iterable
    return list(items)


def check_policy(*, return_exceptions: bool, fail_fast: bool) -> None:
    """Refuse to give errors back and to raise the first of them.

    Raises:
        OptionError: If both are said, or one is neither True nor False.
    """
    check_flag("return_exceptions", return_exceptions)
    check_flag("fail_fast", fail_fast)
    if return_exceptions and fail_fast:
        raise OptionError(
            "return_exceptions=True waits for all, fail_fast=True does not: say one of them"
        )


def _remedy(value: Any) -> str:
    if isinstance(value, BaseTask):
        return f"call it, compute({value.name}(...))"
    return next((remedy for kind, remedy in _remedies() if isinstance(value, kind)), "")


@functools.cache
def _remedies() -> Sequence[tuple[tuple[type, ...], str]]:
    """What to do with what only looks as if it could be computed."""
    from armoflow.client.future import Future  # a client imports them while its engine starts
    from armoflow.client.put import Put

    return (
        (
            (Future,),
            "it runs already; .result() gives its value, client.gather(futures) those of several",
        ),
        ((Put,), "give it to a task; client.get(name) gives the value of what has a name"),
        ((Generator, Iterator), "give a list of the lazy values, or task.map(iterable)"),
        (
            (Coroutine,),
            "make a task of the function, compute(task(function)(...)); what an AsyncClient gave "
            "is awaited first",
        ),
        (_ROUTINES, "make a task of it and call it, compute(task(function)(...))"),
    )


def describe(value: Any) -> str:
    """A value in a line."""
    text = shown(value)
    if len(text) > 80:
        text = f"{text[:77]}..."
    return f"{type(value).__name__} {text}"
