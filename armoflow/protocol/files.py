"""Data in files that client, engine and workers of one machine share."""

from __future__ import annotations

import mmap
import os
from collections.abc import Sequence
from contextlib import suppress

from armoflow.codec.container import Buffer

_PARTS_PER_CALL = 512


def write_parts(path: str, parts: Sequence[Buffer]) -> int:
    """Write the parts one after the other into a new file, without joining them.

    Returns:
        How many bytes.
    """
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        return sum(
            _write_all(fd, parts[first : first + _PARTS_PER_CALL])
            for first in range(0, len(parts), _PARTS_PER_CALL)
        )
    finally:
        os.close(fd)


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


def remove_file(path: str) -> None:
    """Remove a file, if it is (still) there."""
    with suppress(OSError):
        os.unlink(path)  # noqa: PTH108 - pathlib is not imported in children


def map_file(path: str, size: int) -> Buffer:
    """A private, writable map of a file of so many bytes."""
    if size == 0:
        return b""
    fd = os.open(path, os.O_RDONLY)
    try:
        return memoryview(mmap.mmap(fd, size, access=mmap.ACCESS_COPY))
    finally:
        os.close(fd)
