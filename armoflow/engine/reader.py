"""Read-only connections to the journal, in threads."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

from armoflow.engine.faults import StorageError, passes
from armoflow.engine.schema import CACHE_KIB

T = TypeVar("T")

THREADS: Final = 2
"""One long list call must not hold up the reads of data."""


class Reader:
    """Runs functions with a read-only connection, away from the event loop."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._uri = f"{path.absolute().as_uri()}?mode=ro"
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []
        self._executor = ThreadPoolExecutor(THREADS, thread_name_prefix="armoflow-reader")

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
        connection.execute(f"PRAGMA cache_size=-{CACHE_KIB}")
        self._connections.append(connection)
        return connection
