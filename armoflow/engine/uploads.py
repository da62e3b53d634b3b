"""Data that comes in chunks, and much data that comes at once: threads write it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Final

from armoflow.config import INLINE_DATA_LIMIT, KIB
from armoflow.engine.data_files import create, unlink, write_all
from armoflow.engine.faults import StorageError
from armoflow.engine.objects import ObjectStore
from armoflow.engine.records import Stored
from armoflow.engine.sweeper import SLICE

BUFFER_BYTES: Final = 256 * KIB
"""Bytes of an upload that gather before a thread writes them."""


WRITTEN_HERE: Final = 128 * KIB
"""Bytes of a request's large data up to which the event loop writes them itself: a thread costs as
much. More may hold it up for long, where the disk does not keep up."""


def places_of_much(items: Sequence[object]) -> list[int]:
    """The places of data that a thread writes, among what a request brings; none if it is little.

    Example:
        >>> places_of_much([b"small", bytes(100_000), "a path", bytes(50_000)])
        []
        >>> places_of_much([b"small", bytes(100_000), "a path", bytes(90_000)])
        [1, 3]
    """
    sizes = {
        place: len(data)
        for place, data in enumerate(items)
        if isinstance(data, bytes) and len(data) > INLINE_DATA_LIMIT
    }
    return list(sizes) if sum(sizes.values()) > WRITTEN_HERE else []


async def store_all(
    store: ObjectStore, items: Sequence[bytes], commit: Callable[[], Awaitable[None]]
) -> list[Stored]:
    """Store the data of one request, all of it or none; that of very many results in slices.

    Args:
        store: Where.
        items: The data.
        commit: Has committed what was stored; a restart removes what no result names by then.

    Raises:
        StorageError: If some of it cannot be written.
    """
    written: dict[int, Path] = {}
    if not (much := places_of_much(items)):
        return await _store(store, items, written, commit)

    def write() -> None:
        for place in much:
            written[place] = store.write_staged(items[place])

    def clear(_: object = None) -> None:
        unlink(written.values())  # those that were adopted are elsewhere

    writing = asyncio.ensure_future(asyncio.to_thread(write))
    try:
        await asyncio.shield(writing)
        return await _store(store, items, written, commit)
    finally:
        if writing.done():
            clear()
        else:  # who asked has gone, the thread goes on
            writing.add_done_callback(clear)


async def _store(
    store: ObjectStore,
    items: Sequence[bytes],
    written: Mapping[int, Path],
    commit: Callable[[], Awaitable[None]],
) -> list[Stored]:
    """Store data, some of which is written into files already."""
    stored: list[Stored] = []
    try:
        for place, data in enumerate(items):
            if place and place % SLICE == 0:
                await commit()  # others have their turn
            path = written.get(place)
            stored.append(store.put(data) if path is None else store.adopt(path, len(data)))
    except BaseException:
        store.delete([data.opaque_id for data in stored])
        raise
    return stored


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
