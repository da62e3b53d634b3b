"""Work of an event loop that another thread does."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Threads(ThreadPoolExecutor):
    """Threads that are started when they are needed; while none can be, those there are do more.

    There is one from the beginning. A thread cannot be started where memory, or the number of
    processes (of threads, that is), is at its limit; to Python that is an error of who has work for
    it, though the work is not taken back then.

    Raises:
        RuntimeError: If not even the first one can be started.

    Example:
        >>> with Threads(2, "example") as threads:
        ...     threads.submit(max, 1, 2).result()
        2
    """

    def __init__(self, most: int | None, name: str) -> None:
        super().__init__(most, thread_name_prefix=name)
        self.submit(int).result()

    def _adjust_thread_count(self) -> None:
        try:
            super()._adjust_thread_count()
        except RuntimeError:
            if not self._threads:
                raise


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
