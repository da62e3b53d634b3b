"""Threads that are started, or an error that says what stands in the way."""

from __future__ import annotations

from collections.abc import Callable
from threading import Thread

from armoflow.errors import ThreadLimitError


def start_thread(target: Callable[[], object], name: str, what: str) -> Thread:
    """A thread that ends with its process, started.

    Args:
        target: What it runs.
        name: Its name.
        what: What it is there for.

    Raises:
        ThreadLimitError: If it cannot be started.

    Example:
        >>> start_thread(int, "example", "count").join()
    """
    thread = Thread(target=target, name=name, daemon=True)
    try:
        thread.start()
    except (RuntimeError, MemoryError) as error:
        raise ThreadLimitError(
            f"no thread can be started to {what} ({error}): this process is at its limit of "
            "threads, its user at that of processes (ulimit -u, pids.max of its container), or "
            "memory is; end some, or raise that limit"
        ) from error
    return thread
