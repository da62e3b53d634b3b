"""Reads what a worker's process and what it starts write, as their owner sees it.

All of it goes into a file: nobody who writes waits for the reader, what a dying process has written
is there, and a process that goes on writing after its task keeps nobody from anything. The file is
shortened once it was read.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress

from armoflow import config
from armoflow.agent.passages import NOBODY, STDERR, Passage, Passages, Writer
from armoflow.worker.last_lines import LastLines

_TRIMMED = config.MIB
"""Bytes of the file from which on it is shortened when all of it was read."""

_ROUNDS = 2 + config.OUTPUT_BYTES_KEPT // config.OUTPUT_BYTES_READ
"""How often the rest is read: some process may go on writing for ever."""


class OutputReader:
    """Reads the file of one process.

    Args:
        file: The file, open for reading and writing.
        token: That of the process's marks.

    Attributes:
        last: The last lines.
    """

    def __init__(self, file: int, token: bytes) -> None:
        self.last = LastLines()
        self._file = file
        self._passages = Passages(token)
        self._read = 0

    @property
    def behind(self) -> bool:
        """Whether there is something to read."""
        return self._size() != self._read

    def read(self) -> list[Passage]:
        """What has come, or as much of it as is read at once."""
        found = [*self._next()]
        self.last.add(found)
        return found

    @property
    def unmarked(self) -> bool:
        """Whether something was read that has no mark."""
        return self._passages.unmarked

    def settle(self, writer: Writer) -> list[Passage]:
        """What was read and has no mark is theirs."""
        found = self._passages.settle(writer)
        self.last.add(found)
        return found

    def finish(self, writer: Writer) -> list[Passage]:
        """The rest, once nobody writes any more; what has no mark is theirs."""
        found: list[Passage] = []
        for _ in range(_ROUNDS):
            if not self.behind:
                break
            found.extend(self.read())
        rest = self._passages.end(writer)
        self.last.add(rest)
        return [*found, *rest]

    def _size(self) -> int:
        try:
            return os.lseek(self._file, 0, os.SEEK_END)
        except OSError:  # of a disk that fails: nothing is known to have come
            return self._read

    def _next(self) -> Iterator[Passage]:
        size = self._size()
        if size < self._read:  # somebody has shortened it
            self._read = 0
        waits, room = size - self._read, config.OUTPUT_BYTES_READ
        crowded = size > 2 * config.OUTPUT_BYTES_KEPT
        if waits > config.OUTPUT_BYTES_KEPT or (crowded and waits > room):
            self._read = size - room
            yield from self._passages.skip()
            text = f"[{waits - room:,} bytes of output left out: they came too fast]"
            yield Passage(self._passages.last, STDERR, "armoflow", text)
        try:
            data = os.pread(self._file, room, self._read)
        except OSError as error:
            yield Passage(NOBODY, STDERR, "armoflow", f"[output cannot be read: {error}]")
            data = b""
        self._read += len(data)
        yield from self._passages.feed(data)
        if self._read >= max(size, _TRIMMED) and (crowded or self._size() == self._read):
            # What comes between is lost: microseconds, once in so many bytes.
            with suppress(OSError):  # a disk that has become read-only: it is read on from here
                os.ftruncate(self._file, 0)
                self._read = 0
