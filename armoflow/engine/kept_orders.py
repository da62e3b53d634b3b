"""Parts of orders that pages were found in, kept for as long as the rows in them stay as they are.

To find a page of a long table the table is read, and some thousand rows are sorted. Who has looked
at a page looks at it again, or at the next ones: these are in the same part. Rows that were added
meanwhile are looked at alone, as long as no other was written: or whatever was written, where rows
neither begin nor cease to match, nor change their places.
"""

from __future__ import annotations

import json
from array import array
from collections import deque
from typing import Any, Final, NamedTuple

from armoflow.engine.list_query import ListQuery
from armoflow.engine.row_counts import RowCounts

KEPT: Final = 16
"""Parts that are kept, the newest ones."""

LENGTH: Final = 5_000
"""Rows of a part that is sorted and kept, where there are more: some 5 ms."""

ADDED: Final = 20_000
"""Rows that were added to the table since, of which one thread finds those that match in some
milliseconds."""


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


class Kept(NamedTuple):
    """A part, and when it was as it is.

    Attributes:
        order: Of which rows in which order it is a part.
        last: The number of the table's last row.
        rows: Rows of the table that had been written, at least.
        removals: Batches that had removed some, at least.
        stretch: The part.
    """

    order: tuple[Any, ...]
    last: int
    rows: int
    removals: int
    stretch: Stretch

    def holds(self, query: ListQuery, last: int, begun: RowCounts) -> bool:
        """Whether the part is right but for the rows that were added.

        Args:
            query: The list call.
            last: The number of the table's last row now.
            begun: What had been handed over to the journal when that was the last.
        """
        added = last - self.last
        if begun.removals != self.removals or not 0 <= added <= ADDED:
            return False
        # As many rows were written as were added: none of the others was.
        return query.keeps_places or begun.rows[query.entity] - self.rows == added

    def extended(self, stretch: Stretch, last: int) -> Kept:
        """The same, with the rows that were added."""
        return self._replace(stretch=stretch, last=last, rows=self.rows + last - self.last)


class KeptOrders:
    """What is kept."""

    def __init__(self) -> None:
        self._kept: deque[Kept] = deque(maxlen=KEPT)

    def find(self, query: ListQuery) -> Kept | None:
        """The newest part that holds a page, or held it."""
        order = _order(query)
        for kept in self._kept:
            if kept.order == order and kept.stretch.page(query):
                return kept
        return None

    def keep(self, query: ListQuery, last: int, written: tuple[int, int], stretch: Stretch) -> None:
        """Keep a part that was found.

        Args:
            query: The list call.
            last: The number of the table's last row.
            written: How many rows of it had been written before, and batches with removals.
            stretch: The part.
        """
        if stretch.numbers or not stretch.total:
            self._keep(Kept(_order(query), last, *written, stretch))

    def replace(self, before: Kept, now: Kept) -> None:
        """Keep a part as it is now; not the one of before."""
        self._kept = deque((kept for kept in self._kept if kept is not before), KEPT)
        self._keep(now)

    def _keep(self, kept: Kept) -> None:
        if len(kept.stretch.numbers) <= 2 * LENGTH:
            self._kept.appendleft(kept)


def _order(query: ListQuery) -> tuple[Any, ...]:
    """Equal for all pages of the same rows in the same order."""
    return (query.sort, query.descending, query.key)
