"""The data of results: small in the journal, large in files, named by opaque ids of our own.

An opaque id is 8 bytes: 31 random bits of this run of the engine, a counter, and one bit that says
whether the data is in a file. File names are made of these ids only.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import re
import secrets
import shutil
import sqlite3
import stat
from collections.abc import AsyncGenerator, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from armoflow.config import INLINE_DATA_LIMIT, MIB
from armoflow.engine.data_files import copy, create, move, write_all
from armoflow.engine.faults import StorageError
from armoflow.engine.holding import OBJECTS
from armoflow.engine.journal import Journal
from armoflow.engine.reader import Reader
from armoflow.engine.records import StateError, Stored, make_tuple
from armoflow.protocol.shapes import ID

OPAQUE_LENGTH: Final = 8
ENTRY_OVERHEAD: Final = 160
"""Bytes that a piece of data costs in memory besides its own."""

QUEUE_SHARE: Final = 16
"""Once this part of the memory is in use, the data of further queued tasks is left on disk: it is
needed once, and in order."""

READ_AHEAD: Final = 1024
READ_AHEAD_BYTES: Final = 1 * MIB
"""How much of the queued tasks' data is read in one go, in pieces and in bytes."""

READ_AT_ONCE: Final = 256
STORED_MODE: Final = 0o400
"""Mode of stored files: nobody writes to them by accident. The user whose they are still could."""

_FILE_NAME = re.compile(r"[0-9a-f]{16}")


class ObjectStore:
    """Where data is, by opaque id.

    Data that was put is journalled with the next changes that are applied, in one transaction with
    the result row that names it, or earlier.

    Attributes:
        staging: Directory, on the same file system, where agents write files to be adopted.
    """

    def __init__(
        self, directory: Path, journal: Journal, reader: Reader, memory_limit: int = 64 * MIB
    ) -> None:
        self.staging = directory / "staging"
        self._directory = directory / OBJECTS
        self._journal = journal
        self._reader = reader
        self._memory_limit = memory_limit
        self._memory: dict[bytes, bytes] = {}
        self._memory_used = 0
        # Keys of queued data that is not in memory, in blocks that are read at once.
        self._cold: list[range] = []
        self._cold_bytes = 0  # of the last block
        self._files: dict[int, int] = {}
        self._next_key = secrets.randbits(31) << 32
        self._staged = itertools.count()

    def stored_bytes(self) -> dict[str, int]:
        """Bytes of data by where they are; what is in memory the journal has, too."""
        return {"memory": self._memory_used, "files": sum(self._files.values())}

    def recover(self, keys: Collection[int]) -> None:
        """Learn the files that results name by these keys; remove all other files."""
        files = {key for key in keys if key & 1}
        shutil.rmtree(self.staging, ignore_errors=True)
        # A folder that a worker has left so that it cannot be removed may still be in it.
        self.staging.mkdir(parents=True, exist_ok=True)
        self._directory.mkdir(exist_ok=True)
        for path in self._directory.glob("*/*"):
            key = int(path.name, 16) if _FILE_NAME.fullmatch(path.name) else -1
            if key in files and path == self._path(key) and path.is_file():
                self._files[key] = path.stat().st_size
            elif path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
        prefixes = {key >> 32 for key in keys}
        while self._next_key >> 32 in prefixes:
            self._next_key = secrets.randbits(31) << 32

    # --- storing ---

    def put(self, data: bytes, *, queued: bool = False) -> Stored:
        """Store bytes; more than ``INLINE_DATA_LIMIT`` are written to a file on the spot.

        Args:
            data: The bytes.
            queued: They will be read once, after what was put before them: where that is much
                already, these are not kept in memory, but read ahead when their turn comes.

        Raises:
            StorageError: If they cannot be written.
        """
        size = len(data)
        if size > INLINE_DATA_LIMIT:
            return self.adopt(self.write_staged(data), size)
        key = self._next_key
        self._next_key = key + 2
        opaque_id = key.to_bytes(OPAQUE_LENGTH, "big")
        self._journal.put_data(key, data)
        used = self._memory_used + size + ENTRY_OVERHEAD
        if queued and used > self._memory_limit // QUEUE_SHARE:
            self._leave_cold(key, size)
        else:
            self._memory[opaque_id] = data
            self._memory_used = used
            if used > self._memory_limit:
                self._shrink()
        return make_tuple(Stored, (opaque_id, size))

    def write_staged(self, data: bytes) -> Path:
        """Write data into a file in ``staging``, to be adopted; in any thread.

        Raises:
            StorageError: If it cannot be written.
        """
        path = self.staging_path()
        with self._removed_on_failure(path), create(path) as file:
            write_all(file, data)
        return path

    def adopt(self, path: str | Path, size: int | None = None) -> Stored:
        """Move a staged file into the store.

        Raises:
            StateError: INVALID_ARGUMENT, if it is no plain file, or of another size.
            StorageError: If it is gone, or cannot be moved; it is where it was then.
        """
        key = self._next_key | 1
        self._next_key += 2
        target = self._path(key)
        try:
            move(path, target)
        except OSError as error:
            gone = isinstance(error, FileNotFoundError)
            place = path if gone else error.filename2 or error.filename or path
            raise StorageError(error, place) from error
        try:
            # Who announced it cannot put anything else into its place any more.
            found = os.lstat(target)
            if not stat.S_ISREG(found.st_mode) or (size is not None and found.st_size != size):
                what = "plain file" if size is None else f"plain file of {size} bytes"
                raise StateError("INVALID_ARGUMENT", f"{path} is no {what}")
            with suppress(PermissionError):  # a worker may run as somebody else
                os.chmod(target, STORED_MODE)  # noqa: PTH101 - see data_files.move
        except (OSError, StateError) as error:
            with suppress(OSError):
                move(target, path)
            if isinstance(error, OSError):
                raise StorageError(error, path) from error
            raise
        self._files[key] = found.st_size
        self._journal.put_file(target)
        return Stored(key.to_bytes(OPAQUE_LENGTH, "big"), found.st_size)

    def take_over(self, path: str, size: int) -> Stored:
        """Move a file into the store that a client wrote into ``staging``.

        Raises:
            FileNotFoundError: If it is not there.
            StateError: INVALID_ARGUMENT, if it is elsewhere, no plain file, or of another size;
                DATA_LOSS, if it belongs to another user, and may not be readable here.
        """
        file = Path(path)
        if file.parent != self.staging or not ID.fits(file.name):
            raise StateError("INVALID_ARGUMENT", f"{path!r} is not in {self.staging}")
        if file.lstat().st_uid != os.geteuid():
            raise StateError("DATA_LOSS", f"{path} is another user's: upload the data")
        return self.adopt(path, size)

    def disown(self, opaque_id: bytes) -> Path:
        """Take an adopted file out of the store again; returns where it is."""
        key = data_key(opaque_id)
        del self._files[key]
        return self._path(key)

    def staging_path(self) -> Path:
        """A new path in ``staging``."""
        return self.staging / f"engine-{next(self._staged)}"

    def delete(self, opaque_ids: Iterable[bytes]) -> None:
        """Delete data: at once for readers, for good with the next commit; unknown ids are fine."""
        memory = self._memory
        keys: list[int] = []
        for opaque_id in opaque_ids:
            data = memory.pop(opaque_id, None)
            if data is not None:
                self._memory_used -= len(data) + ENTRY_OVERHEAD
                keys.append(int.from_bytes(opaque_id, "big"))
                continue
            key = data_key(opaque_id)
            if key & 1:
                if self._files.pop(key, None) is not None:
                    self._journal.delete_file(self._path(key))
            elif key >= 0:
                keys.append(key)
        self._journal.delete_data(keys)

    # --- reading ---

    def peek(self, opaque_id: bytes) -> bytes | Path | None:
        """Data in memory, or the path of its file, without waiting; None: unknown or not here."""
        data = self._memory.get(opaque_id)
        if data is not None:
            return data
        key = data_key(opaque_id)
        if key & 1:
            return self._path(key) if key in self._files else None
        return self._journal.find_data(key)

    async def read(self, opaque_id: bytes) -> bytes | Path:
        """Data, or the path of its file.

        Raises:
            StateError: NOT_FOUND, if there is no such data.
        """
        found = self.peek(opaque_id)
        if found is None:
            found = (await self.read_many([opaque_id])).get(opaque_id)
        if found is None:
            raise StateError("NOT_FOUND", f"no data is stored as {opaque_id.hex() or 'empty id'}")
        return found

    async def read_many(self, opaque_ids: Iterable[bytes]) -> dict[bytes, bytes | Path]:
        """Data or paths by opaque id, in one read; those that are not stored are missing."""
        found: dict[bytes, bytes | Path] = {}
        missing: dict[int, bytes] = {}
        for opaque_id in opaque_ids:
            data = self.peek(opaque_id)
            if data is not None:
                found[opaque_id] = data
            else:
                key = data_key(opaque_id)
                if key >= 0 and not key & 1:
                    missing[key] = opaque_id
        if missing:
            keys = [*missing, *self._ahead(max(missing))]
            rows = await self._reader.run(lambda connection: _read_rows(connection, keys))
            for key, data in rows.items():
                if key in missing:
                    found[missing[key]] = data
                else:
                    # If it was deleted meanwhile, nobody asks for it: it leaves with the oldest.
                    self._memory[key.to_bytes(OPAQUE_LENGTH, "big")] = data
                    self._memory_used += len(data) + ENTRY_OVERHEAD
            if self._memory_used > self._memory_limit:
                self._shrink()
        return found

    async def chunks(self, opaque_id: bytes, chunk_size: int) -> AsyncGenerator[bytes, None]:
        """Data in chunks, for downloads; goes on to the end even if deleted meanwhile.

        Raises:
            StateError: NOT_FOUND, if there is no such data; DATA_LOSS, if it cannot be read.
        """
        data = await self.read(opaque_id)
        if isinstance(data, bytes):
            for start in range(0, len(data), chunk_size):
                yield data[start : start + chunk_size]
            return
        try:
            file = await asyncio.to_thread(data.open, "rb", 0)
            with file:
                while chunk := await asyncio.to_thread(file.read, chunk_size):
                    yield chunk
        except OSError as error:
            raise _unreadable(opaque_id, error) from None

    async def size(self, opaque_id: bytes) -> int | None:
        """Size of stored data, or None if there is none by that id (for imports)."""
        key = data_key(opaque_id)
        if key & 1:
            return self._files.get(key)
        data = (await self.read_many([opaque_id])).get(opaque_id)
        return len(data) if isinstance(data, bytes) else None

    async def materialize(self, opaque_id: bytes, path: str | Path) -> None:
        """Make a file of the data: a copy, as what it is for may write to it.

        Raises:
            StateError: NOT_FOUND, if there is no such data.
            StorageError: If it cannot be written.
        """
        data = await self.read(opaque_id)
        try:
            if isinstance(data, bytes):
                with create(Path(path)) as file:
                    write_all(file, data)
            else:
                await asyncio.to_thread(copy, data, path)
        except OSError as error:
            if isinstance(data, Path) and str(error.filename) == str(data):
                raise _unreadable(opaque_id, error) from None
            raise StorageError(error, path) from error

    def _path(self, key: int) -> Path:
        return data_path(self._directory.parent, key)

    @contextmanager
    def _removed_on_failure(self, path: Path) -> Iterator[None]:
        """Write a staged file whole or not at all.

        Raises:
            StorageError: If it cannot be written.
        """
        try:
            yield
        except (OSError, MemoryError) as error:
            with suppress(OSError):
                path.unlink(missing_ok=True)
            raise StorageError(error, path) from error

    def _leave_cold(self, key: int, size: int) -> None:
        last = self._cold[-1] if self._cold else range(0)
        self._cold_bytes += size
        if last.stop == key and len(last) < READ_AHEAD and self._cold_bytes <= READ_AHEAD_BYTES:
            self._cold[-1] = range(last.start, key + 2, 2)
        else:
            self._cold.append(range(key, key + 2, 2))
            self._cold_bytes = size

    def _ahead(self, key: int) -> Iterable[int]:
        """The cold keys that are needed soon after this one: a read costs little more with them."""
        for index, block in enumerate(self._cold):
            if key in block:
                del self._cold[index]
                return range(key + 2, block.stop, 2)
        return ()

    def _shrink(self) -> None:
        # An eighth at once: looking for the oldest entry of a dictionary costs its removed ones.
        goal = self._memory_limit * 7 // 8
        oldest: list[bytes] = []
        for opaque_id, data in self._memory.items():
            if self._memory_used <= goal:
                break
            self._memory_used -= len(data) + ENTRY_OVERHEAD
            oldest.append(opaque_id)
        for opaque_id in oldest:
            del self._memory[opaque_id]


def _unreadable(opaque_id: bytes, error: OSError) -> StateError:
    if isinstance(error, FileNotFoundError):
        return StateError("NOT_FOUND", f"no data is stored as {opaque_id.hex()}")
    return StateError("DATA_LOSS", f"the data stored as {opaque_id.hex()} is lost: {error}")


def is_file(opaque_id: bytes) -> bool:
    """Whether data of this id, if it is one of ours, is in a file."""
    return bool(data_key(opaque_id) & 1)


def data_path(state: Path, key: int) -> Path:
    """The file of large data in a state directory."""
    name = f"{key:016x}"
    return state / OBJECTS / name[-3:-1] / name


def data_key(opaque_id: bytes) -> int:
    """The key of an opaque id, or -2 (even, and no key) if it is none of ours."""
    if len(opaque_id) != OPAQUE_LENGTH or opaque_id[0] > 0x7F:
        return -2
    return int.from_bytes(opaque_id, "big")


def _read_rows(connection: sqlite3.Connection, keys: Sequence[int]) -> dict[int, bytes]:
    """Small data by key.

    All rows come as one, because each row that the driver fetches costs a wait for the interpreter
    lock while the event loop is busy.
    """
    found: dict[int, bytes] = {}
    for start in range(0, len(keys), READ_AT_ONCE):
        part = keys[start : start + READ_AT_ONCE]
        marks = ",".join("?" * len(part))
        names, sizes, data = connection.execute(
            "SELECT group_concat(id), group_concat(length(data)), "
            "CAST(group_concat(data, '') AS BLOB) "
            f"FROM (SELECT id, data FROM objects WHERE id IN ({marks}))",
            part,
        ).fetchone()
        if names is None:
            continue
        position = 0
        for name, size in zip(names.split(","), sizes.split(","), strict=True):
            end = position + int(size)
            found[int(name)] = data[position:end]
            position = end
    return found
