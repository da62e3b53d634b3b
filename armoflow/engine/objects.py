"""The data of results: small in the journal, large in files, named by opaque ids of our own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from pathlib import Path

from armoflow.engine.records import Stored


class ObjectWriter:
    """Takes data in chunks; ``await writer.finish()`` gives its :class:`Stored`."""

    async def write(self, chunk: bytes) -> None:
        """Add a chunk."""
        raise NotImplementedError

    async def finish(self) -> Stored:
        """Store what was written."""
        raise NotImplementedError

    def abort(self) -> None:
        """Forget what was written; does nothing after ``finish``."""
        raise NotImplementedError


class ObjectStore:
    """Where data is, by opaque id.

    Data that was put is journalled with the next changes that are applied, in one transaction with
    the result row that names it, or earlier.
    """

    staging: Path
    """Directory, on the same file system, where agents write files to be adopted."""

    def put(self, data: bytes) -> Stored:
        """Store bytes; more than ``INLINE_DATA_LIMIT`` are written to a file on the spot."""
        raise NotImplementedError

    def writer(self) -> ObjectWriter:
        """A writer for data that comes in chunks (uploads)."""
        raise NotImplementedError

    def adopt(self, path: str | Path, size: int | None = None) -> Stored:
        """Move a staged file into the store."""
        raise NotImplementedError

    def peek(self, opaque_id: bytes) -> bytes | Path | None:
        """Data in memory, or the path of its file, without waiting; None: unknown or not here."""
        raise NotImplementedError

    async def read(self, opaque_id: bytes) -> bytes | Path:
        """Data, or the path of its file.

        Raises:
            StateError: NOT_FOUND, if there is no such data.
        """
        raise NotImplementedError

    async def read_many(self, opaque_ids: Iterable[bytes]) -> dict[bytes, bytes | Path]:
        """Data or paths by opaque id, in one read; those that are not stored are missing."""
        raise NotImplementedError

    def chunks(self, opaque_id: bytes, chunk_size: int) -> AsyncIterator[bytes]:
        """Data in chunks, for downloads; goes on to the end even if deleted meanwhile."""
        raise NotImplementedError

    async def size(self, opaque_id: bytes) -> int | None:
        """Size of stored data, or None if there is none by that id (for imports)."""
        raise NotImplementedError

    async def materialize(self, opaque_id: bytes, path: str | Path) -> None:
        """Make a file of the data: a hard link where it is a file already."""
        raise NotImplementedError

    def delete(self, opaque_ids: Iterable[bytes]) -> None:
        """Delete data that no result names; ``Changes.deleted`` is deleted by ``apply``."""
        raise NotImplementedError
