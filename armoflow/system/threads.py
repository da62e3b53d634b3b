"""Work of an event loop that another thread does."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


async def in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a function in another thread; here, where the interpreter ends and begins no more.

    ``asyncio.to_thread`` raises then, before the functions of ``atexit`` are called: a client that
    nobody has closed is closed by one of them.

    Args:
        function: What to call; it may block.
        args: Its positional arguments.
        kwargs: Its keyword arguments.

    Returns:
        What it returns.

    Example:
        >>> asyncio.run(in_thread(max, 1, 2))
        2
    """
    call = functools.partial(function, *args, **kwargs)
    try:
        called = asyncio.get_running_loop().run_in_executor(None, call)
    except RuntimeError:  # at once, so it is not the function's
        return call()
    return await called
