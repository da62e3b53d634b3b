"""Which rows of a long table a page has, found by one scan in several threads.

A sample of some thousand rows tells between which two of them the page must be. Then all rows are
gone over, a part of them by each thread: those that match are counted, and so are those before that
span; the numbers of those in it are gathered. Only these are sorted: some hundreds for the first
and last pages, a twentieth of the table for one in the middle. So it takes about as long as reading
the table does, whatever is filtered and sorted by, and rows cost no index when they are written.
Most blocks of very long tables need not be read (:mod:`armoflow.engine.block_search`).
"""

from __future__ import annotations

import json
import math
import random
import sqlite3
from array import array
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Final, NamedTuple

from armoflow.engine.block_search import BlockSearch, Cut, SortKeys
from armoflow.engine.kept_orders import LENGTH, Stretch
from armoflow.engine.list_query import ListQuery

SAMPLE: Final = 4096
"""Rows of a sample: about 10 ms."""

FEW: Final = 64
"""Rows of a sample that match: with fewer of them, all that match are few enough to be sorted."""

DOUBT: Final = 4.0
"""Standard deviations by which a sample may be wrong."""


class Part(NamedTuple):
    """What was found in a part of the table.

    Attributes:
        matching: How many rows match.
        before: How many of them come before the span.
        numbers: The numbers of those in the span, as the inside of a JSON list.
    """

    matching: int
    before: int
    numbers: str


class Sample:
    """Rows of a sample, one of each short part of the table, and those that match in their order.

    Rows that were written together are alike in most of what is sorted by: then the rows of each
    part come before a place, or all of them after it, and the sample hardly errs.

    Args:
        rows: The numbers of all its rows, in their order.
        matching: Those of the ones that match, in the page's order.
    """

    def __init__(self, rows: Sequence[int], matching: Sequence[int]) -> None:
        self.found = len(matching)
        places = {number: place for place, number in enumerate(matching)}
        self._places = [places.get(number) for number in rows]

    def deviation(self, place: float, *, of_matching: bool) -> float:
        """By how much the sample errs, on average, in how many rows come before a place.

        Args:
            place: The place in its order.
            of_matching: It is asked for the part of the matching rows, not of all.
        """
        part = min(max(place / self.found, 0.0), 1.0) if of_matching else 0.0
        before = [
            0.0 if other is None else (1.0 if other < place else 0.0) - part
            for other in self._places
        ]
        # Half the squares of the steps from each part to the next one.
        return math.sqrt(sum((one - other) ** 2 for one, other in pairwise(before)) / 2)


class Selection:
    """The search for the rows of one page.

    Args:
        query: The list call.
        last: The number of the table's last row.
        total: How many match, if that is known.
        by_number: What is sorted by has the order of the rows' numbers.
        blocks: What is known of blocks of rows.

    Attributes:
        last: As given.
    """

    def __init__(
        self,
        query: ListQuery,
        last: int,
        total: int | None,
        *,
        by_number: bool = False,
        blocks: BlockSearch | None = None,
    ) -> None:
        self._query = query
        self.last = last
        self._total = total
        self._keys, self._key_parameters = _keys(query, by_number)
        self._join, self._join_parameters = _join(query)
        self._low: SortKeys | None = None
        self._high: SortKeys | None = None
        self._blocks = blocks
        self._cut = Cut([(1, last)], 0, 0)

    # --- what is asked of the journal ---

    def find_span(self, connection: sqlite3.Connection) -> None:
        """Between which rows the page must be."""
        blocks = self._blocks
        if blocks is None:
            self._find_span(connection)
        elif not self._query.page_size:
            self._cut = Cut(*blocks.count(), 0)
        else:
            self._low, self._high = blocks.span(self._total)
            if self._low is None and self._high is None:
                self._find_span(connection)
            self._cut = blocks.cut(self._low, self._high, counts=self._total is None)

    def _find_span(self, connection: sqlite3.Connection) -> None:
        stride = max(self.last / SAMPLE, 1.0)
        sample = [
            int(number * stride + random.random() * stride) + 1
            for number in range(int(self.last / stride))
        ]
        numbers = json.loads(self._sort(connection, json.dumps(sample)))
        found = len(numbers)
        if found < FEW or not self._query.page_size:
            return
        low, high = self._span(Sample(sample, numbers), stride)
        if low > 0:
            self._low = self._read_keys(connection, numbers[min(low, found - 1)])
        if high < found:
            self._high = self._read_keys(connection, numbers[high])

    def scan(self, connection: sqlite3.Connection, first: int, last: int) -> Part:
        """Go over the rows of some numbers, but for those of which all is known."""
        parts = [
            self._scan(connection, max(first, begin), min(last, end))
            for begin, end in self._cut.ranges
            if begin <= last and end >= first
        ]
        numbers = ",".join(part.numbers for part in parts if part.numbers)
        matching = sum(part.matching for part in parts)
        return Part(matching, sum(part.before for part in parts), numbers)

    def _scan(self, connection: sqlite3.Connection, first: int, last: int) -> Part:
        query, where = self._query, self._query.where
        down = query.descending
        from_low, low = self._compare("<=" if down else ">=", self._low)
        to_high, high = self._compare(">=" if down else "<=", self._high)
        inside, span = self._is_inside() or (f"{from_low} AND {to_high}", [*low, *high])
        rows = f"FROM {query.entity} e WHERE e.rowid BETWEEN ? AND ?"
        among = [first, last]
        if not query.page_size:
            sql = f"SELECT '',count(*),0 {rows} AND ({where.sql})"
            parameters = [*among, *where.parameters]
        elif self._is_counted:  # few are in the span: whether they match is seen after that
            sql = f"SELECT group_concat(e.rowid),0,0 {rows} AND {from_low} AND {to_high} "
            sql += f"AND ({where.sql})"
            parameters = [*among, *low, *high, *where.parameters]
        elif self._total is not None:  # so those after the span need not be counted
            sql = f"SELECT group_concat(e.rowid) FILTER (WHERE {inside}),0,count(*) {rows} "
            sql += f"AND {to_high} AND ({where.sql})"
            parameters = [*span, *among, *high, *where.parameters]
        else:
            earlier = f"count(*) FILTER (WHERE NOT ({from_low}))" if low else "0"
            sql = f"SELECT group_concat(e.rowid) FILTER (WHERE {inside}),"
            sql += f"count(*),{earlier} {rows} AND ({where.sql})"
            parameters = [*span, *low, *among, *where.parameters]
        text, matching, before = connection.execute(sql, parameters).fetchone()
        numbers = text or ""
        if self._total is not None:  # those in the span were counted with those before it
            before -= _length(numbers)
        return Part(matching, before, numbers)

    def count(self, parts: Sequence[Part]) -> int:
        """How many rows match."""
        if self._total is not None:
            return self._total
        return self._cut.matching + sum(part.matching for part in parts)

    def choose(self, connection: sqlite3.Connection, parts: Sequence[Part]) -> Stretch | None:
        """The page's rows, and some of those around them, in their order.

        None if the sample misled.
        """
        query, total = self._query, self.count(parts)
        text = ",".join(part.numbers for part in parts if part.numbers)
        found = _length(text)
        before = self._cut.before + sum(part.before for part in parts)
        if self._low is None:
            before = 0
        elif self._is_counted:
            before = total - found
        end = query.start + query.length(total)
        if query.start >= end:
            return Stretch(total, query.start, array("q"))
        if query.start < before or end > before + found:
            return None
        first, limit = before, ""
        if found > LENGTH:
            first = max(before, query.start - LENGTH // 2)
            limit = f"LIMIT {max(LENGTH, end - first)} OFFSET {first - before}"
        numbers = json.loads(self._sort(connection, f"[{text}]", limit))
        return Stretch(total, first, array("q", numbers))

    def extend(self, connection: sqlite3.Connection, stretch: Stretch, after: int) -> Stretch:
        """A part of the order as it is with the rows that were added after one."""
        numbers, end = stretch.numbers, stretch.first + len(stretch.numbers)
        if stretch.first:
            self._low = self._read_keys(connection, numbers[0])
        if end < stretch.total:
            self._high = self._read_keys(connection, numbers[-1])
        added = self.scan(connection, after + 1, self.last)
        if added.numbers:
            inside = [*numbers.tolist(), *json.loads(f"[{added.numbers}]")]
            numbers = array("q", json.loads(self._sort(connection, json.dumps(inside))))
        return Stretch(stretch.total + added.matching, stretch.first + added.before, numbers)

    # --- its parts ---

    @property
    def _is_counted(self) -> bool:
        """Whether the rows in the span tell how many there are elsewhere."""
        return self._total is not None and (self._low is None or self._high is None)

    def _span(self, sample: Sample, stride: float) -> tuple[int, int]:
        """The places in the sample, in its order, between which the page must be."""
        query, total, found = self._query, self._total, sample.found
        # If it is known how many match, the sample tells which part of them comes before the page.
        share = found / total if total else 1 / stride

        def place(rank: int, sign: int) -> float:
            exact = min(rank * share, float(found))
            near = sample.deviation(exact, of_matching=bool(total))
            far = sample.deviation(exact + sign * DOUBT * (near + 1), of_matching=bool(total))
            return exact + sign * DOUBT * (max(near, far) + 1)

        return int(place(query.start, -1)), math.ceil(place(query.start + query.page_size, 1))

    def _sort(self, connection: sqlite3.Connection, numbers: str, limit: str = "") -> str:
        """Those of the rows of some numbers that match, as JSON, in the page's order."""
        direction = "DESC" if self._query.descending else "ASC"
        order = ",".join(f"{key} {direction}" for key in self._keys)
        where = self._query.where
        sql = (
            f"SELECT json_group_array(number) FROM (SELECT e.rowid AS number FROM json_each(?) n "
            f"CROSS JOIN {self._query.entity} e ON e.rowid=n.value {self._join} "
            f"WHERE {where.sql} ORDER BY {order} {limit})"
        )
        parameters = [
            *(numbers, *self._join_parameters, *where.parameters),
            *self._key_parameters,
        ]
        return str(connection.execute(sql, parameters).fetchone()[0])

    def _read_keys(self, connection: sqlite3.Connection, number: int) -> SortKeys:
        """What a row is sorted by."""
        sql = (
            f"SELECT {','.join(self._keys)} FROM {self._query.entity} e {self._join} "
            "WHERE e.rowid=?"
        )
        parameters = [*self._key_parameters, *self._join_parameters, number]
        keys: SortKeys = connection.execute(sql, parameters).fetchone()
        return keys

    def _is_inside(self) -> tuple[str, list[Any]] | None:
        """Whether a row is in the span, in fewer steps, where both of its ends have the same value.

        As SQL and its parameters. Most rows are left after one comparison of their ids.
        """
        low, high = self._low, self._high
        if low is None or high is None or len(low) == 1 or low[0] != high[0]:
            return None
        ids = sorted((low[1], high[1]))
        if self._join:
            ids_of = "SELECT o.id FROM options o WHERE"
            value = f"e.options_id IN ({ids_of} {self._query.field.never_null}=?)"
        else:
            value = f"{self._keys[0]}=?"
        return f"(e.id BETWEEN ? AND ? AND {value})", [*ids, *self._query.field.parameters, low[0]]

    def _compare(self, sign: str, keys: SortKeys | None) -> tuple[str, list[Any]]:
        """How a row compares with one of the sample, as SQL and its parameters."""
        if keys is None:
            return "1", []
        if self._join:  # which options come before and after is found once, for all rows
            value, parameters = self._query.field.never_null, self._query.field.parameters
            ids = f"SELECT o.id FROM options o WHERE {value}"
            sql = f"(e.options_id IN ({ids} {sign[0]} ?) OR "
            sql += f"(e.options_id IN ({ids}=?) AND e.id {sign} ?))"
            return sql, [*parameters, keys[0], *parameters, *keys]
        sql = f"({','.join(self._keys)}) {sign} ({','.join('?' * len(keys))})"
        return sql, [*self._key_parameters, *keys]


def _length(numbers: str) -> int:
    """How many numbers there are in the inside of a JSON list."""
    return numbers.count(",") + 1 if numbers else 0


def _keys(query: ListQuery, by_number: bool) -> tuple[list[str], tuple[Any, ...]]:
    """What rows are sorted by: no two have the same, and none is NULL. With its parameters."""
    if by_number:
        return ["e.rowid"], ()
    if query.sort == "id":
        return ["e.id"], ()
    field = query.field
    if field.of_options:
        return ["keys.value", "e.id"], ()
    return [field.never_null, "e.id"], field.parameters


def _join(query: ListQuery) -> tuple[str, tuple[Any, ...]]:
    """What is sorted by of the options, which are few: it is read once for all rows."""
    if not query.field.of_options:
        return "", ()
    # SQLite would put what has no limit into the place where it is used, for each row.
    keys = f"SELECT o.id,{query.field.never_null} AS value FROM options o LIMIT -1"
    return f"CROSS JOIN ({keys}) keys ON keys.id=e.options_id", query.field.parameters
