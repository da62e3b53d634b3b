"""Copies the journal's write-ahead log to its tables while others go on writing.

That takes as long as the disk does, which may be a second: so it is done by a connection and in a
thread of its own. SQLite begins the log anew once all of it was copied and nothing was written
meanwhile; where work comes without a pause, the journal's thread copies the little rest itself.
Whether something was written meanwhile is nothing that the copying knows: that the log goes on
growing tells. What a long log took of the disk is given back when nothing is written for a while:
the file system may need a tenth of a second for that, and all who write would wait.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
from pathlib import Path
from typing import Final

from armoflow.engine.data_files import synchronize
from armoflow.errors import EngineError

logger = logging.getLogger(__name__)

PAGES: Final = 4096
"""Pages (32 MiB) of the log that gather before they are copied."""

MOST_PAGES: Final = 4 * PAGES
"""Pages (128 MiB) of a log that was not begun anew for too long."""

AGAIN: Final = 8
"""Times that a long log is copied once more: less has come each time, and little is left at last
for the journal's thread, for which all wait."""

LITTLE: Final = 64
"""Pages that may be left for it: copying them again would leave as many."""

QUIET: Final = 2.0
"""Seconds without a write after which the file of a long log is made short."""

_NOT_COPIED: Final = "the journal's log could not be copied to its tables: %s"


class Checkpointer:
    """Copies when it is asked to.

    Attributes:
        running: It was asked, and is not done.
        length: Pages of the log when it was last copied; 0 if nothing can have come since.
        file_length: Pages that the log's file has at least.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._asked = threading.Event()
        self._stopping = False
        self._thread: threading.Thread | None = None
        self.running = False
        self.length = 0
        self.file_length = 0

    def ask(self) -> None:
        """Begin to copy, and again if that is being done already."""
        self.running = True
        if self._thread is None:
            thread = threading.Thread(target=self._work, name="armoflow-checkpoints", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:  # no memory for one: the next time, perhaps
                logger.warning(_NOT_COPIED, error)
                self.running = False
                return
            self._thread = thread
        self._asked.set()

    def stop(self) -> None:
        """Wait for what runs, then end."""
        self._stopping = True
        self._asked.set()
        if self._thread is not None:
            self._thread.join()

    def finish(self, connection: sqlite3.Connection) -> None:
        """Copy the rest, by the connection of the only one who writes."""
        self.copy(connection)
        self.length = 0

    def shorten(self, connection: sqlite3.Connection) -> None:
        """Copy the rest and give the log's file back, by the connection of the only one who writes.

        It stays as it is while somebody reads from it.
        """
        try:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        except sqlite3.Error as error:
            logger.warning("the file of the journal's log stays long: %s", error)
        self.length = self.file_length = 0

    def copy(self, connection: sqlite3.Connection) -> None:
        """Copy what is in the log now, by a connection of the caller's."""
        try:
            _, pages, _ = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        except sqlite3.Error as error:  # the log is whole and goes on growing; a write will tell
            logger.warning(_NOT_COPIED, error)
        else:
            self.length = pages
            self.file_length = max(self.file_length, pages)

    def _work(self) -> None:
        connection: sqlite3.Connection | None = None
        while self._asked.wait():
            self._asked.clear()
            if self._stopping:
                break
            if connection is None:
                connection = self._connect()
            if connection is not None:
                self.copy(connection)
                if self.length > MOST_PAGES:
                    self._leave_little(connection)
            self.running = False
        if connection is not None:
            connection.close()

    def _connect(self) -> sqlite3.Connection | None:
        """A connection; None if there can be none now: it is tried again when it is asked again."""
        try:
            return sqlite3.connect(self._path, isolation_level=None)
        except sqlite3.Error as error:
            logger.warning(_NOT_COPIED, error)
            return None

    def _leave_little(self, connection: sqlite3.Connection) -> None:
        """Copy what came meanwhile, and have the rest on the disk: finishing waits for the disk."""
        for _ in range(AGAIN):
            before = self.length
            self.copy(connection)
            if self.length - before <= LITTLE:  # or the log was begun anew
                break
        try:
            synchronize([self._path.with_name(f"{self._path.name}-wal")])
        except (OSError, EngineError) as error:
            logger.warning("the journal's log could not be synchronised: %s", error)
