"""Memory that a child shares with its owner: what it runs, what it finished, what it did not send.

When a child is killed, whatever it kept for itself is lost. So it keeps in this file-backed memory
what its owner needs to go on without it:

* the **mark**: the task and the item that run, the attempt, and when that attempt must have ended;
* the **spool**: the finished slots of the running task, one entry per item;
* the **outbox**: completions that were not sent yet.

Single words are written with one aligned store each, in an order that makes every intermediate
state harmless: an item's deadline before its number, an entry's bytes before its length, and the
number of the next item only after the entry of the one before.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgpack

_HEADER = 512
ENTRIES = 16384
SPOOL_BYTES = 256 * 1024
OUTBOX_BYTES = 256 * 1024
_LENGTHS = _HEADER
_SPOOL = _LENGTHS + 4 * ENTRIES
_OUTBOX = _SPOOL + SPOOL_BYTES
SIZE = _OUTBOX + OUTBOX_BYTES

# Words of the header.
SERIAL = 0
ITEM = 1
ATTEMPT = 2
DEADLINE = 3
BASE = 4
WAITING = 5

LOADING = -1
"""The item while a task's code and inputs are being loaded."""

_LENGTH = (1 << 28) - 1
PLAIN = 0
MANY = 1 << 28
LOST = 2 << 28


class Entry(NamedTuple):
    """A finished item: its slot in each output, as they stand in an envelope's entries."""

    item: int
    cells: list[Any]


class Position(NamedTuple):
    """What a child is running; ``serial`` 0 means nothing."""

    serial: int
    item: int
    attempt: int
    deadline: int


class Mark:
    """The shared memory; the child writes it, the owner reads it."""

    def __init__(self, fd: int) -> None:
        self._map = mmap.mmap(fd, SIZE)
        view = memoryview(self._map)
        self.words = view[:_HEADER].cast("q")
        self.lengths = view[_LENGTHS:_SPOOL].cast("I")
        self.spool = view[_SPOOL:_OUTBOX]
        self.outbox = view[_OUTBOX:]
        self._view = view

    def close(self) -> None:
        """Unmap it."""
        for view in (self.words, self.lengths, self.spool, self.outbox, self._view):
            view.release()
        self._map.close()

    def position(self) -> Position:
        """What the child runs now, or ran when it died."""
        words = self.words
        while True:
            position = Position(words[SERIAL], words[ITEM], words[ATTEMPT], words[DEADLINE])
            if words[SERIAL] == position.serial and words[ITEM] == position.item:
                return position

    def entries(self) -> list[Entry]:
        """The finished items of the running task that are still in the spool."""
        words = self.words
        return decode_entries(
            words[BASE], self.lengths[: max(0, words[ITEM] - words[BASE])], self.spool
        )

    def unsent(self) -> bytes:
        """The completions that the child may not have sent."""
        return bytes(self.outbox[: self.words[WAITING]])


def decode_entries(
    base: int, lengths: Sequence[int] | memoryview, spool: bytes | memoryview
) -> list[Entry]:
    """Read entries; those that were too large to be kept are left out."""
    entries = []
    position = 0
    for item, length in enumerate(lengths, base):
        end = position + (length & _LENGTH)
        kind = length & ~_LENGTH
        data = bytes(spool[position:end])
        if kind == PLAIN:
            entries.append(Entry(item, [data]))
        elif kind == MANY:
            entries.append(Entry(item, msgpack.unpackb(data, raw=False)))
        position = end
    return entries


def create_mark_file(directory: str) -> int:
    """A file without a name for a mark; returns its descriptor."""
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("armoflow-mark")
    else:
        fd, path = tempfile.mkstemp(dir=directory)
        os.unlink(path)  # noqa: PTH108 - pathlib is not worth its import here
    os.ftruncate(fd, SIZE)
    return fd
