"""Whether rows, in the order of their numbers, are in the order of their creation.

They are, as long as nobody sets the clock back: a row is written when its record is made, and gets
the next number. Then no index is needed for the order that is asked for most. The journal says that
it is so, until the clock is set back. Of a journal that does not say it, its rows are looked at
when an engine starts on it.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import sqlite3
from typing import Final, NamedTuple

from armoflow.engine.clock import Clock
from armoflow.engine.faults import StorageError
from armoflow.engine.journal import Journal
from armoflow.engine.reader import Reader, last_number
from armoflow.engine.schema import CREATION_ORDER, KEPT

logger = logging.getLogger(__name__)

TABLES: Final = ("tasks", "results")

AT_ONCE: Final = 50_000
"""Rows that are looked at in one go: some 30 ms."""


class CreationOrder:
    """What is known of a journal; lives in the event loop.

    Args:
        connection: The journal, before the first command.
        journal: Keeps what is known.
        clock: Gives the dates of creation, from now on.

    Attributes:
        holds: Whether tasks and results are in the order of their creation.
    """

    def __init__(self, connection: sqlite3.Connection, journal: Journal, clock: Clock) -> None:
        self._journal = journal
        self._was_set_back = False
        self._looking: asyncio.Task[None] | None = None
        found = connection.execute("SELECT value FROM meta WHERE name=?", (CREATION_ORDER,))
        self.holds = found.fetchone() == (KEPT,)
        for table in TABLES:
            clock.follow(_last_date(connection, table))
        clock.set_back = self._set_back

    def begin(self, reader: Reader) -> None:
        """Look at the rows, if their order is not known."""
        if not self.holds and not self._was_set_back:
            self._looking = asyncio.create_task(self._look(reader))

    async def looked(self) -> None:
        """Wait until all rows were looked at that have to be."""
        if self._looking is not None:
            await self._looking

    async def stop(self) -> None:
        """Look at nothing any more."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)

    def _set_back(self) -> None:
        self._was_set_back = True
        if self.holds:
            self.holds = False
            self._journal.note(CREATION_ORDER, "lost")  # before the first row that is out of order

    async def _look(self, reader: Reader) -> None:
        try:
            in_order = all([await self._is_in_order(reader, table) for table in TABLES])
        except StorageError as error:  # pages take longer, and the next start tries again
            logger.debug("the order of the rows is not known: %s", error)
            return
        if in_order and not self._was_set_back:
            self.holds = True
            self._journal.note(CREATION_ORDER, KEPT)

    async def _is_in_order(self, reader: Reader, table: str) -> bool:
        seen: _Seen | None = _Seen(0, 0.0)
        while seen is not None:
            seen = await reader.run(functools.partial(_look_on, table, seen))
            if seen is not None and seen.broken:
                return False
        return True


def first_from(connection: sqlite3.Connection, table: str, date: float) -> int:
    """The number of the first row that was created at a date or later, where they are in order.

    Without one it is the next that there will be.
    """
    low, high = 1, last_number(connection, table) + 1
    sql = f"SELECT rowid, created_at FROM {table} WHERE rowid>=? ORDER BY rowid LIMIT 1"
    while low < high:
        middle = (low + high) // 2
        found = connection.execute(sql, (middle,)).fetchone()
        if found is None or found[1] >= date:
            high = middle
        else:
            low = int(found[0]) + 1
    return low


class _Seen(NamedTuple):
    """The last row that was looked at: its number and date; and whether one was out of order."""

    number: int
    date: float
    broken: bool = False


def _look_on(table: str, seen: _Seen, connection: sqlite3.Connection) -> _Seen | None:
    """Look at the next rows; None: there are no more."""
    broken, number, date = connection.execute(
        "SELECT max(created_at<before),max(number),max(created_at) FROM ("
        "SELECT rowid AS number,created_at,lag(created_at,1,?) OVER (ORDER BY rowid) AS before "
        f"FROM (SELECT rowid,created_at FROM {table} WHERE rowid>? ORDER BY rowid "
        f"LIMIT {AT_ONCE}))",
        (seen.date, seen.number),
    ).fetchone()
    return None if broken is None else _Seen(number, date, bool(broken))


def _last_date(connection: sqlite3.Connection, table: str) -> float:
    row = connection.execute(f"SELECT created_at FROM {table} ORDER BY rowid DESC LIMIT 1")
    return float((row.fetchone() or [0.0])[0])
