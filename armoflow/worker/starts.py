"""Being told before another process is started, whoever starts it.

An audit hook would do, but it is called for much that has nothing to do with it: each ``id()``.
"""

from __future__ import annotations

import _posixsubprocess
import functools
import os
from collections.abc import Callable
from typing import Any

_PLACES = (
    (_posixsubprocess, "fork_exec"),  # of subprocess and multiprocessing
    (os, "posix_spawn"),
    (os, "posix_spawnp"),
    (os, "system"),
)


def before_starts(tell: Callable[[], None]) -> None:
    """Have it told from now on; before anything is imported that starts processes."""
    os.register_at_fork(before=tell)
    for module, name in _PLACES:
        start = getattr(module, name, None)
        if start is not None:
            setattr(module, name, _telling(start, tell))


def _telling(start: Callable[..., Any], tell: Callable[[], None]) -> Callable[..., Any]:
    @functools.wraps(start)
    def started(*args: Any, **kwargs: Any) -> Any:
        tell()
        return start(*args, **kwargs)

    return started
