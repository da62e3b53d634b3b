"""Data in files that client, engine and workers of one machine share."""

from __future__ import annotations

import errno
import mmap
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import suppress

from armoflow.codec.container import Buffer
from armoflow.content import PIECE, DataPart, FileContent, is_mapped, view_pieces

_PARTS_PER_CALL = 512


def write_parts(path: str, parts: Sequence[DataPart]) -> int:
    """Write the parts one after the other into a new file, without joining them.

    Returns:
        How many bytes.

    Raises:
        OSError: If they cannot be written, and then there is no file; it says where, and why.
    """
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            return sum(
                _write(fd, parts[first : first + _PARTS_PER_CALL])
                for first in range(0, len(parts), _PARTS_PER_CALL)
            )
        finally:
            os.close(fd)
    except OSError as error:
        from armoflow.system.disk_faults import (
            located,
        )  # not imported in children before it is needed

        told = located(error, path)
        remove_file(path)
        raise told from error
    except BaseException:
        remove_file(path)
        raise


def _write(fd: int, parts: Sequence[DataPart]) -> int:
    """Write parts; those of large files one after the other, that no more of them is in memory."""
    total = 0
    together: list[Buffer] = []
    for part in parts:
        pieces = _pieces(part)
        if pieces is not None:
            total += _write_all(fd, together)
            together = []
            total += sum(_write_all(fd, [piece]) for piece in pieces)
        elif not isinstance(part, FileContent):
            together.append(part)
    return total + _write_all(fd, together)


def _pieces(part: DataPart) -> Iterator[Buffer] | None:
    """The pieces of a file, read or mapped; None: it is in memory already."""
    if isinstance(part, FileContent):
        return (part[start : start + PIECE] for start in range(0, len(part), PIECE))
    if is_mapped(part):
        return view_pieces(part)
    return None


def _write_all(fd: int, parts: Sequence[Buffer]) -> int:
    rest = [memoryview(part) for part in parts if len(part)]
    total = sum(len(part) for part in rest)
    while rest:
        written = os.writev(fd, rest)
        while rest and written >= len(rest[0]):
            written -= len(rest.pop(0))
        if written:
            rest[0] = rest[0][written:]
    return total


def open_private(path: str, flags: int) -> int:
    """An opener for ``open``: new files are this user's alone."""
    return os.open(path, flags, 0o600)


def remove_file(path: str) -> None:
    """Remove a file, if it is (still) there."""
    with suppress(OSError):
        os.unlink(path)  # noqa: PTH108 - pathlib is not imported in children


def open_plain(path: str) -> int:
    """Open a file to read it, whatever others have put in its place: no link, no pipe, no device.

    Raises:
        OSError: If it is not there, or no plain file.
    """
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, "no plain file", path)
    return fd


def map_file(path: str, size: int) -> Buffer:
    """A private, writable map of a file of so many bytes.

    Raises:
        OSError: If it is not there, no plain file, or of another size.
    """
    fd = open_plain(path)
    try:
        if os.fstat(fd).st_size != size:
            raise OSError(errno.EINVAL, f"not of {size} bytes", path)
        return memoryview(mmap.mmap(fd, size, access=mmap.ACCESS_COPY)) if size else b""
    finally:
        os.close(fd)
