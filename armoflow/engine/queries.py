"""List, count and read what the journal holds, off the event loop."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple, TypedDict, TypeVar

from armoflow.engine.filters import Entity, Filters, find_field, make_clause
from armoflow.engine.lineage import Lineages
from armoflow.engine.list_query import READ_AT_ONCE, ListQuery, check_page, fetch, source
from armoflow.engine.reader import Reader
from armoflow.engine.records import (
    ApiOptions,
    Partition,
    ResultRecord,
    SessionRecord,
    TaskRecord,
    TaskStatus,
)
from armoflow.engine.rows import make_options, make_result, make_session, make_task, split_ids
from armoflow.engine.schema import OPTIONS_COLUMNS

if TYPE_CHECKING:
    from typing_extensions import Unpack

T = TypeVar("T")

LONG: Final = 20_000
"""Rows of a table of which pages are asked for: from so many on they have indexes."""

KNOWN_OPTIONS: Final = 10_000
KNOWN_COUNTS: Final = 10_000


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """A page of matches, and how many matches there are on all pages."""

    items: list[T]
    total: int


class Order(TypedDict, total=False):
    """How a list is ordered and cut.

    Attributes:
        sort: A field as in :class:`~armoflow.engine.filters.Condition`; ties are broken by id,
            unset values are last going up, first going down. By default the id.
        descending: The largest first.
        page: Which page, from zero.
        page_size: Rows of a page, 100 by default; 0 gives the total only.
    """

    sort: str
    descending: bool
    page: int
    page_size: int


class Application(NamedTuple):
    """An application: a distinct quadruple in the options of tasks."""

    name: str
    namespace: str
    version: str
    service: str


class Given(NamedTuple):
    """What a task was given: its payload, and the results that it takes."""

    session_id: str
    payload_id: str
    inputs: tuple[str, ...]


class Queries:
    """Reads of committed rows; whoever needs a change that was just applied awaits it first.

    Args:
        reader: Runs what reads.
        partitions: The engine's, by id.
        index: Makes pages of a long table quick; called once for each.
        removals: How often rows were removed: then what was counted is counted anew.
    """

    def __init__(
        self,
        reader: Reader,
        partitions: Mapping[str, Partition],
        index: Callable[[str], None] = lambda table: None,
        removals: Callable[[], int] = lambda: 0,
    ) -> None:
        self._reader = reader
        self._partitions = partitions
        self._index = index
        self._removals = removals
        self._short = {"tasks", "results"}
        self._totals: dict[tuple[Any, ...], tuple[int, int, int]] = {}
        self._options: dict[int, ApiOptions] = {}
        self._counts: dict[str, dict[TaskStatus, int]] = {}
        self._lineages = Lineages()

    async def sessions(self, filters: Filters = (), **order: Unpack[Order]) -> Page[SessionRecord]:
        """Sessions that match."""
        return await self._page(ListQuery("sessions", filters, **order), self._make_sessions)

    async def tasks(self, filters: Filters = (), **order: Unpack[Order]) -> Page[TaskRecord]:
        """Tasks that match."""
        return await self._page(ListQuery("tasks", filters, **order), self._make_tasks)

    async def results(self, filters: Filters = (), **order: Unpack[Order]) -> Page[ResultRecord]:
        """Results that match."""
        return await self._page(ListQuery("results", filters, **order), _make_results)

    async def partitions(self, filters: Filters = (), **order: Unpack[Order]) -> Page[Partition]:
        """Partitions that match."""
        return await self._page(ListQuery("partitions", filters, **order), self._make_partitions)

    async def applications(
        self,
        filters: Filters = (),
        *,
        sort: Sequence[str] = ("options.application_name",),
        descending: bool = False,
        page: int = 0,
        page_size: int = 100,
    ) -> Page[Application]:
        """Applications of the tasks that match (fields as of tasks)."""
        check_page(page, page_size)
        where = make_clause("tasks", filters)
        fields = [find_field("tasks", name) for name in sort]
        order = [field.order(descending=descending) for field in fields]
        ordered = [value for field in fields for value in field.parameters]
        columns = (
            "o.application_name,o.application_namespace,o.application_version,o.application_service"
        )
        # ApiOptions are few and tasks many: which options match is found first.
        distinct = f"SELECT DISTINCT {columns} {source('tasks')} WHERE {where.sql}"

        def read(connection: sqlite3.Connection) -> Page[Application]:
            count = f"SELECT count(*) FROM ({distinct})"
            total = connection.execute(count, where.parameters).fetchone()[0]
            sql = f"{distinct} ORDER BY {','.join([*order, columns])} LIMIT ? OFFSET ?"
            parameters = [*where.parameters, *ordered, page_size, page * page_size]
            rows = connection.execute(sql, parameters)
            return Page([Application(*row) for row in rows], total)

        return await self._reader.run(read)

    async def count_tasks(self, filters: Filters = (), *, ended: str = "") -> dict[TaskStatus, int]:
        """How many matching tasks there are of each status; statuses without any are missing.

        Args:
            filters: Which.
            ended: The session that these are all tasks of, if no task of it changes any more: they
                are counted once, for tools ask again and again, and a count reads all rows.
        """
        if ended in self._counts:
            return self._counts[ended]
        where = make_clause("tasks", filters)
        sql = f"SELECT e.status, count(*) {source('tasks')} WHERE {where.sql} GROUP BY e.status"
        rows = await self._reader.run(
            lambda connection: connection.execute(sql, where.parameters).fetchall()
        )
        counts = {TaskStatus(status): count for status, count in rows}
        if ended:
            if len(self._counts) >= KNOWN_COUNTS:
                self._counts.clear()
            self._counts[ended] = counts
        return counts

    async def read_tasks(self, ids: Sequence[str]) -> dict[str, TaskRecord]:
        """Tasks by id; unknown ones are missing."""
        tasks = await self._reader.run(lambda c: self._make_tasks(c, _read_by_id(c, "tasks", ids)))
        return {task.id: task for task in tasks}

    async def read_results(self, ids: Sequence[str]) -> dict[str, ResultRecord]:
        """Results by id; unknown ones are missing."""
        rows = await self._reader.run(lambda c: _make_results(c, _read_by_id(c, "results", ids)))
        return {result.id: result for result in rows}

    async def read_lineages(self, tasks: Sequence[TaskRecord]) -> dict[str, tuple[str, ...]]:
        """For each task, by id: its session, then all tasks above it, the nearest last."""
        if all(not task.created_by for task in tasks):
            return {task.id: (task.session_id,) for task in tasks}
        return await self._reader.run(lambda c: self._lineages.read(c, tasks))

    async def failed_inputs(self, session_id: str) -> list[Given]:
        """What the tasks of a session were given which failed themselves."""
        failed = f"{int(TaskStatus.ERROR)},{int(TaskStatus.TIMEOUT)}"
        where = f"WHERE session_id=? AND status IN ({failed}) AND started_at>0"
        return await self._reader.run(lambda c: read_given(c, where, [session_id]))

    async def run(self, read: Callable[[sqlite3.Connection], T]) -> T:
        """What a function reads, all of it of one moment."""
        return await self._reader.run(read)

    # --- in the reader's threads ---

    async def _page(
        self, query: ListQuery, make: Callable[[sqlite3.Connection, list[list[Any]]], list[T]]
    ) -> Page[T]:
        removals = self._removals()

        def read(connection: sqlite3.Connection) -> tuple[Page[T], bool]:
            total = self._count(connection, query, removals)
            page = Page(make(connection, query.rows(connection, total)) if total else [], total)
            return page, query.gains and query.length(connection) >= LONG

        page, is_long = await self._reader.run(read)
        if is_long and query.entity in self._short:
            self._short.discard(query.entity)
            self._index(query.entity)
        return page

    def _count(self, connection: sqlite3.Connection, query: ListQuery, removals: int) -> int:
        """How many match; where they do for ever, only what came since the last time is counted."""
        last = query.length(connection)
        if last < LONG or not query.is_fixed:
            return query.count(connection)
        known = self._totals.get(query.key)
        before = known[:2] if known is not None and known[2] == removals else (0, 0)
        total = before[1] + query.count(connection, before[0])
        if len(self._totals) >= KNOWN_COUNTS:
            self._totals = {}
        self._totals[query.key] = last, total, removals
        return total

    def _make_sessions(
        self, connection: sqlite3.Connection, rows: list[list[Any]]
    ) -> list[SessionRecord]:
        options = self._load_options(connection, {row[2] for row in rows})
        return [make_session(row, options) for row in rows]

    def _make_tasks(
        self, connection: sqlite3.Connection, rows: list[list[Any]]
    ) -> list[TaskRecord]:
        options = self._load_options(connection, {row[3] for row in rows})
        return [make_task(row, options) for row in rows]

    def _make_partitions(
        self, connection: sqlite3.Connection, rows: list[list[Any]]
    ) -> list[Partition]:
        return [self._partitions[row[0]] for row in rows]

    def _load_options(self, connection: sqlite3.Connection, ids: set[int]) -> dict[int, ApiOptions]:
        # A copy for this call: another thread may forget what is known meanwhile.
        known = {key: self._options[key] for key in ids if key in self._options}
        missing = ids - known.keys()
        if missing:
            read = read_options(connection, missing)
            known |= read
            if len(self._options) > KNOWN_OPTIONS:
                self._options = {}
            self._options |= read
        return known


def read_options(connection: sqlite3.Connection, ids: Iterable[int]) -> dict[int, ApiOptions]:
    """ApiOptions by the ids of their rows."""
    sql = f"SELECT {','.join(OPTIONS_COLUMNS[1:])} FROM options WHERE id=?"
    return {row: make_options(connection.execute(sql, (row,)).fetchone()) for row in ids}


def _make_results(connection: sqlite3.Connection, rows: list[list[Any]]) -> list[ResultRecord]:
    return [make_result(row) for row in rows]


def read_given(
    connection: sqlite3.Connection, where: str, parameters: Sequence[Any]
) -> list[Given]:
    """What some tasks were given."""
    rows = connection.execute(
        f"SELECT session_id, payload_id, dependencies FROM tasks {where}", parameters
    )
    return [Given(session, payload, split_ids(inputs)) for session, payload, inputs in rows]


def _read_by_id(
    connection: sqlite3.Connection, entity: Entity, ids: Sequence[str]
) -> list[list[Any]]:
    rows: list[list[Any]] = []
    for start in range(0, len(ids), READ_AT_ONCE):
        part = list(ids[start : start + READ_AT_ONCE])
        marks = ",".join("?" * len(part))
        rows += fetch(connection, entity, f"FROM {entity} e WHERE e.id IN ({marks})", part)
    return rows
