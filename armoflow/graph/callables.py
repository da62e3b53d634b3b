"""The functions that tasks are made of: which can be one, what they are called, what they take."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from operator import is_
from types import FunctionType
from typing import Any
from weakref import WeakKeyDictionary

from armoflow.errors import GraphError, shown
from armoflow.texts import as_text

ABROAD = {
    **dict.fromkeys(("remote", "delay", "s", "si", "bind"), "task(...): a call is lazy"),
    **dict.fromkeys(("submit", "apply_async", "future"), "client.submit(task, ...)"),
    **dict.fromkeys(("compute", "result", "visualize"), "task(...).compute(): call it first"),
    **dict.fromkeys(("run", "func"), "task.local(...), which runs the plain function here"),
    **dict.fromkeys(("filter", "reduce", "fold"), "items(iterable).filter(task), and so on"),
    **dict.fromkeys(("retry", "set", "configure"), "task.with_options(...)"),
    **dict.fromkeys(("spawn", "invoke"), "client.submit(task(...)), which starts it"),
    **dict.fromkeys(("map_invoke", "map_async", "imap"), "task.map(iterable)"),
    **dict.fromkeys(("tail", "replace"), "return task(...): that graph takes the task's place"),
    **dict.fromkeys(("fn", "original"), "task.local(...), which runs the plain function here"),
    "opts": "task.task_options",
    "delayed": "task(...): it is one already",
}
"""What other libraries call the same of a task, and what to write instead."""


KEYWORDS_ABROAD = {
    "wait_for": "a task runs after what its arguments need: take what it has to wait for as one",
    "return_state": "client.compute(task(...), return_exceptions=True) gives errors as values",
    **dict.fromkeys(("dask_key_name", "key"), "write task.with_options(name=...)"),
    "pure": "write @task(cache=True)",
    **dict.fromkeys(("chunksize", "chunk_size"), "write task.with_options(batch_size=...)"),
    "buffersize": "write client.as_completed(task.map(iterable)), which runs only so far ahead",
    "ordered": "write client.as_completed(futures) for the order in which they end",
}
"""What calls of tasks take elsewhere, and what to do instead."""


def check_function(function: Any, outputs: int = 1) -> None:
    """Refuse what a task cannot be made of.

    Args:
        function: What is to be a task.
        outputs: How many results it is said to have.

    Raises:
        GraphError: If it cannot be run, or its value cannot be stored; it says what to write.
    """
    if isinstance(function, classmethod):
        raise GraphError(
            f"{name_of(function.__func__)!r} is a class method, which a task cannot be: write a "
            "function outside of the class, which takes the class as an argument"
        )
    if not callable(function):
        raise GraphError(f"a task is made of a function, not of {shown(function)}")
    if _is_method(function):
        raise GraphError(
            f"{function.__qualname__!r} is a method, which a task cannot be: write a function "
            "outside of the class, which takes the object as its first argument"
        )
    if inspect.isasyncgenfunction(function) or (
        outputs == 1 and inspect.isgeneratorfunction(function)
    ):
        raise GraphError(
            f"{name_of(function)!r} is a generator function, whose value cannot be stored: "
            "return a list"
        )


def _is_method(function: Any) -> bool:
    """Whether a function was written in the body of a class, to be called on its objects."""
    if not isinstance(function, FunctionType):
        return False
    owner = function.__qualname__.rpartition(".")[0].rpartition(".")[2]
    first = function.__code__.co_varnames[: min(function.__code__.co_argcount, 1)]
    return owner not in ("", "<locals>") and first in (("self",), ("cls",))


def name_of(function: Any) -> str:
    """What a task of a function is called."""
    while isinstance(function, functools.partial):
        function = function.func
    name = getattr(function, "__name__", None)
    return as_text(name) if isinstance(name, str) and name else type(function).__name__


def signature_of(function: Callable[..., Any]) -> inspect.Signature | None:
    """What a function takes, if that can be told."""
    if type(function) is not FunctionType or function.__dict__ or function.__kwdefaults__:
        return _found_signature(function)
    stated = function.__code__, function.__defaults__, function.__annotations__
    known = _signatures.get(function)
    if known is None or not all(map(is_, known[0], stated)):
        known = _signatures[function] = stated, _found_signature(function)
    return known[1]


_signatures: WeakKeyDictionary[FunctionType, tuple[Any, inspect.Signature | None]]
_signatures = WeakKeyDictionary()
"""Those of plain functions, each with what it was made of: who makes tasks of a function in every
call of another one has it looked at once."""


def _found_signature(function: Callable[..., Any]) -> inspect.Signature | None:
    try:
        return inspect.signature(function)
    except (TypeError, ValueError):
        return None  # some built-in functions have none


def arity(signature: inspect.Signature | None) -> tuple[int, float]:
    """Least and most arguments of a call with positional ones only; (1, 0) if none is possible."""
    if signature is None:
        return 0, float("inf")
    least, most = 0, 0.0
    for parameter in signature.parameters.values():
        required = parameter.default is parameter.empty
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            least += required
            most += 1
        elif parameter.kind is parameter.VAR_POSITIONAL:
            most = float("inf")
        elif parameter.kind is parameter.KEYWORD_ONLY and required:
            return 1, 0
    return least, most
