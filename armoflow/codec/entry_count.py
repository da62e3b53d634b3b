"""How much a message may hold: of small parts it takes sixty times its bytes when it is read."""

from __future__ import annotations

from collections.abc import Sized
from typing import Any, TypeVar

from armoflow.config import MIB

T = TypeVar("T", bound=Sized)

_HARMLESS = 1 * MIB
"""Bytes of a message whose parts need not be counted, whatever they are."""


class EntryCount:
    """Counts the entries of lists and maps while msgpack reads them.

    Args:
        most: How many these may be, all together.

    Example:
        >>> import msgpack
        >>> count = EntryCount(3)
        >>> msgpack.unpackb(msgpack.packb([[], [], [], []]), list_hook=count)
        Traceback (most recent call last):
        ValueError: its lists have more than 3 entries, all together
    """

    def __init__(self, most: int) -> None:
        self._most = self._left = most

    def begin(self) -> None:
        """Another message begins."""
        self._left = self._most

    def __call__(self, value: T) -> T:
        """Take one list or map, with what is in it.

        Raises:
            ValueError: If these are too many.
        """
        self._left -= 1 + len(value)
        if self._left < 0:
            raise ValueError(f"its lists have more than {self._most} entries, all together")
        return value


def counting(size: int, most: int) -> dict[str, Any]:
    """Arguments for msgpack by which a message of that size holds no more entries than that.

    Example:
        >>> counting(1000, 50)
        {}
    """
    if size <= _HARMLESS:
        return {}
    count = EntryCount(most)
    return {"list_hook": count, "object_hook": count}
