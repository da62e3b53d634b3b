"""A list call as SQL: which rows of a table a page has, in which order, and how many match."""

from __future__ import annotations

import json
import sqlite3
from typing import Any, Final

from armoflow.engine.filters import Entity, Filters, find_field, make_clause
from armoflow.engine.records import StateError
from armoflow.engine.schema import COLUMNS, FIXED

READ_AT_ONCE: Final = 500
FRACTIONS: Final = 4194304.0
"""2**22: a date times this is a whole number, so that it goes through JSON unchanged.

A float of today's seconds since the epoch has 22 bits after the point; SQLite writes floats in
JSON with 15 digits, which is less.
"""

SHARE: Final = 8
"""One row of so many: a session with more is read in the table's order, not by its index."""


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
        key: Equal for all pages and orders of the same rows.
        is_fixed: What matches does so for ever.

    Raises:
        StateError: INVALID_ARGUMENT, for what makes no sense.
    """

    def __init__(
        self,
        entity: Entity,
        filters: Filters,
        *,
        sort: str = "id",
        descending: bool = False,
        page: int = 0,
        page_size: int = 100,
    ) -> None:
        check_page(page, page_size)
        self.entity: Entity = entity
        self._where = make_clause(entity, filters)
        self.key = (entity, self._where.sql, *self._where.parameters)
        self.is_fixed = (
            entity in FIXED and {each.field for some in filters for each in some} <= FIXED[entity]
        )
        self._names_rows = any(each.field == "id" for some in filters for each in some)
        self._field = find_field(entity, sort)
        self._descending = descending
        self._sort = sort
        self._page = page
        self._page_size = page_size

    def count(self, connection: sqlite3.Connection, after: int = 0) -> int:
        """How many rows match, of those after a row; 0: of all."""
        joins = source(self.entity, "o." in self._where.sql)
        where = self._any_session if self._names_rows or after else self._where.sql
        where = f"e.rowid>{after} AND ({where})" if after else where
        sql = f"SELECT count(*) {joins} WHERE {where}"
        return int(connection.execute(sql, self._where.parameters).fetchone()[0])

    @property
    def gains(self) -> bool:
        """Whether indexes (:func:`~armoflow.engine.schema.index_statements`) make it quick."""
        return self._sort == "created_at" and self._page_size > 0

    def length(self, connection: sqlite3.Connection) -> int:
        """Rows of the table, at most."""
        last = connection.execute(f"SELECT max(rowid) FROM {self.entity}").fetchone()[0]
        return last or 0

    @property
    def _any_session(self) -> str:
        """The condition in a form in which SQLite does not begin with the rows of a session."""
        return self._where.sql.replace("e.session_id", "+e.session_id")

    def _order(self, *, descending: bool) -> str:
        direction = "DESC" if descending else "ASC"
        return f"{self._field.order(descending=descending)}, e.id {direction}"

    def rows(self, connection: sqlite3.Connection, total: int) -> list[list[Any]]:
        """The rows of the page: which they are is found first, for what is sorted is copied.

        Args:
            connection: The journal.
            total: How many match.
        """
        start = min(self._page * self._page_size, total)
        count = min(self._page_size, total - start)
        backwards = start > total // 2  # the last pages are near the other end
        if backwards:
            start = total - start - count
        order = self._order(descending=self._descending != backwards)
        where = self._where.sql
        if self._names_rows or (
            self._sort != "created_at" and total * SHARE > self.length(connection)
        ):
            where = self._any_session
        joins = source(self.entity, "o." in where or "o." in order)
        found = connection.execute(
            f"SELECT json_group_array(number) FROM (SELECT e.rowid AS number {joins} "
            f"WHERE {where} ORDER BY {order} LIMIT ? OFFSET ?)",
            [*self._where.parameters, *self._field.parameters, count, start],
        ).fetchone()[0]
        page = (
            f"FROM json_each(?) page CROSS JOIN {self.entity} e ON e.rowid=page.value "
            f"ORDER BY page.key {'DESC' if backwards else 'ASC'} LIMIT ? OFFSET ?"
        )
        rows: list[list[Any]] = []
        while True:
            part = fetch(connection, self.entity, page, [found, READ_AT_ONCE, len(rows)])
            rows += part
            if len(part) < READ_AT_ONCE:
                return rows


def check_page(page: int, page_size: int) -> None:
    """Refuse pages that there cannot be."""
    if page < 0 or page_size < 0:
        raise StateError("INVALID_ARGUMENT", "page and page_size must not be negative")


def source(entity: Entity, options: bool = True) -> str:
    """The rows ``e`` of a table, with their options ``o``."""
    join = " JOIN options o ON o.id=e.options_id"
    return f"FROM {entity} e{join if options and entity in ('sessions', 'tasks') else ''}"


def fetch(
    connection: sqlite3.Connection, entity: Entity, source: str, parameters: list[Any]
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
