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
        raise thread_limit(error, what) from error
    return thread


def thread_limit(error: BaseException, what: str) -> ThreadLimitError:
    """The error for a thread that could not be started, with what to do."""
    return ThreadLimitError(
        f"no thread can be started to {what} ({error}): this process is at its limit of threads, "
        "its user at that of processes (ulimit -u, pids.max of its container), or memory is "
        "(ulimit -v); end some, or raise that limit"
    )


def lacks_thread(error: BaseException) -> bool:
    """Whether it is what Python raises where no thread can be started.

    Example:
        >>> lacks_thread(RuntimeError("can't start new thread")), lacks_thread(RuntimeError("no"))
        (True, False)
    """
    return type(error) is RuntimeError and str(error) == "can't start new thread"
