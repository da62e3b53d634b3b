"""Read-only connections to the journal, in threads."""

from __future__ import annotations

import asyncio
import functools
import os
import sqlite3
import threading
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Final, TypeVar

from armoflow.engine.faults import StorageError, passes
from armoflow.engine.schema import CACHE_KIB
from armoflow.system.threads import Threads

T = TypeVar("T")

THREADS: Final = 2
"""One long list call must not hold up the reads of data."""

SCANNERS: Final = min(os.cpu_count() or 1, 4)
"""Threads that go over whole tables, each over a part."""

SCAN_CACHE_KIB: Final = 512
"""Pages that a connection keeps which goes over tables: each once, so that they had better stay in
the processor's own cache; with 4 MiB a scan takes a twelfth longer."""

SHORT: Final = 20_000
"""Rows that one thread goes over in some milliseconds."""


class Reader:
    """Runs functions with a read-only connection, away from the event loop.

    Args:
        path: The journal.
        threads: How many functions run at once.
        cache_kib: Pages that each thread's connection keeps.

    Attributes:
        threads: As given.
    """

    def __init__(self, path: Path, threads: int = THREADS, *, cache_kib: int = CACHE_KIB) -> None:
        self.threads = threads
        self._cache_kib = cache_kib
        self._path = path
        self._uri = f"{path.absolute().as_uri()}?mode=ro"
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []
        self._executor = Threads(threads, "armoflow-reader")

    async def run(self, function: Callable[[sqlite3.Connection], T]) -> T:
        """Call ``function`` in a thread; all its reads see one state of the journal.

        Raises:
            StorageError: If the journal cannot be read now.
        """
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, self._call, function)

    def close(self) -> None:
        """Wait for what runs, then close the connections."""
        self._executor.shutdown()
        for connection in self._connections:
            connection.close()

    def _call(self, function: Callable[[sqlite3.Connection], T]) -> T:
        try:
            return self._read(function)
        except (sqlite3.OperationalError, MemoryError) as error:
            if passes(error):
                raise StorageError(error, self._path) from error
            raise

    def _read(self, function: Callable[[sqlite3.Connection], T]) -> T:
        connection = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = self._connect()
        connection.execute("BEGIN")
        try:
            return function(connection)
        finally:
            connection.execute("ROLLBACK")

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._uri, uri=True, isolation_level=None, check_same_thread=False
        )
        connection.execute(f"PRAGMA cache_size=-{self._cache_kib}")
        self._connections.append(connection)
        return connection


class Scanner(Reader):
    """Goes over whole tables, in several threads."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, SCANNERS, cache_kib=SCAN_CACHE_KIB)

    async def scan(
        self, table: str, read: Callable[[sqlite3.Connection, int, int], T], last: int | None = None
    ) -> list[T]:
        """What a function reads of the rows of some numbers, for all parts of a table.

        Args:
            table: Its name.
            read: Gets a connection, the first number and the last one.
            last: The last number of all, if it is known already.

        Raises:
            StorageError: If the journal cannot be read now.
        """
        if last is None:
            last = await self.run(lambda connection: last_number(connection, table))
        parts = self.threads if last > SHORT else 1
        ends = [last * number // parts for number in range(parts + 1)]
        return await asyncio.gather(
            *(
                self.run(functools.partial(_read_part, read, first + 1, end))
                for first, end in pairwise(ends)
            )
        )


def last_number(connection: sqlite3.Connection, table: str) -> int:
    """The number of a table's last row; it has as many rows, or fewer."""
    last = connection.execute(f"SELECT max(rowid) FROM {table}").fetchone()[0]
    return last or 0


def _read_part(
    read: Callable[[sqlite3.Connection, int, int], T],
    first: int,
    last: int,
    connection: sqlite3.Connection,
) -> T:
    return read(connection, first, last)
