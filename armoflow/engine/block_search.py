"""Which blocks of a long table need not be read for a page, by what is known of them."""

from __future__ import annotations

import sqlite3
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from armoflow.engine import row_blocks
from armoflow.engine.filters import (
    Condition,
    condition_on_options,
    find_field,
    make_value_test,
)
from armoflow.engine.list_query import ListQuery
from armoflow.engine.row_blocks import OPTIONS_ID, PLACES, UNSET, Block

MANY_OPTIONS: Final = 5_000
"""Options that are not looked through for a page."""

MIXED: Final = 64
"""Options in a block among which those that come first and last are looked for."""

FEW: Final = 4
"""A page is near an end if it is in one of so many parts of the blocks."""

_ORDERED: Final = ("==", "<", "<=", ">", ">=")

SortKeys: TypeAlias = "tuple[Any, ...]"
"""What a row is sorted by: some value and its id, or its id or number alone."""

BlockMatch: TypeAlias = "bool | None"
"""Whether all rows of a block match, or none; None: some may."""


Range: TypeAlias = "tuple[int, int]"
"""The first and last numbers of some rows."""

_Where: TypeAlias = Literal["before", "inside", "after"]
_BEFORE: Final[_Where] = "before"
_INSIDE: Final[_Where] = "inside"
_AFTER: Final[_Where] = "after"


class Cut(NamedTuple):
    """What is to be read for a page, and what is known of the rest.

    Attributes:
        ranges: The rows that are to be read.
        matching: How many of the others match, where that is asked for.
        before: How many of these come before the page's span.
    """

    ranges: Sequence[Range]
    matching: int
    before: int


class BlockSearch:
    """The blocks of a table, as one list call sees them.

    Args:
        connection: The journal.
        query: The list call.
        blocks: What is known of them.
        last: The number of the table's last row.
        by_number: What is sorted by has the order of the rows' numbers.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        query: ListQuery,
        blocks: Sequence[Block | None],
        last: int,
        *,
        by_number: bool,
    ) -> None:
        self._query = query
        self._blocks = blocks
        self._last = last
        judge = _judge_all(connection, query)
        self._verdicts = [
            None if block is None else bool(block.rows) and judge(block) for block in blocks
        ]
        self._find_bounds = _make_bounds(connection, query, by_number)

    def total(self, connection: sqlite3.Connection, most: int) -> int | None:
        """How many rows match, if no more than so many have to be read for it."""
        ranges, known = self.count()
        if sum(last - first + 1 for first, last in ranges) > most:
            return None
        return known + sum(self._query.count_among(connection, *ends) for ends in ranges)

    def count(self) -> tuple[list[Range], int]:
        """What is to be read to count the rows that match, and how many of the others do."""
        unsure = [
            place
            for place, (block, verdict) in enumerate(self._known())
            if block is None or verdict is None
        ]
        matching = sum(block.rows for block, verdict in self._known() if block and verdict)
        return self._ranges(unsure), matching

    def span(self, total: int | None) -> tuple[SortKeys | None, SortKeys | None]:
        """Between which rows a page near one of the ends must be; None: nothing is known."""
        query = self._query
        sure = [
            (bounds, block.rows)
            for place, (block, verdict) in enumerate(self._known())
            if block and verdict and (bounds := self._find_bounds(place, block))
        ]
        up = not query.descending
        high = _find_end(sure, query.start + query.page_size, least=up)
        if high is not None or total is None:
            return None, high
        return _find_end(sure, total - query.start, least=not up), None

    def cut(self, low: SortKeys | None, high: SortKeys | None, *, counts: bool) -> Cut:
        """What is to be read for what is in a span.

        Args:
            low: The page's rows are none before this.
            high: Nor after this.
            counts: All rows that match are counted; else those before what is in the span, where
                it has two ends.
        """
        wanted: list[int] = []
        matching = before = 0
        for place, (block, verdict) in enumerate(self._known()):
            if block is None:
                wanted.append(place)
            elif verdict is not False:
                where = self._where(place, block, low, high)
                counted = counts or (where is _BEFORE and high is not None)
                if where is _INSIDE or (counted and verdict is None):
                    wanted.append(place)
                elif counted:
                    matching += block.rows
                    before += block.rows if where is _BEFORE else 0
        return Cut(self._ranges(wanted), matching, before)

    def _known(self) -> Iterator[tuple[Block | None, BlockMatch]]:
        return zip(self._blocks, self._verdicts, strict=True)

    def _ranges(self, places: Sequence[int]) -> list[Range]:
        """The rows of some blocks, and those after all blocks."""
        size, ranges = row_blocks.BLOCK, [(-1, -1)]
        for place in places:
            first, last = place * size + 1, (place + 1) * size
            if ranges[-1][1] == first - 1:
                first, _ = ranges.pop()
            ranges.append((first, last))
        ranges.append((len(self._blocks) * size + 1, self._last))
        return [each for each in ranges if 0 < each[0] <= each[1]]

    def _where(
        self, place: int, block: Block, low: SortKeys | None, high: SortKeys | None
    ) -> _Where:
        """Where a block is, seen from the span, in the page's order."""
        bounds = self._find_bounds(place, block)
        if bounds is None:
            return _INSIDE
        least, greatest = map(_ranked, bounds)
        less, more = _BEFORE, _AFTER
        if self._query.descending:
            low, high, less, more = high, low, more, less
        if low is not None and greatest < _ranked(low):
            return less
        if high is not None and least > _ranked(high):
            return more
        return _INSIDE


def _ranked(keys: SortKeys) -> SortKeys:
    """Comparable as SQLite compares: a text is less than what stands for an unset one."""
    return keys if len(keys) == 1 else (isinstance(keys[0], bytes), *keys)


_Bounds: TypeAlias = "tuple[SortKeys, SortKeys]"


def _find_end(blocks: Sequence[tuple[_Bounds, int]], rows: int, *, least: bool) -> SortKeys | None:
    """What so many rows are not greater than, or not less; None if that may be far from the end.

    Of a block one row has the least value, if with the greatest id; no other is greater than the
    greatest value with that id.
    """
    ends: list[tuple[SortKeys, int]] = []
    for (low, high), count in blocks:
        first, last = (low, high) if least else (high, low)
        ends += ((*first[:-1], last[-1]), 1), (last, count - 1)
    ends.sort(key=lambda end: _ranked(end[0]), reverse=not least)
    for keys, count in ends[: max(len(ends) // FEW, 1)]:
        rows -= count
        if rows <= 0:
            return keys
    return None


# --- what a page is sorted by -------------------------------------------------------------------


def _make_bounds(
    connection: sqlite3.Connection, query: ListQuery, by_number: bool
) -> Callable[[int, Block], _Bounds | None]:
    """What the keys of a block's rows are between, of the block at some place; None: anything."""
    if by_number:
        size = row_blocks.BLOCK
        return lambda place, _: ((place * size + 1,), ((place + 1) * size,))
    places = PLACES[query.entity]
    ids = places["id"]
    if query.sort == "id":
        return lambda _, block: ((block.low[ids],), (block.high[ids],))
    if query.sort in places:
        column = places[query.sort]
        return lambda _, block: (
            (block.low[column], block.low[ids]),
            (block.high[column], block.high[ids]),
        )
    if not query.field.of_options or _has_many_options(connection):
        return lambda _, __: None
    return _bounds_of_options(connection, query, places[OPTIONS_ID], ids)


def _bounds_of_options(
    connection: sqlite3.Connection, query: ListQuery, column: int, ids: int
) -> Callable[[int, Block], _Bounds | None]:
    sql = f"SELECT o.id,{query.field.never_null} FROM options o ORDER BY o.id"
    found = connection.execute(sql, query.field.parameters).fetchall()
    rows = [row for row, _ in found]

    def find(_: int, block: Block) -> _Bounds | None:
        first, end = bisect_left(rows, block.low[column]), bisect_right(rows, block.high[column])
        values = [value for _, value in found[first:end]]
        if not 0 < len(values) <= MIXED:
            return None
        order = [((isinstance(value, bytes), value), value) for value in values]
        return (min(order)[1], block.low[ids]), (max(order)[1], block.high[ids])

    return find


def _has_many_options(connection: sqlite3.Connection) -> bool:
    row = connection.execute(
        "SELECT count(*) FROM (SELECT 1 FROM options LIMIT ?)", (MANY_OPTIONS,)
    )
    return bool(row.fetchone()[0] == MANY_OPTIONS)


# --- whether rows match -------------------------------------------------------------------------


def _judge_all(connection: sqlite3.Connection, query: ListQuery) -> Callable[[Block], BlockMatch]:
    """A judge of whether the rows of a block match."""
    if query.takes_all:
        return lambda _: True
    alternatives = [
        [_judge(connection, query, condition) for condition in every] for every in query.filters
    ]

    def judge(block: Block) -> BlockMatch:
        verdicts = [_all_of([test(block) for test in every]) for every in alternatives]
        if True in verdicts:
            return True
        return None if None in verdicts else False

    return judge


def _all_of(verdicts: Sequence[BlockMatch]) -> BlockMatch:
    if False in verdicts:
        return False
    return None if None in verdicts else True


def _judge(
    connection: sqlite3.Connection, query: ListQuery, condition: Condition
) -> Callable[[Block], BlockMatch]:
    """The judge of one condition."""
    places = PLACES[query.entity]
    field = find_field(query.entity, condition.field)
    if condition.field in places:
        column, test = places[condition.field], make_value_test(condition)

        def judge(block: Block) -> BlockMatch:
            low, high = block.low[column], block.high[column]
            if low == high:
                return test(None if field.nullable and low == UNSET else low)
            return _compare(condition, low, high)

        return judge
    if not field.of_options or _has_many_options(connection):
        return lambda _: None
    return _judge_of_options(connection, condition, places[OPTIONS_ID])


def _compare(condition: Condition, low: Any, high: Any) -> BlockMatch:
    """Whether values between two others, some unset if the greater one is, pass a test."""
    _, sign, value = condition
    if value is None or sign not in _ORDERED:
        return None
    if sign == "==":
        return False if value < low or value > high else None
    test = make_value_test(condition)
    passes = test(low)
    if passes is not test(high) or (passes and high == UNSET):
        return None
    return passes


def _judge_of_options(
    connection: sqlite3.Connection, condition: Condition, column: int
) -> Callable[[Block], BlockMatch]:
    clause = condition_on_options(condition)
    sql = f"SELECT o.id,ifnull({clause.sql},0) FROM options o ORDER BY o.id"
    found = connection.execute(sql, clause.parameters).fetchall()
    rows = [row for row, _ in found]
    matching = [0, *accumulate(int(bool(matches)) for _, matches in found)]

    def judge(block: Block) -> BlockMatch:
        first, end = bisect_left(rows, block.low[column]), bisect_right(rows, block.high[column])
        count = matching[end] - matching[first]
        if count == 0:
            return False
        return True if count == end - first else None

    return judge
