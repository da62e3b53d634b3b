"""Lines for a reader that may be slow, or gone: nobody who prints waits for it."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Generic, TypeVar

from armoflow.config import PRINTER_BYTES
from armoflow.errors import ThreadLimitError
from armoflow.system.new_threads import start_thread

Printable = TypeVar("Printable", bound="Sequence[object]")


class Printer(Generic[Printable]):
    r"""Writes lines in a thread of its own.

    While more wait than ``PRINTER_BYTES``, new ones are left out, and it is told how many.

    Args:
        write: Writes some.
        left_out: The line that tells how many were left out.

    Example:
        >>> written = []
        >>> printer = Printer(written.extend, lambda count: b"...")
        >>> printer.put([b"one", b"two"])
        >>> printer.close()
        >>> written
        [b'one', b'two']
    """

    def __init__(
        self, write: Callable[[Sequence[Printable]], None], left_out: Callable[[int], Printable]
    ) -> None:
        self._write = write
        self._left_out = left_out
        self._changed = threading.Condition()
        self._lines: deque[Printable] = deque()
        self._size = 0
        self._missing = 0
        self._writing = False
        self._ended = False
        self._thread: threading.Thread | None = None

    def put(self, lines: Iterable[Printable]) -> None:
        """Print lines, soon."""
        with self._changed:
            if self._thread is None:
                with suppress(ThreadLimitError):  # the next lines try again
                    self._thread = start_thread(self._run, "armoflow-printer", "print")
            for line in lines:
                if self._size > PRINTER_BYTES:
                    self._missing += 1
                    continue
                if self._missing:
                    self._add(self._left_out(self._missing))
                    self._missing = 0
                self._add(line)
            self._changed.notify_all()

    def wait(self, timeout: float) -> None:
        """Wait until all is written, for so many seconds at most."""
        with self._changed:
            self._changed.wait_for(lambda: not self._lines and not self._writing, timeout)

    def close(self, timeout: float = 1.0) -> None:
        """Print what waits, for so many seconds at most, and end."""
        with self._changed:
            if self._missing:
                self._add(self._left_out(self._missing))
            self._ended = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(timeout)

    def _add(self, line: Printable) -> None:
        self._lines.append(line)
        self._size += len(line)

    def _run(self) -> None:
        with suppress(OSError, ValueError):  # nobody is there any more
            while lines := self._next():
                self._write(lines)
        with self._changed:
            self._writing = False
            self._changed.notify_all()

    def _next(self) -> list[Printable]:
        """What waits, once something does; nothing at the end."""
        with self._changed:
            self._writing = False
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._lines or self._ended)
            lines = list(self._lines)
            self._lines.clear()
            self._size = 0
            self._writing = bool(lines)
            return lines
