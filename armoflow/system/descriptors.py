"""Descriptors: the standard ones of a process, and how many it may have."""

from __future__ import annotations

import os
import resource
from contextlib import suppress

from armoflow.errors import EngineError


def open_standard_streams() -> None:
    """Open those of the descriptors 0 to 2 that are closed, for nothing.

    A daemon may run with them closed. The next socket would get the number of one, what is printed
    would go there, and what starts processes or loops would break on it.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:  # the lowest that is free
        os.set_inheritable(descriptor, True)  # for programs that are started
    os.close(descriptor)


def open_limit() -> str:
    """How many files this process may have open, in words."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return f"this process may have {soft:,} files open at a time: ulimit -n"


def require_files(more: int, purpose: str, *, raising: bool = False) -> None:
    """See that this process may open so many more files.

    What runs short of them fails anywhere, and says something else: so it is looked at first.

    Args:
        more: How many.
        purpose: What needs them.
        raising: Raise the limit of this process, as far as it may be.

    Raises:
        EngineError: If it may not.

    Example:
        >>> require_files(10**9, "this example")
        Traceback (most recent call last):
        armoflow.errors.EngineError: too few files may be open (...
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = _open_files()
    if soft == resource.RLIM_INFINITY or soft - used >= more:
        return
    if raising and (hard == resource.RLIM_INFINITY or hard - used >= more):
        with suppress(OSError, ValueError):  # macOS may have a limit of its own
            resource.setrlimit(resource.RLIMIT_NOFILE, (used + more, hard))
            return
    raise EngineError(
        f"too few files may be open ({open_limit()}, and it has {used} open): {purpose} needs "
        f"{more:,} more. Raise the limit, ulimit -n {max(1024, used + more)}, or close what is not "
        "needed",
        "RESOURCE_EXHAUSTED",
    )


def _open_files() -> int:
    for directory in ("/proc/self/fd", "/dev/fd"):
        with suppress(OSError):
            return len(os.listdir(directory)) - 1  # noqa: PTH208 - less the one that lists them
    return 3
