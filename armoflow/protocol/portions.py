"""What is too long for one call, in portions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

LIST_SIZE = 500
"""Ids in the filter of one List call."""


def chunks(items: Sequence[Any], size: int) -> Iterable[Sequence[Any]]:
    """The items in lists of at most ``size``."""
    for first in range(0, len(items), size):
        yield items[first : first + size]


def without_repetition(pairs: Iterable[tuple[str, bytes]]) -> Iterable[list[tuple[str, bytes]]]:
    """The pairs in as few groups as possible, none of which names an opaque id twice.

    Example:
        >>> list(without_repetition([("a", b"1"), ("b", b"1"), ("c", b"2")]))
        [[('a', b'1'), ('c', b'2')], [('b', b'1')]]
    """
    groups: list[list[tuple[str, bytes]]] = []
    counts: dict[bytes, int] = {}
    for result_id, opaque_id in pairs:
        number = counts[opaque_id] = counts.get(opaque_id, -1) + 1
        if number == len(groups):
            groups.append([])
        groups[number].append((result_id, opaque_id))
    return groups
