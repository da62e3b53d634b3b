"""What comes in great numbers, cut into parts of which none holds others up."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final, TypeVar

from armoflow.engine.sweeper import SLICE

T = TypeVar("T")

MANY: Final = 2 * SLICE
"""Results and tasks from which on a command is taken in in parts: some 15 ms."""

PART: Final = SLICE // 2
"""Results and tasks of such a part: 3 ms of the event loop, and as much of the journal."""

LINKS: Final = 10 * PART
"""Inputs and outputs that these name, all together, in as long; of one alone they may be more."""


def cut(
    values: Sequence[T], most: int, links: Callable[[T], int] | None = None
) -> Iterator[Sequence[T]]:
    """Values in parts of at most so many, and of not many more links than ``LINKS``.

    Args:
        values: What is cut.
        most: Values of a part.
        links: How many others a value names.

    Example:
        >>> list(cut([1, 2, 3], 2))
        [[1, 2], [3]]
        >>> list(cut([1, 2, LINKS, 4], 3, links=int))
        [[1, 2, 5000], [4]]
    """
    start = 0
    while start < len(values):
        end = min(start + most, len(values))
        if links is not None:
            named = 0
            for place in range(start, end):
                named += links(values[place])
                if named >= LINKS:
                    end = place + 1
                    break
        yield values[start:end]
        start = end
