"""A list call as SQL: which rows of a table a page has, in which order, and how many match."""

from __future__ import annotations

import json
import sqlite3
from typing import Any, Final

from armoflow.engine.filters import EntityKind, Filters, find_field, make_clause
from armoflow.engine.records import StateError
from armoflow.engine.schema import COLUMNS, FIXED

READ_AT_ONCE: Final = 500

LONGEST: Final = 100_000
"""Rows of one page: 40 MB of a reply, and several times as much of memory while it is made."""

FRACTIONS: Final = 4194304.0
"""2**22: a date times this is a whole number, so that it goes through JSON unchanged.

A float of today's seconds since the epoch has 22 bits after the point; SQLite writes floats in
JSON with 15 digits, which is less.
"""


class ListQuery:
    """A list call.

    Args:
        entity: What is listed.
        filters: Which of them.
        sort: By what; ties are broken by id.
        descending: The largest first.
        page: Which page, from zero.
        page_size: Rows of a page.

    Attributes:
        entity: What is listed.
        filters: Which of them.
        sort: By what.
        descending: The largest first.
        start: How many come before the page.
        page_size: Rows of the page.
        where: The filters as SQL.
        names_rows: The filters name some rows by their ids: these are found by their index.
        key: Equal for all pages and orders of the same rows.
        is_fixed: What matches does so for ever.
        keeps_places: And what is sorted by never changes.

    Raises:
        StateError: INVALID_ARGUMENT, for what makes no sense.
    """

    def __init__(
        self,
        entity: EntityKind,
        filters: Filters,
        *,
        sort: str = "id",
        descending: bool = False,
        page: int = 0,
        page_size: int = 100,
    ) -> None:
        check_page(page, page_size)
        find_field(entity, sort)
        if _is_same(filters, sort):  # for all rows
            sort = "id"
        fields = {each.field for some in filters for each in some}
        self.entity: EntityKind = entity
        self.filters = filters
        self.where = make_clause(entity, filters)
        self.key = (entity, self.where.sql, *self.where.parameters)
        self.is_fixed = all(_is_fixed(entity, field) for field in fields)
        self.keeps_places = self.is_fixed and _is_fixed(entity, sort)
        self.names_rows = "id" in fields
        self.field = find_field(entity, sort)
        self.descending = descending
        self.sort = sort
        self.start = page * page_size
        self.page_size = page_size

    @property
    def takes_all(self) -> bool:
        """Whether all rows match."""
        return self.where.sql == "1"

    def count(self, connection: sqlite3.Connection, after: int = 0) -> int:
        """How many rows match, of those after a row; 0: of all."""
        where = f"e.rowid>{after} AND ({self.where.sql})" if after else self.where.sql
        sql = f"SELECT count(*) FROM {self.entity} e WHERE {where}"
        return int(connection.execute(sql, self.where.parameters).fetchone()[0])

    def count_among(self, connection: sqlite3.Connection, first: int, last: int) -> int:
        """How many rows of some numbers match."""
        sql = f"SELECT count(*) FROM {self.entity} e WHERE e.rowid BETWEEN ? AND ? "
        parameters = [first, last, *self.where.parameters]
        found = connection.execute(f"{sql} AND ({self.where.sql})", parameters)
        return int(found.fetchone()[0])

    def numbers(
        self,
        connection: sqlite3.Connection,
        total: int,
        *,
        by_number: bool = False,
        walk: int | None = None,
    ) -> str:
        """The numbers of the rows of the page, in its order, as JSON.

        Args:
            connection: The journal.
            total: How many match.
            by_number: The rows are in the order of what is sorted by.
            walk: By number or id: look at so many rows from the nearer end, no more.
        """
        start, count = min(self.start, total), self.length(total)
        backwards = start > total // 2  # the last pages are near the other end
        if backwards:
            start = total - start - count
        down = self.descending != backwards
        order = f"e.rowid {_direction(down)}" if by_number else self.order(descending=down)
        where, parameters = self.where.sql, list(self.where.parameters)
        if walk is not None:
            key = "rowid" if by_number else "id"
            end = connection.execute(
                f"SELECT {key} FROM {self.entity} ORDER BY {key} {_direction(down)} "
                f"LIMIT 1 OFFSET {walk}"
            ).fetchone()
            if end is not None:
                where = f"e.{key}{'>' if down else '<'}? AND ({where})"
                parameters = [*end, *parameters]
        if not by_number and self.sort != "id":
            parameters += self.field.parameters
        found = f"SELECT e.rowid AS number {self.source} WHERE {where} ORDER BY {order}"
        sql = f"SELECT json_group_array(number) FROM ({found} LIMIT ? OFFSET ?)"
        text = str(connection.execute(sql, [*parameters, count, start]).fetchone()[0])
        return json.dumps(json.loads(text)[::-1]) if backwards else text

    def length(self, total: int) -> int:
        """How many rows the page has, if so many match.

        Raises:
            StateError: RESOURCE_EXHAUSTED, if they are too many for one reply.
        """
        length = max(min(self.page_size, total - self.start), 0)
        if length > LONGEST:
            raise StateError(
                "RESOURCE_EXHAUSTED",
                f"this page has {length} {self.entity}, more than one reply carries: ask for a "
                f"page_size of at most {LONGEST}",
            )
        return length

    def reach(self, total: int, last: int) -> float:
        """How many rows there are from the nearer end to the page, if those that match are spread.

        Args:
            total: How many match.
            last: Of so many rows.
        """
        nearer = min(self.start, max(total - self.start - self.page_size, 0))
        return (nearer + self.page_size) * last / max(total, 1)

    @property
    def source(self) -> str:
        """The rows ``e`` of the table, with their options where these are sorted by."""
        return source(self.entity, "o." in self.field.sql)

    def order(self, *, descending: bool) -> str:
        """What the rows are ordered by."""
        if self.sort == "id":  # said twice, it would cost them their index
            return f"e.id {_direction(descending)}"
        return f"{self.field.order(descending=descending)}, e.id {_direction(descending)}"

    def rows(self, connection: sqlite3.Connection, numbers: str) -> list[list[Any]]:
        """The rows of some numbers, in this order."""
        page = (
            f"FROM json_each(?) page CROSS JOIN {self.entity} e ON e.rowid=page.value "
            "ORDER BY page.key"
        )
        wanted = json.loads(numbers)
        rows: list[list[Any]] = []
        for start in range(0, len(wanted), READ_AT_ONCE):
            part = json.dumps(wanted[start : start + READ_AT_ONCE])
            rows += fetch(connection, self.entity, page, [part])
        return rows


def _is_same(filters: Filters, field: str) -> bool:
    """Whether a field has the same value in all rows that match."""
    values = [
        {condition.value for condition in every if condition[:2] == (field, "==")}
        for every in filters
    ]
    return bool(values) and bool(set.intersection(*values))


def _is_fixed(entity: EntityKind, field: str) -> bool:
    """Whether a field never changes: of options, a row never gets others."""
    fixed = FIXED.get(entity, ())
    return field in fixed or ("options_id" in fixed and field.startswith("options."))


def _direction(descending: bool) -> str:
    return "DESC" if descending else "ASC"


def check_page(page: int, page_size: int) -> None:
    """Refuse pages that there cannot be."""
    if page < 0 or page_size < 0:
        raise StateError("INVALID_ARGUMENT", "page and page_size must not be negative")


def source(entity: EntityKind, options: bool = True) -> str:
    """The rows ``e`` of a table, with their options ``o``."""
    join = " JOIN options o ON o.id=e.options_id"
    return f"FROM {entity} e{join if options and entity in ('sessions', 'tasks') else ''}"


def fetch(
    connection: sqlite3.Connection, entity: EntityKind, source: str, parameters: list[Any]
) -> list[list[Any]]:
    """The rows of ``source``, in its order.

    SQLite hands them over as one text, a JSON list a line: each row that the driver fetches costs
    a wait for the interpreter lock while the event loop is busy.
    """
    columns = COLUMNS.get(entity, ("id",))
    dates = [number for number, name in enumerate(columns) if _is_date(name)]
    values = ",".join(
        f"CAST(e.{name}*{FRACTIONS} AS INTEGER)" if _is_date(name) else f"e.{name}"
        for name in columns
    )
    sql = f"SELECT group_concat(line, char(10)) FROM (SELECT json_array({values}) AS line {source})"
    text = connection.execute(sql, parameters).fetchone()[0]
    if text is None:
        return []
    rows = [json.loads(line) for line in text.split("\n")]
    for row in rows:
        for number in dates:
            row[number] /= FRACTIONS
    return rows


def _is_date(column: str) -> bool:
    return column.endswith("_at") or column in ("pod_ttl", "duration", "not_before")
