"""Parts of orders that pages were found in, kept for as long as their table stays as it is.

To find a page of a long table the table is read, and some thousand rows are sorted. Who has looked
at a page looks at it again, or at the next ones: these are in the same part, or none of it has
changed.
"""

from __future__ import annotations

import json
from array import array
from collections import deque
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from armoflow.engine.list_query import ListQuery

KEPT: Final = 16
"""Parts that are kept, the newest ones."""

LENGTH: Final = 20_000
"""Rows of a part that is kept: all of them take 2.5 MB."""


class Stretch(NamedTuple):
    """A part of the rows that match, in their order.

    Attributes:
        total: How many rows match.
        first: How many of them come before this part.
        numbers: The numbers of its rows.
    """

    total: int
    first: int
    numbers: array[int]

    def page(self, query: ListQuery) -> str | None:
        """The numbers of a page's rows, as JSON; None if some of them are elsewhere."""
        end = min(query.start + query.page_size, self.total)
        if query.start >= end:
            return "[]"
        if query.start < self.first or end > self.first + len(self.numbers):
            return None
        return json.dumps(self.numbers[query.start - self.first : end - self.first].tolist())


class _Kept(NamedTuple):
    order: tuple[Any, ...]
    writes: int
    stretch: Stretch


class KeptOrders:
    """What is kept.

    Args:
        writes: How often rows of a table were written.
    """

    def __init__(self, writes: Callable[[str], int]) -> None:
        self._writes = writes
        self._kept: deque[_Kept] = deque(maxlen=KEPT)

    def find(self, query: ListQuery) -> Stretch | None:
        """A part that holds a page, if there is one, and the table is as it was."""
        order, writes = _order(query), self._writes(query.entity)
        for kept in self._kept:
            if kept.writes == writes and kept.order == order and kept.stretch.page(query):
                return kept.stretch
        return None

    def keep(self, query: ListQuery, writes: int, stretch: Stretch) -> None:
        """Keep a part that was found when rows of its table had been written so often."""
        if len(stretch.numbers) <= LENGTH:
            self._kept.append(_Kept(_order(query), writes, stretch))


def _order(query: ListQuery) -> tuple[Any, ...]:
    """Equal for all pages of the same rows in the same order."""
    return (query.sort, query.descending, query.key)
