"""Coroutine functions, called as plain ones: each in an event loop of its own, to its end."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

Function = Callable[..., Any]


def is_asynchronous(function: Function) -> bool:
    """Whether a function is a coroutine function, or something around one.

    Example:
        >>> async def double(x): return 2 * x
        >>> is_asynchronous(functools.partial(double, 1)), is_asynchronous(abs)
        (True, False)
    """
    while isinstance(function, functools.partial):
        function = function.func
    found = inspect.unwrap(function)
    called = getattr(type(found), "__call__", None)  # noqa: B004 - of an object that is called
    return inspect.iscoroutinefunction(found) or inspect.iscoroutinefunction(called)


def as_plain(function: Function) -> Function:
    """What to call for a function: one that is asynchronous is run to its end.

    Example:
        >>> async def double(x): return 2 * x
        >>> as_plain(double)(4)
        8
    """
    if not is_asynchronous(function):
        return function

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        return finish(function(*args, **kwargs))

    return run


def finish(value: Any) -> Any:
    """The value of a coroutine; anything else as it is.

    Where a loop runs already, which is the caller's in the debug mode, it is run in a thread.
    """
    if not inspect.iscoroutine(value):
        return value
    import asyncio

    if not _runs(
        asyncio
    ):  # asked apart: what the coroutine raises is not raised while handling that
        return asyncio.run(value)
    import contextvars
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(contextvars.copy_context().run, asyncio.run, value).result()


def _runs(asyncio: Any) -> bool:
    """Whether a loop runs in this thread."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
