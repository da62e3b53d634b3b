"""Pages of lists: how their rows are found, which depends on how long the table is."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from armoflow.engine.block_search import BlockSearch
from armoflow.engine.creation_order import TABLES, CreationOrder
from armoflow.engine.filters import Filters
from armoflow.engine.kept_orders import Kept, KeptOrders, Stretch
from armoflow.engine.list_query import ListQuery
from armoflow.engine.reader import SHORT, Reader, Scanner, last_number
from armoflow.engine.row_blocks import RowBlocks
from armoflow.engine.row_counts import RowCounts
from armoflow.engine.selection import Selection

T = TypeVar("T")
Make = Callable[[sqlite3.Connection, list[list[Any]]], list[T]]

KNOWN_TOTALS: Final = 10_000

WALK: Final = 50_000
"""Rows that are gone through, one after the other, for those of a page: some 10 ms."""


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """A page of matches, and how many matches there are on all pages."""

    items: list[T]
    total: int


class Pages:
    """Finds pages.

    Args:
        reader: Runs what is short.
        scanner: Goes over whole tables.
        total: How many tasks match, where the engine knows without its journal.
        order: Whether rows are in the order of their creation.
        blocks: What is known of blocks of rows.
        begun: What was handed over to the journal.
        written: What of it is committed.
    """

    def __init__(
        self,
        reader: Reader,
        scanner: Scanner,
        total: Callable[[Filters], int | None],
        *,
        order: CreationOrder,
        blocks: RowBlocks,
        begun: RowCounts,
        written: RowCounts,
    ) -> None:
        self._reader = reader
        self._scanner = scanner
        self._find_total = total
        self._begun = begun
        self._written = written
        self._kept = KeptOrders()
        self._order = order
        self._blocks = blocks
        self._totals: dict[tuple[Any, ...], tuple[int, int, int]] = {}

    async def read(self, query: ListQuery, make: Make[T]) -> Page[T]:
        """The page of a list call; ``make`` makes its items of rows."""
        return await self._read_again(query, make) or await self._find(query, make)

    async def _read_again(self, query: ListQuery, make: Make[T]) -> Page[T] | None:
        """The page, if it is in a part of the order that is kept."""
        kept = self._kept.find(query)
        if kept is None:
            return None

        def read(connection: sqlite3.Connection) -> tuple[Page[T], Kept] | None:
            last = last_number(connection, query.entity)
            if not kept.holds(query, last, self._begun):
                return None
            stretch = kept.stretch
            if last > kept.last:
                stretch = Selection(query, last, None).extend(connection, stretch, kept.last)
            numbers = stretch.page(query)
            if numbers is None:
                return None
            page = Page(make(connection, query.rows(connection, numbers)), stretch.total)
            # A page of no rows was asked for their number only.
            changed = last > kept.last and query.page_size
            return page, kept.extended(stretch, last) if changed else kept

        again = await self._reader.run(read)
        if again is None:
            return None
        page, now = again
        if now is not kept:
            self._kept.replace(kept, now)
        return page

    async def _find(self, query: ListQuery, make: Make[T]) -> Page[T]:
        """The page, wherever it is."""
        removals, rows = self._written.removals, self._written.rows[query.entity]
        total = self._find_total(query.filters) if query.entity == "tasks" else None

        def begin(connection: sqlite3.Connection) -> Page[T] | Selection:
            last = last_number(connection, query.entity)
            if last <= SHORT or query.names_rows or query.entity not in TABLES:
                return _read_page(connection, query, make, query.count(connection))
            by_number = query.sort == "created_at" and self._order.holds
            blocks = self._search(connection, query, last, by_number=by_number)
            known = total
            if known is None:
                known = self._count(connection, query, last, removals, blocks)
            if known == 0:
                return Page([], 0)
            if known is not None and (by_number or query.sort == "id"):
                page = _walk(connection, query, make, known, last, by_number=by_number)
                if page is not None:
                    return page
            selection = Selection(query, last, known, by_number=by_number, blocks=blocks)
            selection.find_span(connection)
            return selection

        if query.entity in TABLES:
            self._blocks.asked(query.entity)
        begun = await self._reader.run(begin)
        if isinstance(begun, Page):
            return begun
        parts = await self._scanner.scan(query.entity, begun.scan, begun.last)

        def end(connection: sqlite3.Connection) -> tuple[Page[T], Stretch | None]:
            total = begun.count(parts)
            self._note(query, begun.last, total, removals)
            stretch = begun.choose(connection, parts)
            numbers = None if stretch is None else stretch.page(query)
            if numbers is None:
                return _read_page(connection, query, make, total), None
            return Page(make(connection, query.rows(connection, numbers)), total), stretch

        page, stretch = await self._reader.run(end)
        if stretch is not None:
            self._kept.keep(query, begun.last, (rows, removals), stretch)
        return page

    # --- in the reader's threads ---

    def _search(
        self, connection: sqlite3.Connection, query: ListQuery, last: int, *, by_number: bool
    ) -> BlockSearch | None:
        """The blocks of a table, if some are known."""
        blocks = self._blocks.known(query.entity)
        if blocks is None:
            return None
        return BlockSearch(connection, query, blocks, last, by_number=by_number)

    def _count(
        self,
        connection: sqlite3.Connection,
        query: ListQuery,
        last: int,
        removals: int,
        blocks: BlockSearch | None,
    ) -> int | None:
        """How many match, if that is quickly told: what matches for ever is counted once.

        All rows are: to count two millions takes as long as to find a page of them.
        """
        known = self._totals.get(query.key)
        if known is None or known[2] != removals:
            counted = None if blocks is None else blocks.total(connection, WALK)
            if counted is None and not query.takes_all:
                return None
            total = query.count(connection) if counted is None else counted
        elif last - known[0] > SHORT and not query.takes_all:
            return None
        else:
            total = known[1] + query.count(connection, known[0])
        self._note(query, last, total, removals)
        return total

    def _note(self, query: ListQuery, last: int, total: int, removals: int) -> None:
        if query.is_fixed:
            if len(self._totals) >= KNOWN_TOTALS:
                self._totals = {}
            self._totals[query.key] = last, total, removals


def _read_page(
    connection: sqlite3.Connection, query: ListQuery, make: Make[T], total: int
) -> Page[T]:
    """A page of so many rows, found without a selection."""
    numbers = query.numbers(connection, total)
    return Page(make(connection, query.rows(connection, numbers)), total)


def _walk(
    connection: sqlite3.Connection,
    query: ListQuery,
    make: Make[T],
    total: int,
    last: int,
    *,
    by_number: bool,
) -> Page[T] | None:
    """A page of so many rows, found by going through them in their order, if it is not far."""
    walk = None if query.takes_all else WALK
    if walk is not None and query.reach(total, last) > walk:
        return None
    numbers = query.numbers(connection, total, by_number=by_number, walk=walk)
    rows = query.rows(connection, numbers)
    return Page(make(connection, rows), total) if len(rows) == query.length(total) else None
