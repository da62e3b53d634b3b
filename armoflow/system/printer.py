"""Lines on a stream whose reader may be slow, or gone: nobody who prints waits for it."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import BinaryIO

from armoflow.config import PRINTER_BYTES


class Printer:
    r"""Writes lines in a thread of its own.

    While more wait than ``PRINTER_BYTES``, new ones are left out, and it is told how many.

    Args:
        stream: Where they go.
        left_out: The line that tells how many were left out.

    Example:
        >>> import io
        >>> stream = io.BytesIO()
        >>> printer = Printer(stream, lambda count: b"...")
        >>> printer.put([b"one", b"two"])
        >>> printer.close()
        >>> stream.getvalue()
        b'one\ntwo\n'
    """

    def __init__(self, stream: BinaryIO, left_out: Callable[[int], bytes]) -> None:
        self._stream = stream
        self._left_out = left_out
        self._changed = threading.Condition()
        self._lines: deque[bytes] = deque()
        self._bytes = 0
        self._missing = 0
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="armoflow-printer", daemon=True)
        self._thread.start()

    def put(self, lines: Iterable[bytes]) -> None:
        """Print lines, soon."""
        with self._changed:
            for line in lines:
                if self._bytes > PRINTER_BYTES:
                    self._missing += 1
                    continue
                if self._missing:
                    self._add(self._left_out(self._missing))
                    self._missing = 0
                self._add(line)
            self._changed.notify()

    def close(self, timeout: float = 1.0) -> None:
        """Print what waits, for so many seconds at most."""
        with self._changed:
            if self._missing:
                self._add(self._left_out(self._missing))
            self._ended = True
            self._changed.notify()
        self._thread.join(timeout)

    def _add(self, line: bytes) -> None:
        self._lines.append(line)
        self._bytes += len(line)

    def _run(self) -> None:
        with suppress(OSError, ValueError):  # nobody is there any more
            while lines := self._next():
                self._stream.write(b"".join(line + b"\n" for line in lines))
                self._stream.flush()

    def _next(self) -> list[bytes]:
        """What waits, once something does; nothing at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._lines or self._ended)
            lines = list(self._lines)
            self._lines.clear()
            self._bytes = 0
            return lines
