"""What files and buffers hold: told apart by digests, and moved piece by piece.

A large file is never in memory as a whole: it is read where its bytes are needed, and has to be
then what it was when it was looked at.
"""

from __future__ import annotations

import mmap
import os
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any, Final, NamedTuple, TypeAlias

from armoflow import config
from armoflow.errors import SerializationError

PIECE: Final = config.MIB

_TICK_NANOSECONDS: Final = 20_000_000
"""In how much time a file system may not tell two changes of a file apart."""

DataPart: TypeAlias = "bytes | bytearray | memoryview | FileContent"
"""Data to be stored, or a part of it; slices of it are bytes, or views of them."""


def digest_of(content: bytes | bytearray | memoryview) -> bytes:
    """What tells content from any other.

    Example:
        >>> digest_of(b"one") == digest_of(bytearray(b"one")) != digest_of(b"other")
        True
    """
    return digest_of_pieces((content,))


def digest_of_pieces(pieces: Iterable[bytes | bytearray | memoryview]) -> bytes:
    """The same of content in pieces."""
    import hashlib  # not imported in children, but for files

    hasher = hashlib.sha256()
    for piece in pieces:
        hasher.update(piece)
    return hasher.digest()


class FileSignature(NamedTuple):
    """What changes when a file is written to or replaced, even by what sets its times back."""

    device: int
    inode: int
    size: int
    modified: int
    changed: int

    @classmethod
    def of(cls, file: int | str) -> FileSignature:
        """That of an open file, or of a path."""
        found = os.stat(file)  # noqa: PTH116 - pathlib is not imported in children
        times = found.st_mtime_ns, found.st_ctime_ns
        return cls(found.st_dev, found.st_ino, found.st_size, *times)


class FileContent:
    """What a file holds, as it was when it was looked at; slices of it are read from the file.

    Args:
        path: The file's.

    Attributes:
        digest: Of all that it holds.
        path: The file's.

    Raises:
        SerializationError: If the file changes meanwhile.
    """

    __slots__ = ("_looked", "_signature", "digest", "path")

    def __init__(self, path: str) -> None:
        self.path = path
        self._looked = time.time_ns()
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            self._signature = FileSignature.of(file)
            self.digest = digest_of_pieces(read_pieces(file))
            self._check(file)
        finally:
            os.close(file)

    def is_current(self) -> bool:
        """Whether the file is known to be as it was: not if it was just written to, then."""
        if self._looked - self._signature.changed < _TICK_NANOSECONDS:
            return False
        with suppress(OSError):
            return FileSignature.of(self.path) == self._signature
        return False

    def __len__(self) -> int:
        return self._signature.size

    def __getitem__(self, piece: slice) -> bytes:
        """Read a piece of it.

        Raises:
            SerializationError: If the file is not what it was.
        """
        start, stop, _ = piece.indices(len(self))
        try:
            file = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise SerializationError(
                f"{self.path} cannot be sent: {error.strerror}; a file must stay until the tasks "
                "that take it have begun"
            ) from error
        try:
            self._check(file)
            read = b"".join(_read_range(file, start, stop))
            self._check(file)
        finally:
            os.close(file)
        return read

    def _check(self, file: int) -> None:
        found = FileSignature.of(file)
        if found == self._signature:
            return
        if digest_of_pieces(read_pieces(file)) != self.digest:
            raise SerializationError(
                f"{self.path} cannot be sent: it has changed since it was looked at; a file must "
                "stay as it is until the tasks that take it have begun"
            )
        self._signature = found  # it was renamed, linked or touched


def read_pieces(file: int, position: int = 0) -> Iterator[bytes]:
    """All that an open file holds from a position on, piece by piece."""
    while piece := os.pread(file, PIECE, position):
        position += len(piece)
        yield piece


def _read_range(file: int, start: int, stop: int) -> Iterator[bytes]:
    while start < stop and (read := os.pread(file, stop - start, start)):
        start += len(read)
        yield read


def view_pieces(content: bytes | bytearray | memoryview) -> Iterator[memoryview]:
    """Views of content, one after the other; of a mapped file no more stays in memory than one.

    What was written to a private map is lost: only for who alone has views of this content.
    """
    with memoryview(content) as view:
        for start in range(0, view.nbytes, PIECE):
            with view[start : start + PIECE] as piece:
                yield piece
                _forget(piece)


def _forget(piece: memoryview) -> None:
    """Let go of the pages of a mapped file that a piece of it lies on."""
    mapped: Any = piece.obj
    if not isinstance(mapped, mmap.mmap) or not hasattr(mapped, "madvise"):
        return
    if piece.readonly:  # nobody can have written to it
        mapped.madvise(mmap.MADV_DONTNEED)
        return
    first = _address(piece) - _address(mapped)
    last = first + piece.nbytes
    first += -first % mmap.PAGESIZE
    last -= last % mmap.PAGESIZE
    if first < last:
        mapped.madvise(mmap.MADV_DONTNEED, first, last - first)


def _address(content: Any) -> int:
    import ctypes  # few processes ever need it

    return ctypes.addressof(ctypes.c_char.from_buffer(content))


class Spool:
    """Data that comes in pieces: in memory while it is small, else in a file without a name.

    Where the disk has no room it stays in memory all the same.

    Args:
        limit: Bytes up to which it is in memory.

    Example:
        >>> spool = Spool(limit=4)
        >>> for piece in (b"one", b"two"):
        ...     spool.write(piece)
        >>> bytes(spool.content())
        b'onetwo'
    """

    def __init__(self, limit: int = config.SPOOL_LIMIT) -> None:
        self._limit = limit
        self._memory = bytearray()
        self._file = -1
        self._written = 0

    @property
    def in_memory(self) -> bool:
        """Whether it is in memory so far."""
        return self._file < 0

    def write(self, piece: bytes | memoryview) -> None:
        """Add a piece."""
        if self._file < 0:
            self._memory += piece
            if len(self._memory) <= self._limit:
                return
            piece = memoryview(self._memory)
        try:
            if self._file < 0:
                self._file = _open_unnamed()
            _write_all(self._file, piece)
        except OSError:
            self._limit = sys.maxsize
            if self._written:
                self._memory = bytearray().join(read_pieces(self._file))[: self._written]
                self._memory += piece
            self.close()
        else:
            self._written += len(piece)
            self._memory = bytearray()

    def content(self) -> bytearray | memoryview:
        """All of it, for who may write to it; called once."""
        if self._file < 0:
            return self._memory
        try:
            return memoryview(mmap.mmap(self._file, 0, access=mmap.ACCESS_COPY))
        finally:
            self.close()

    def close(self) -> None:
        """Let go of the file."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def __del__(self) -> None:
        self.close()


def kept(content: memoryview) -> memoryview:
    """What a mapped file holds, in a file without a name: whatever becomes of the one it is of."""
    spool = Spool(limit=0)
    for piece in view_pieces(content):
        spool.write(piece)
    return memoryview(spool.content()).toreadonly()


def is_mapped(content: bytes | bytearray | memoryview) -> bool:
    """Whether it is a large file, mapped to be read."""
    if type(content) is not memoryview or not content.readonly:
        return False
    return isinstance(content.obj, mmap.mmap) and content.nbytes > PIECE


def _open_unnamed() -> int:
    import tempfile  # children seldom need it

    file, path = tempfile.mkstemp(prefix="armoflow-")
    os.unlink(path)  # noqa: PTH108 - pathlib is not imported in children
    return file


def _write_all(file: int, piece: bytes | memoryview) -> None:
    with memoryview(piece) as rest:
        start = 0
        while start < len(rest):
            start += os.write(file, rest[start:])


def copy_new(file: int, path: str, *, executable: bool) -> None:
    """Copy an open file to a new one: within the system, where it can, and no bytes where it may.

    Raises:
        OSError: If there is one already, or it cannot be written.
    """
    new = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        size, position = os.fstat(file).st_size, 0
        with suppress(OSError, AttributeError):  # not between these two, or not on this system
            while position < size:
                copied = os.copy_file_range(file, new, size - position, position, position)
                if not copied:
                    break
                position += copied
        os.lseek(new, position, os.SEEK_SET)
        for piece in read_pieces(file, position):
            _write_all(new, piece)
        os.fchmod(new, 0o500 if executable else 0o400)
    finally:
        os.close(new)


def write_new(
    path: str, pieces: Iterable[bytes | memoryview], *, executable: bool, own: bool = False
) -> bytes:
    """Write a new file.

    Args:
        path: Where.
        pieces: What it holds.
        executable: It may be run.
        own: It is the user's, as any that he makes; else it is a copy, for this user alone, that
            nobody writes to by accident.

    Returns:
        The digest of what was written.

    Raises:
        OSError: If it is there already, or cannot be written.
    """
    import hashlib

    hasher = hashlib.sha256()
    mode = (0o777 if executable else 0o666) if own else 0o600
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        for piece in pieces:
            hasher.update(piece)
            _write_all(file, piece)
        if not own:
            os.fchmod(file, 0o500 if executable else 0o400)
    finally:
        os.close(file)
    return hasher.digest()
