"""Some items of a collection, by their positions: ranges in their order, of which none touch."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Final, TypeAlias

ItemRanges: TypeAlias = "tuple[range, ...]"

ALL: Final[ItemRanges] = (range(sys.maxsize),)
"""All items of a collection, however many these are."""


def joined(several: Iterable[ItemRanges]) -> ItemRanges:
    """The items that are in any of several.

    Example:
        >>> joined([(range(5, 7),), (range(2), range(6, 9)), (range(2, 3),)])
        (range(0, 3), range(5, 9))
    """
    found: list[range] = []
    for items in sorted(chain.from_iterable(several), key=_start):
        if found and items.start <= found[-1].stop:
            if items.stop > found[-1].stop:
                found[-1] = range(found[-1].start, items.stop)
        elif items:
            found.append(items)
    return tuple(found)


def without(items: ItemRanges, others: Iterable[range]) -> ItemRanges:
    """The items that are not among some others, which are in their order.

    Example:
        >>> without((range(10), range(20, 22)), [range(3, 5), range(8, 21)])
        (range(0, 3), range(5, 8), range(21, 22))
    """
    return tuple(_without(items, iter(others)))


def _without(items: ItemRanges, others: Iterator[range]) -> Iterator[range]:
    other = next(others, None)
    for part in items:
        start = part.start
        while other is not None and other.start < part.stop:
            if start < other.start:
                yield range(start, other.start)
            start = max(start, other.stop)
            if other.stop > part.stop:
                break
            other = next(others, None)
        if start < part.stop:
            yield range(start, part.stop)


def first_of(items: ItemRanges, count: int | None) -> ItemRanges:
    """Those among the first so many of the collection; None: it is not known how many it has.

    Example:
        >>> first_of((range(3), range(5, 9)), 6)
        (range(0, 3), range(5, 6))
    """
    if count is None or not items or items[-1].stop <= count:
        return items
    return tuple(range(part.start, min(part.stop, count)) for part in items if part.start < count)


def behind_slice(positions: range, items: ItemRanges) -> ItemRanges:
    """The items of a slice's source that some of its own are.

    Example:
        >>> behind_slice(range(100)[10:50], (range(3), range(5, 7)))
        (range(10, 13), range(15, 17))
        >>> behind_slice(range(100)[90::-30], (range(2),))
        (range(60, 61), range(90, 91))
    """
    chosen = (positions[part.start : part.stop] for part in items)
    return joined([tuple(chain.from_iterable(map(_ascending, chosen)))])


def _ascending(positions: range) -> Iterable[range]:
    if positions.step == 1:
        return (positions,)
    if positions.step == -1:
        return (positions[::-1],)
    return (range(position, position + 1) for position in positions)


def _start(items: range) -> int:
    return items.start
