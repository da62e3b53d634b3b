"""What tasks write, as their process sees it: the streams, and the marks that say whose it is.

See :mod:`armoflow.agent.passages`. A task that writes nothing pays for one question to the kernel.
"""

from __future__ import annotations

import io
import logging
import os
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from armoflow.agent.passages import (
    NOBODY,
    STDERR,
    STDOUT,
    Passages,
    Writer,
    close_mark,
    open_mark,
)
from armoflow.config import KIB
from armoflow.worker.last_lines import LastLines
from armoflow.worker.mark import INLINE, ITEM, SERIAL, Mark
from armoflow.worker.starts import before_starts

_TAIL_BYTES = 16 * KIB
"""Bytes in which the last lines of an item are looked for."""

_LEVELS = {1: STDOUT, 2: STDERR}


class Output:
    """Marks what is written.

    Args:
        mark: What this process runs.
        token: That of the marks.
        who: Who runs.
    """

    def __init__(self, mark: Mark, token: bytes, who: Callable[[], Writer]) -> None:
        self._words = mark.words
        self._token = token
        self._who = who
        self._file = os.dup(1)  # tasks may put anything into its place
        self._end = self._size()
        self._opened: tuple[object, ...] | None = None
        self._pending = False
        self._records = threading.local()
        self._streams = {fd: self._open(fd) for fd in (1, 2)}

    def install(self) -> None:
        """Have all output marked that this process makes, or that it lets others make."""
        sys.stdout, sys.stderr = self._streams.values()
        before_starts(self.begin)
        _wrap_handlers(self._records)

    def reopen(self, fd: int) -> io.TextIOWrapper:
        """A new stream, in place of one that was closed."""
        self._streams[fd] = self._open(fd)
        return self._streams[fd]

    def _open(self, fd: int) -> io.TextIOWrapper:
        buffer = _Buffer(_File(fd, self), self)
        standard: Any = (sys.__stdout__, sys.__stderr__)[fd - 1]
        encoding, errors = standard.encoding, standard.errors
        return io.TextIOWrapper(buffer, encoding, errors, line_buffering=True, write_through=True)

    def wait(self) -> None:
        """Something is about to be written that may not be a whole line yet."""
        self._pending = True

    def begin(self, level: int = STDOUT) -> None:
        """Something is about to be written; mark it, unless what was written last is so marked."""
        words = self._words
        level, logger = getattr(self._records, "now", (level, ""))
        now = (words[SERIAL], words[ITEM], words[INLINE], level, logger)
        if now != self._opened:
            self._opened = now
            self._put(open_mark(self._token, self._who(), level, logger))

    def close(self) -> None:
        """A task ends: what it has written is its own."""
        if self._pending:
            self._flush()
        if os.lseek(self._file, 0, os.SEEK_END) != self._end:
            self._put(close_mark(self._token, self._who()))
            self._opened = None
            self._end = self._size()

    def say(self, text: str) -> None:
        """Write a line about the task that has just ended."""
        line = f"armoflow: {text}\n".encode(errors="replace")
        self._put(open_mark(self._token, self._who(), logging.WARNING, "armoflow") + line)
        self._put(close_mark(self._token, NOBODY))
        self._opened = None
        self._end = self._size()

    def tell(self, line: str, logger: str) -> None:
        """Write a line of the running item, as a record of a log."""
        text = f"{line}\n".encode(errors="replace")
        self._put(open_mark(self._token, self._who(), logging.INFO, logger) + text)
        self._opened = None

    def last_lines(self) -> str:
        """What the running item has written last."""
        self._flush()
        size = self._size()
        if size == self._end:
            return ""
        begin = max(self._end if self._end < size else 0, size - _TAIL_BYTES)
        passages, lines, who = Passages(self._token), LastLines(), self._who()
        data = os.pread(self._file, size - begin, begin)
        lines.add([*passages.feed(data), *passages.end(who)])
        return lines.of(who)

    def _flush(self) -> None:
        self._pending = False
        for stream in self._streams.values():
            with suppress(ValueError):  # the task has closed it
                stream.flush()

    def _size(self) -> int:
        return os.lseek(self._file, 0, os.SEEK_END)

    def _put(self, data: bytes) -> None:
        with suppress(OSError):  # there is no room: then nobody knows whose it is
            os.write(self._file, data)


class _Buffer(io.BufferedWriter):
    """Holds what is no whole line yet."""

    def __init__(self, file: _File, output: Output) -> None:
        super().__init__(file)
        self._wait = output.wait

    def write(self, data: Any) -> int:
        self._wait()
        return super().write(data)


class _File(io.FileIO):
    """What is printed goes to a file, whose disk may be full: that is no reason to fail."""

    def __init__(self, fd: int, output: Output) -> None:
        super().__init__(fd, "wb", closefd=False)
        self._output = output
        self._level = _LEVELS[fd]

    def write(self, data: Any) -> int:
        self._output.begin(self._level)
        try:
            return super().write(data)
        except OSError:
            return len(data)


def _wrap_handlers(records: threading.local) -> None:
    """Let handlers of the log say of what they write to a stream which record it is of."""
    emit = logging.StreamHandler.emit

    def emit_marked(self: logging.StreamHandler[Any], record: logging.LogRecord) -> None:
        records.now = (record.levelno, record.name)
        try:
            emit(self, record)
        finally:
            vars(records).pop("now", None)

    logging.StreamHandler.emit = emit_marked  # type: ignore[method-assign, assignment]
