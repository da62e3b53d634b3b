"""Where the items of a task are in their collection.

Most are neighbours. Those that a cache does not have, or that failed in an earlier run, may be far
from each other, and travel together all the same.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import TypeAlias

Positions: TypeAlias = "int | Sequence[int]"
"""Of items that follow one another the first one's; of others each one's, in their order."""


def position_of(positions: Positions, item: int) -> int:
    """The position of an item, by its number in the task.

    Example:
        >>> position_of(10, 2), position_of([3, 40, 500], 2)
        (12, 500)
    """
    return positions + item if isinstance(positions, int) else positions[item]


def item_at(positions: Positions, position: int) -> int:
    """The number in the task that an item has by its position; of none of them, it may be any.

    Example:
        >>> item_at(10, 12), item_at([3, 40, 500], 500), item_at([3, 40, 500], 41)
        (2, 2, -1)
    """
    if isinstance(positions, int):
        return position - positions
    item = bisect_left(positions, position)
    return item if positions[item : item + 1] == [position] else -1


def as_positions(each: Sequence[int]) -> Positions:
    """The positions of some items, each of which is given.

    Example:
        >>> as_positions([10, 11, 12]), as_positions([3, 40, 500])
        (10, [3, 40, 500])
    """
    return each[0] if each[-1] - each[0] == len(each) - 1 else each


def choose_positions(positions: Positions, items: Sequence[int]) -> Positions:
    """Where some of the items are, by their numbers in the task.

    Example:
        >>> choose_positions(10, range(1, 3)), choose_positions([3, 40, 500], [0, 2])
        (11, [3, 500])
    """
    return as_positions([position_of(positions, item) for item in items])


def label(name: str, positions: Positions | None, item: int) -> str:
    """What errors call an item of a task; the task's name where it is of no collection.

    Example:
        >>> label("load", [3, 40, 500], 1), label("load", None, 0)
        ('load[40]', 'load')
    """
    return name if positions is None else f"{name}[{position_of(positions, item)}]"
