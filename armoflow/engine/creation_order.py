"""Whether the rows of a table, in the order of their numbers, are in the order of their creation.

They are, as long as nobody sets the clock back: a row is written when its record is made, and gets
the next number. Then no index is needed for the order that is asked for most. That it is so is
looked at once, some rows at a time.
"""

from __future__ import annotations

import sqlite3
import threading
from typing import Final

AT_ONCE: Final = 50_000
"""Rows that are looked at in one go: some 30 ms."""


class CreationOrder:
    """What is known of one table, for any threads.

    Args:
        table: Its name.
    """

    def __init__(self, table: str) -> None:
        self._table = table
        self._removals = 0
        self._seen = (0, 0.0)
        self._broken = False
        self._lock = threading.Lock()

    def holds(self, connection: sqlite3.Connection, last: int, removals: int) -> bool | None:
        """Whether it does up to the last row; None: call :meth:`look` until that is known.

        Args:
            connection: The journal.
            last: The number of the last row.
            removals: How often rows were removed: their numbers may have been given again.
        """
        with self._lock:
            if removals != self._removals:
                self._removals, self._seen, self._broken = removals, (0, 0.0), False
            if not self._broken and last - self._seen[0] <= AT_ONCE:
                self._look(connection)
            if self._broken:
                return False
            return True if self._seen[0] >= last else None

    def look(self, connection: sqlite3.Connection) -> bool:
        """Look at the next rows; returns whether there are more."""
        with self._lock:
            return self._look(connection)

    def _look(self, connection: sqlite3.Connection) -> bool:
        number, created_at = self._seen
        broken, count, *seen = connection.execute(
            "SELECT max(created_at<before),count(*),max(number),max(created_at) FROM ("
            "SELECT rowid AS number,created_at,lag(created_at,1,?) OVER (ORDER BY rowid) AS before "
            f"FROM (SELECT rowid,created_at FROM {self._table} WHERE rowid>? ORDER BY rowid "
            f"LIMIT {AT_ONCE}))",
            (created_at, number),
        ).fetchone()
        if not count:
            return False
        self._seen = (seen[0], seen[1])
        self._broken = self._broken or bool(broken)
        return not self._broken and count == AT_ONCE
