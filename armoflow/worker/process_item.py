"""One thing that a process has around its tasks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

STREAMS = ("stdin", "stdout", "stderr")


class Item(NamedTuple):
    """Something: how it is read, and how it is set to what was read before.

    Reading is what every task waits for: much that is read in one go is one item.
    """

    read: Callable[[], Any]
    write: Callable[[Any], None]
