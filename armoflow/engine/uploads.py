"""Data that comes in chunks."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import IO, Final

from armoflow.config import INLINE_DATA_LIMIT, KIB
from armoflow.engine.faults import StorageError
from armoflow.engine.files import create, write_all
from armoflow.engine.objects import ObjectStore
from armoflow.engine.records import Stored

BUFFER_BYTES: Final = 256 * KIB
"""Bytes of an upload that gather before a thread writes them."""


class ObjectWriter:
    """Takes data in chunks; ``await writer.finish()`` gives its :class:`Stored`.

    Both raise :class:`~armoflow.engine.faults.StorageError` if it cannot be written.
    """

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._buffer = bytearray()
        self._size = 0
        self._path: Path | None = None
        self._file: IO[bytes] | None = None

    async def write(self, chunk: bytes) -> None:
        """Add a chunk."""
        self._buffer += chunk
        self._size += len(chunk)
        if len(self._buffer) >= BUFFER_BYTES:
            await self._spill()

    async def finish(self) -> Stored:
        """Store what was written."""
        if self._path is None and self._size <= INLINE_DATA_LIMIT:
            return self._store.put(bytes(self._buffer))
        await self._spill()
        assert self._file is not None
        assert self._path is not None
        self._file.close()
        path, self._path = self._path, None
        return self._store.adopt(path, self._size)

    def abort(self) -> None:
        """Forget what was written; does nothing after ``finish``."""
        if self._file is not None:
            self._file.close()
        if self._path is not None:
            with suppress(OSError):  # swept at the next start
                self._path.unlink(missing_ok=True)
            self._path = None

    async def _spill(self) -> None:
        data, self._buffer = self._buffer, bytearray()
        try:
            if self._file is None:
                self._path = self._store.staging_path()
                self._file = create(self._path)
            if data:
                await asyncio.to_thread(write_all, self._file, data)
        except (OSError, MemoryError) as error:
            assert self._path is not None
            raise StorageError(error, self._path) from error
