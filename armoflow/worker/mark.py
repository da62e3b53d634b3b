"""Memory that a child shares with its owner: what it runs, what it finished, what it did not send.

When a child is killed, whatever it kept for itself is lost. So it keeps in this file-backed memory
what its owner needs to go on without it:

* the **mark**: the task and the item that run, the attempt, when that attempt must have ended, and
  how much memory this process may have meanwhile;
* the **spool**: the finished slots of the running task, one entry per item; an item that waits for
  its next attempt says how many it has spent, and until when it waits;
* the **outbox**: completions that were not sent yet.

One word is the owner's: whether other processes have nothing to do.

Single words are written with one aligned store each, in an order that makes every intermediate
state harmless: an item's deadline before its number, an entry's bytes before its length, and the
number of the next item only after the entry of the one before.
"""

from __future__ import annotations

import fcntl
import mmap
import os
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import msgpack

from armoflow.codec.envelope import Cell, Slot, SlotKind

if TYPE_CHECKING:
    from armoflow.codec.payload import Settings

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
INLINE = 6
NAME = 7
MEMORY = 8
HANDS = 9

HANDS_BUSY, HANDS_FREE = 1, 2
"""What the owner says of other processes: they have enough to do, and nobody waits for this one; or
one is free for what this one has left, or something waits for it. 0: the owner does not know."""

_NAME = slice(128, _HEADER)
"""Bytes of the header: the name of the call that runs, NAME of them."""

NO_ITEM = -1
"""The item while a task's code and inputs are being loaded, and while its items wait."""

_LENGTH = (1 << 28) - 1
PLAIN = 0
MANY = 1 << 28
LOST = 2 << 28
WAITS = 3 << 28
LARGEST_ENTRY = SPOOL_BYTES // 4

_READS = 1000
"""How often the words are read that change meanwhile: no child keeps its owner from anything."""


# Of Linux: the fcntl module names them from Python 3.11 on.
_ADD_SEALS = 1033
_SEAL_SEAL, _SEAL_SHRINK, _SEAL_GROW = 1, 2, 4


class SpoolEntry(NamedTuple):
    """What became of an item.

    Attributes:
        item: The item.
        cells: If it is finished: its slot in each output, as :func:`cell_to_wire` writes them.
        spent: If it waits for its next attempt: the attempts that it has spent.
        due: Until when it waits, in CLOCK_MONOTONIC nanoseconds.
    """

    item: int
    cells: list[Any]
    spent: int = 0
    due: int = 0


class Position(NamedTuple):
    """What a child is running; ``serial`` 0 means nothing.

    Attributes:
        serial: The task.
        item: Its item.
        attempt: The attempt, from 1 on.
        deadline: When it must have ended, in CLOCK_MONOTONIC nanoseconds; 0: never.
        inline: It runs a call of the graph that the task has returned: the attempt and the deadline
            are that call's. Calls are counted from 1 on; 0: it runs the task itself.
        name: Of that call.
    """

    serial: int
    item: int
    attempt: int
    deadline: int
    inline: int = 0
    name: str = ""


class Mark:
    """The shared memory; the child writes it, the owner reads it."""

    def __init__(self, fd: int) -> None:
        self._map = mmap.mmap(fd, SIZE)
        view = memoryview(self._map)
        self.words = view[:_HEADER].cast("q")
        self.lengths = view[_LENGTHS:_SPOOL].cast("I")
        self.name = view[_NAME]
        self.spool = view[_SPOOL:_OUTBOX]
        self.outbox = view[_OUTBOX:]
        self._view = view

    def close(self) -> None:
        """Unmap it."""
        for view in (self.words, self.name, self.lengths, self.spool, self.outbox, self._view):
            view.release()
        self._map.close()

    def position(self) -> Position:
        """What the child runs now, or ran when it died."""
        words = self.words
        for _ in range(_READS):
            number = words[INLINE]
            name = bytes(self.name[: words[NAME]]).decode(errors="replace") if number else ""
            position = Position(
                words[SERIAL], words[ITEM], words[ATTEMPT], words[DEADLINE], number, name
            )
            if words[SERIAL] == position.serial and words[ITEM] == position.item:
                break
        return position

    def entries(self) -> list[SpoolEntry]:
        """The finished items of the running task that are still in the spool."""
        base = self.words[BASE]
        count = min(max(0, self.words[ITEM] - base), ENTRIES)
        return decode_entries(base, self.lengths[:count], self.spool)

    def unsent(self) -> bytes:
        """The completions that the child may not have sent."""
        return bytes(self.outbox[: self.words[WAITING]])


def decode_entries(
    base: int, lengths: Iterable[int], spool: bytes | memoryview
) -> list[SpoolEntry]:
    """Read entries; those that were too large to be kept are left out."""
    entries = []
    position = 0
    for item, length in enumerate(lengths, base):
        end = position + (length & _LENGTH)
        kind = length & ~_LENGTH
        data = bytes(spool[position:end])
        if kind == PLAIN:
            entries.append(SpoolEntry(item, [data]))
        elif kind == MANY:
            entries.append(SpoolEntry(item, msgpack.unpackb(data)))
        elif kind == WAITS:
            # As much as there is: a child writes what it likes.
            spent, due = int.from_bytes(data[:4], "little"), int.from_bytes(data[4:12], "little")
            entries.append(SpoolEntry(item, [], spent, due))
        position = end
    return entries


class MarkWriter:
    """The child's side: notes what starts and keeps what is finished.

    Args:
        mark: The shared memory.
        ship: Sends the spool to the owner when it is full: serial, first item, lengths, bytes.

    Attributes:
        words: See the module; ``words[ITEM] = shift + item`` starts an item without a deadline.
        position: Where the next entry's bytes go in the spool.
        count: Entries in the spool.
        shift: What is added to the items' numbers: in a task of several steps, the items of the
            steps before.
        last_lines: What the running item has written last.
        settings: What the running call of a task's own graph runs with.
    """

    settings: Settings

    def __init__(self, mark: Mark, ship: Callable[[int, int, bytes, bytes], None]) -> None:
        self.mark = mark
        self.words = mark.words
        self.position = 0
        self.count = 0
        self.shift = 0
        self.last_lines: Callable[[], str] = str
        self._ship = ship

    def begin(self, serial: int) -> None:
        """A task starts: its code and inputs are loaded first."""
        words = self.words
        words[SERIAL] = 0
        words[DEADLINE] = 0
        words[ITEM] = NO_ITEM
        words[BASE] = 0
        words[ATTEMPT] = 1
        words[INLINE] = 0
        words[MEMORY] = 0
        words[SERIAL] = serial
        self.position = self.count = self.shift = 0

    def end(self) -> None:
        """Nothing runs."""
        self.words[SERIAL] = 0

    def start(self, item: int, attempt: int, deadline: int) -> None:
        """An attempt of an item starts; ``deadline`` in CLOCK_MONOTONIC nanoseconds, or 0."""
        words = self.words
        words[DEADLINE] = deadline
        words[ATTEMPT] = attempt
        words[ITEM] = self.shift + item

    def inline(self, number: int, attempt: int, deadline: int, name: str = "") -> None:
        """An attempt of a call in the task's own graph starts; number 0: no more of them."""
        words, view = self.words, self.mark.name
        told = name.encode(errors="replace")[: len(view)]
        view[: len(told)] = told
        words[NAME] = len(told)
        words[DEADLINE] = deadline
        words[ATTEMPT] = attempt
        words[INLINE] = number

    def wait(self, item: int, spent: int, due: int) -> None:
        """An item waits for its next attempt: it comes after others, and not before it is due."""
        self.words[DEADLINE] = 0
        self.add(item, WAITS, spent.to_bytes(4, "little") + due.to_bytes(8, "little"))

    def go_to(self, item: int) -> None:
        """The next item is not the one after the last; until it starts nothing of the user's runs.

        What the spool holds is sent: its entries are of items that follow one another.
        """
        words = self.words
        words[DEADLINE] = 0
        self._send()
        words[ITEM] = NO_ITEM
        words[ATTEMPT] = 1
        words[BASE] = self.shift + item
        self.position = self.count = 0

    def keep(self, item: int, cells: Sequence[Cell]) -> None:
        """An item is finished."""
        if len(cells) == 1 and isinstance(cells[0], bytes):
            self.add(item, PLAIN, cells[0])
        elif sum(map(weight, cells)) > LARGEST_ENTRY:
            self.add(item, LOST, b"")
        else:
            self.add(item, MANY, msgpack.packb([cell_to_wire(cell) for cell in cells]))

    def skip(self, item: int) -> None:
        """An item's slots are not kept here: the owner has them, or they are quickly made again."""
        if self.count == ENTRIES:
            self.flush(item)
        self.mark.lengths[self.count] = LOST
        self.count += 1

    def add(self, item: int, kind: int, data: bytes) -> None:
        """Append one entry, after sending the spool if it has no room."""
        length = len(data)
        if length > LARGEST_ENTRY:
            kind, data, length = LOST, b"", 0
        if self.position + length > SPOOL_BYTES or self.count == ENTRIES:
            self.flush(item)
        end = self.position + length
        self.mark.spool[self.position : end] = data
        self.mark.lengths[self.count] = length | kind
        self.position = end
        self.count += 1

    def flush(self, item: int) -> None:
        """Send what the spool holds; ``item`` is the first that is not in it."""
        self._send()
        self.words[BASE] = self.shift + item
        self.position = self.count = 0

    def _send(self) -> None:
        if self.count:
            self._ship(
                self.words[SERIAL],
                self.words[BASE],
                bytes(self.mark.lengths[: self.count]),
                bytes(self.mark.spool[: self.position]),
            )


def cell_to_wire(cell: Cell) -> Any:
    """A cell as it stands in messages and in the spool."""
    if cell is None or isinstance(cell, bytes):
        return cell
    return [int(cell.kind), bytes(cell.data), [bytes(buffer) for buffer in cell.buffers]]


def cell_from_wire(value: Any) -> Cell:
    """The reverse of :func:`cell_to_wire`."""
    if value is None or isinstance(value, bytes):
        return value
    kind, data, buffers = value
    return Slot(SlotKind(kind), data, buffers)


def weight(cell: Cell) -> int:
    """Bytes that a cell takes, about."""
    if cell is None or isinstance(cell, bytes):
        return len(cell or b"")
    return len(cell.data) + sum(len(buffer) for buffer in cell.buffers)


def create_mark_file(directory: str) -> int:
    """A file without a name for a mark; returns its descriptor."""
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("armoflow-mark", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    else:
        path = f"{directory}/mark"
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        os.unlink(path)  # noqa: PTH108 - pathlib is not imported in children
    os.ftruncate(fd, SIZE)
    if hasattr(os, "memfd_create"):
        # A child that shortened it would end its owner, which reads behind the end.
        fcntl.fcntl(fd, _ADD_SEALS, _SEAL_SHRINK | _SEAL_GROW | _SEAL_SEAL)
    return fd
