"""Gives back the room of what was deleted from the journal, while it is being written.

SQLite keeps pages that have become free for rows to come, and its file as large as it ever was. A
part of them may well stay; of more the file is freed in slices of a few milliseconds, by the
journal's own thread and between its batches.
"""

from __future__ import annotations

import logging
import sqlite3
from typing import Final

logger = logging.getLogger(__name__)

LEAST: Final = 1024
"""Free pages (8 MiB) that may stay whatever their share."""

SHARE: Final = 4
"""One page of so many may be free."""

SLICE: Final = 64
"""Pages that are given back at once."""


class Compaction:
    """Frees the file of pages that nobody needs.

    Args:
        connection: The journal, opened for writing.

    Attributes:
        due: More are free than may stay.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self.due = False

    def look(self) -> None:
        """Something was deleted: see whether that is enough."""
        try:
            free, pages = self._read("freelist_count"), self._read("page_count")
        except sqlite3.Error as error:  # what was written before is committed all the same
            logger.warning("whether the journal has room to give back is not known: %s", error)
        else:
            self.due = free > LEAST and free * SHARE > pages

    def step(self) -> None:
        """Give back a slice; nothing is due any more when all is done."""
        try:
            self._connection.execute(f"PRAGMA incremental_vacuum({SLICE})").fetchall()
            self.due = self._read("freelist_count") > LEAST // 2
        except sqlite3.Error as error:  # nothing is lost but room, and there is a next time
            logger.warning("the journal keeps the room of what was deleted: %s", error)
            self.due = False

    def _read(self, name: str) -> int:
        return int(self._connection.execute(f"PRAGMA {name}").fetchone()[0])


def prepare(connection: sqlite3.Connection) -> None:
    """Make a journal one that can give room back; one with tables is as it was made."""
    connection.execute("PRAGMA auto_vacuum=INCREMENTAL")


def rebuild(connection: sqlite3.Connection) -> None:
    """Write a journal anew that was made when none gave room back, if half of it is free.

    It takes as much room on the disk as what is left of it; where there is none, it stays.
    """
    free, pages, can = (
        int(connection.execute(f"PRAGMA {name}").fetchone()[0])
        for name in ("freelist_count", "page_count", "auto_vacuum")
    )
    if can or free <= LEAST or free * 2 < pages:
        return
    try:
        prepare(connection)
        connection.execute("VACUUM")
    except sqlite3.Error as error:
        logger.warning("the journal keeps the room of what was deleted: %s", error)
