"""List, count and read what the journal holds, off the event loop."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypedDict, TypeVar

from armoflow.engine.creation_order import CreationOrder
from armoflow.engine.filters import EntityKind, Filters, find_field, make_clause
from armoflow.engine.lineage import Lineages
from armoflow.engine.list_query import READ_AT_ONCE, ListQuery, check_page, fetch
from armoflow.engine.pages import Page, Pages
from armoflow.engine.reader import Reader, Scanner
from armoflow.engine.records import (
    ApiOptions,
    Partition,
    ResultRecord,
    SessionRecord,
    TaskRecord,
    TaskStatus,
)
from armoflow.engine.row_blocks import RowBlocks
from armoflow.engine.row_counts import RowCounts
from armoflow.engine.rows import make_options, make_result, make_session, make_task, split_ids
from armoflow.engine.schema import OPTIONS_COLUMNS

if TYPE_CHECKING:
    from typing_extensions import Unpack

T = TypeVar("T")

KNOWN_OPTIONS: Final = 10_000


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
        scanner: Goes over whole tables.
        partitions: The engine's, by id.
        total: How many tasks match, where that is known without reading.
        order: Whether rows are in the order of their creation.
        blocks: What is known of blocks of rows.
        begun: What was handed over to the journal.
        written: What of it is committed.
    """

    def __init__(
        self,
        reader: Reader,
        scanner: Scanner,
        partitions: Mapping[str, Partition],
        total: Callable[[Filters], int | None],
        *,
        order: CreationOrder,
        blocks: RowBlocks,
        begun: RowCounts,
        written: RowCounts,
    ) -> None:
        self._reader = reader
        self._scanner = scanner
        self._pages = Pages(
            reader, scanner, total, order=order, blocks=blocks, begun=begun, written=written
        )
        self._partitions = partitions
        self._options: dict[int, ApiOptions] = {}
        self._lineages = Lineages()

    async def sessions(self, filters: Filters = (), **order: Unpack[Order]) -> Page[SessionRecord]:
        """Sessions that match."""
        return await self._pages.read(ListQuery("sessions", filters, **order), self._make_sessions)

    async def tasks(self, filters: Filters = (), **order: Unpack[Order]) -> Page[TaskRecord]:
        """Tasks that match."""
        return await self._pages.read(ListQuery("tasks", filters, **order), self._make_tasks)

    async def results(self, filters: Filters = (), **order: Unpack[Order]) -> Page[ResultRecord]:
        """Results that match."""
        return await self._pages.read(ListQuery("results", filters, **order), _make_results)

    async def partitions(self, filters: Filters = (), **order: Unpack[Order]) -> Page[Partition]:
        """Partitions that match."""
        return await self._pages.read(
            ListQuery("partitions", filters, **order), self._make_partitions
        )

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
        # Options are few and tasks many: which options tasks have is found first.
        used = (
            "SELECT json_group_array(options_id) FROM (SELECT DISTINCT e.options_id FROM tasks e "
            f"WHERE e.rowid BETWEEN ? AND ? AND ({where.sql}))"
        )

        def find(connection: sqlite3.Connection, first: int, last: int) -> list[int]:
            row = connection.execute(used, [first, last, *where.parameters]).fetchone()
            found: list[int] = json.loads(row[0])
            return found

        ids = json.dumps([*chain.from_iterable(await self._scanner.scan("tasks", find))])
        known = "SELECT value FROM json_each(?)"
        distinct = f"SELECT DISTINCT {columns} FROM options o WHERE o.id IN ({known})"

        def read(connection: sqlite3.Connection) -> Page[Application]:
            total = connection.execute(f"SELECT count(*) FROM ({distinct})", (ids,)).fetchone()[0]
            sql = f"{distinct} ORDER BY {','.join([*order, columns])} LIMIT ? OFFSET ?"
            rows = connection.execute(sql, [ids, *ordered, page_size, page * page_size])
            return Page([Application(*row) for row in rows], total)

        return await self._reader.run(read)

    async def count_tasks(self, filters: Filters = ()) -> dict[TaskStatus, int]:
        """How many matching tasks there are of each status; statuses without any are missing."""
        where = make_clause("tasks", filters)
        sql = (
            "SELECT e.status,count(*) FROM tasks e "
            f"WHERE e.rowid BETWEEN ? AND ? AND ({where.sql}) GROUP BY e.status"
        )

        def read(connection: sqlite3.Connection, first: int, last: int) -> list[tuple[int, int]]:
            return connection.execute(sql, [first, last, *where.parameters]).fetchall()

        counts: Counter[TaskStatus] = Counter()
        for part in await self._scanner.scan("tasks", read):
            counts.update({TaskStatus(status): count for status, count in part})
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
    """ApiOptions by the ids of their rows.

    Raises:
        ValueError: If some are not there.
    """
    sql = f"SELECT {','.join(OPTIONS_COLUMNS[1:])} FROM options WHERE id=?"
    options = {}
    for row in ids:
        values = connection.execute(sql, (row,)).fetchone()
        if values is None:
            raise ValueError(f"there are no options {row}, which others name")
        options[row] = make_options(values)
    return options


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
    connection: sqlite3.Connection, entity: EntityKind, ids: Sequence[str]
) -> list[list[Any]]:
    rows: list[list[Any]] = []
    for start in range(0, len(ids), READ_AT_ONCE):
        part = list(ids[start : start + READ_AT_ONCE])
        marks = ",".join("?" * len(part))
        rows += fetch(connection, entity, f"FROM {entity} e WHERE e.id IN ({marks})", part)
    return rows
