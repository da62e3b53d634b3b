"""What is known of the blocks of a long table: the least and the greatest value of each field.

A page of a long table is somewhere in it. Blocks of rows that cannot have any of it need not be
read, and where all rows of a block match they need not be counted. That is known of each block as
long as none of its rows is written, and found again when many have been, away from the event loop:
rows cost no index when they are written.

Which block a row is in is told by the date of its creation, as long as rows are in that order.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import math
import re
import sqlite3
import time
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from armoflow.engine.creation_order import TABLES, CreationOrder
from armoflow.engine.faults import StorageError
from armoflow.engine.filters import EntityKind, Field, fields_of_rows
from armoflow.engine.reader import Reader, last_number
from armoflow.engine.row_counts import RowCounts
from armoflow.engine.transaction import Transaction

logger = logging.getLogger(__name__)

BLOCK: Final = 512
"""Rows of a block."""

LONG: Final = 300_000
"""Rows of a table of which blocks are known: a shorter one is read in some 30 ms."""

STEP: Final = 65_536
"""Rows that are written, at least, until blocks are looked at again."""

QUIET: Final = 1.0
"""Seconds without a commit after which a list has the blocks looked at that it had to read."""

MANY: Final = 50_000
"""Rows that a list may have to read without that: some 10 ms."""

AT_ONCE: Final = 16
"""Blocks that are looked at in one go: some 10 ms."""

UNSET: Final = math.inf
"""Stands for what is not set in fields of numbers: it is greater than all of them."""

OPTIONS_ID: Final = "options_id"
"""The field that tells the options of a task."""


class Block(NamedTuple):
    """What is known of a block.

    Attributes:
        rows: How many there are.
        as_of: So many batches had been written, at least.
        low: No row has less, by field, see :data:`PLACES`.
        high: No row has more.
    """

    rows: int
    as_of: int
    low: Sequence[Any]
    high: Sequence[Any]


class _Touched(NamedTuple):
    """What a batch does: the dates of creation of the rows that it writes, and what it removes."""

    dates: set[float]
    numbers: Sequence[int]


class _Blocks:
    """Those of one table, in the order of their rows; changed in the event loop alone."""

    def __init__(self) -> None:
        self._blocks: list[Block] = []
        self._touched: list[int] = []
        self._first: list[float] = []
        self._last: list[float] = []
        self.written = 0
        self.due = STEP
        self.collected: list[_Touched] | None = None

    def known(self) -> list[Block | None]:
        """The blocks as they are; None: some row may have been written since. From any thread."""
        blocks = self._blocks.copy()  # before the others: what changes meanwhile is not known
        touched = self._touched.copy()
        return [
            block if batch <= block.as_of else None
            for block, batch in zip(blocks, touched, strict=False)
        ]

    @property
    def unknown(self) -> int:
        """How many rows are in blocks that are not known."""
        return self.known().count(None) * BLOCK

    @property
    def is_followed(self) -> bool:
        """Whether it matters what is written."""
        return bool(self._blocks) or self.collected is not None

    def touch(self, batch: int, touched: _Touched) -> None:
        """A batch is handed over to the journal."""
        if self.collected is not None:
            self.collected.append(touched)
        marks = self._touched
        for date in touched.dates:
            for place in range(bisect_left(self._last, date), bisect_right(self._first, date)):
                marks[place] = batch
        for number in touched.numbers:
            place = (number - 1) // BLOCK
            if place < len(marks):
                marks[place] = batch

    def keep(self, places: Sequence[int], found: Sequence[Block], date: int, batch: int) -> None:
        """What was found of some blocks, and since when others may have written to them."""
        for place, block in zip(places, found, strict=True):
            if place == len(self._blocks):
                before = self._last[-1] if self._last else -math.inf
                self._blocks.append(block)
                self._touched.append(0)
                self._first.append(block.low[date] if block.rows else before)
                self._last.append(before)
            self._blocks[place] = block
            if block.rows:
                self._reach(place, block.high[date])
        meanwhile, self.collected = self.collected or [], None
        for touched in meanwhile:
            self.touch(batch, touched)

    def _reach(self, place: int, date: float) -> None:
        """A block has rows of a date: where all after some were removed their numbers come again.

        The blocks after it, which may have had these rows, are taken for as late, in one order.
        """
        while place < len(self._last) and self._last[place] < date:
            self._last[place] = date
            place += 1


class RowBlocks:
    """The blocks of the tables of tasks and results; lives in the event loop.

    Args:
        scanner: Reads them.
        order: Whether rows are in the order of their creation.
        committed: A future that is done when all that was added to the journal is committed.
        begun: What was handed over to the journal.
    """

    def __init__(
        self,
        scanner: Reader,
        order: CreationOrder,
        committed: Callable[[], asyncio.Future[None]],
        begun: RowCounts,
    ) -> None:
        self._scanner = scanner
        self._order = order
        self._committed = committed
        self._begun = begun
        self._tables = {table: _Blocks() for table in TABLES}
        self._looking: asyncio.Task[None] | None = None
        self._once_more = False
        self._committed_at = 0.0

    def known(self, entity: EntityKind) -> list[Block | None] | None:
        """The blocks of a table, from its first row on; None if none is known. From any thread."""
        blocks = self._tables[entity].known() if self._order.holds else []
        return blocks or None

    def begin(self, batch: Transaction) -> None:
        """A batch was handed over to the journal."""
        for table, records in (("tasks", batch.tasks), ("results", batch.results)):
            blocks = self._tables[table]
            if blocks.is_followed and (records or batch.removed):
                dates = {record.created_at for record in records.values()}
                removed = batch.removed.get(table, ())
                blocks.touch(self._begun.batches, _Touched(dates, removed))

    def written(self, batch: Transaction) -> None:
        """A batch is committed."""
        self._committed_at = time.monotonic()
        for table, records in (("tasks", batch.tasks), ("results", batch.results)):
            blocks = self._tables[table]
            blocks.written += len(records)
            if blocks.written >= blocks.due:
                self._begin_to_look(thrifty=True)

    def asked(self, entity: EntityKind) -> None:
        """A list of a table was asked for: what it has to read may be looked at, in quiet times."""
        blocks = self._tables[entity]
        if time.monotonic() - self._committed_at >= QUIET and blocks.unknown > MANY:
            self.look()

    def look(self) -> None:
        """Look at the blocks that are not known, of long tables."""
        self._begin_to_look(thrifty=False)

    async def looked(self) -> None:
        """Wait until all was looked at that is to be, now."""
        if self._looking is not None:
            await asyncio.wait([self._looking])

    async def stop(self) -> None:
        """Look at nothing any more."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)

    def _begin_to_look(self, *, thrifty: bool) -> None:
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look(thrifty))
        elif not thrifty:  # it may be past what is asked for
            self._once_more = True

    async def _look(self, thrifty: bool) -> None:
        await self._order.looked()
        try:
            await self._look_at_all(thrifty)
            while self._once_more:
                self._once_more = False
                await self._look_at_all(thrifty=False)
        except StorageError as error:  # lists take longer, and it is tried again
            logger.debug("the blocks of rows are not known: %s", error)

    async def _look_at_all(self, thrifty: bool) -> None:
        for table in TABLES:
            await self._look_at(table, thrifty)

    async def _look_at(self, table: EntityKind, thrifty: bool) -> None:
        blocks = self._tables[table]
        last = await self._scanner.run(functools.partial(last_number, table=table))
        if last < LONG:
            blocks.due = blocks.written + STEP
            return
        known = blocks.known()
        places = [
            place for place in range(last // BLOCK) if place >= len(known) or known[place] is None
        ]
        if thrifty and len(places) * BLOCK > 2 * blocks.written:
            blocks.due = len(places) * BLOCK // 2  # so that it costs little of what writing costs
            return
        blocks.written, blocks.due = 0, STEP
        for start in range(0, len(places), AT_ONCE):
            if not self._order.holds:
                self._tables[table] = _Blocks()
                return
            await self._read(table, blocks, places[start : start + AT_ONCE])

    async def _read(self, table: EntityKind, blocks: _Blocks, places: Sequence[int]) -> None:
        # What is handed over from now on counts as written after what is read.
        blocks.collected, as_of = [], self._begun.batches
        try:
            await asyncio.wait([self._committed()])
            read = functools.partial(_read_blocks, table, places, as_of)
            found = await self._scanner.run(read)
            blocks.keep(places, found, PLACES[table]["created_at"], self._begun.batches)
        finally:
            blocks.collected = None


# --- reading them, in the scanner's threads -------------------------------------------------------


class _Column(NamedTuple):
    """A field of a block: its SQL, and whether an unset one is 0 there."""

    sql: str
    unset_is_0: bool


def _column(field: Field) -> _Column:
    raw = re.fullmatch(r"NULLIF\((.+),0\.0\)", field.sql)
    return _Column(raw[1], True) if raw else _Column(field.never_null, False)


_COLUMNS: Final[Mapping[str, Mapping[str, _Column]]] = {
    "tasks": {
        **{name: _column(field) for name, field in fields_of_rows("tasks").items()},
        OPTIONS_ID: _Column("e.options_id", False),
    },
    "results": {name: _column(field) for name, field in fields_of_rows("results").items()},
}
PLACES: Final[Mapping[str, Mapping[str, int]]] = {
    table: {name: place for place, name in enumerate(columns)}
    for table, columns in _COLUMNS.items()
}
"""Where each field is in what is known of a block, by table."""

_READ: Final[Mapping[str, str]] = {
    table: "SELECT count(*),"
    + ",".join(f"min({column.sql}),max({column.sql})" for column in columns.values())
    + f" FROM {table} e WHERE e.rowid BETWEEN ? AND ?"
    for table, columns in _COLUMNS.items()
}


_LEAST_SET: Final[Mapping[str, str]] = {
    table: ",".join(f"min(NULLIF({each.sql},0.0))" for each in columns.values() if each.unset_is_0)
    for table, columns in _COLUMNS.items()
}


def _read_blocks(
    table: EntityKind, places: Iterable[int], as_of: int, connection: sqlite3.Connection
) -> list[Block]:
    blocks = []
    for place in places:
        ends = place * BLOCK + 1, (place + 1) * BLOCK
        rows, *found = connection.execute(_READ[table], ends).fetchone()
        low, high = found[::2], found[1::2]
        dates = [number for number, each in enumerate(_COLUMNS[table].values()) if each.unset_is_0]
        least: Sequence[float | None] = (None,) * len(dates)
        if any(low[number] == 0.0 != high[number] for number in dates):  # some are set
            sql = f"SELECT {_LEAST_SET[table]} FROM {table} e WHERE e.rowid BETWEEN ? AND ?"
            least = connection.execute(sql, ends).fetchone()
        for number, date in zip(dates, least, strict=True):
            if low[number] == 0.0:
                low[number], high[number] = UNSET if date is None else date, UNSET
        # What is equal is in memory once.
        high = [one if one == other else other for one, other in zip(low, high, strict=True)]
        blocks.append(Block(rows, as_of, tuple(low), tuple(high)))
    return blocks
