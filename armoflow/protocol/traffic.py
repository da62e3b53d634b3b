"""What is on its way between a client and its engine, in words: for who waits and wonders."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

LITTLE = 1_000_000
"""Bytes on their way of which nothing is said."""

SOON = 1.0
"""Seconds without an answer of which nothing is said."""

_UNITS = ("bytes", "kB", "MB", "GB", "TB")


class Traffic:
    """Uploads under way, and since when the engine has not answered.

    Used in the loop's thread; :meth:`words` may be asked for in any.

    Example:
        >>> traffic = Traffic()
        >>> with traffic.uploading(4_200_000_000) as sent:
        ...     sent(3_100_000_000)
        ...     traffic.words()
        'upload 3.1 of 4.2 GB'
        >>> traffic.words()
        ''
    """

    def __init__(self) -> None:
        self._uploads = 0
        self._size = self._sent = 0
        self._silent: dict[object, float] = {}
        self._said = ""

    @contextmanager
    def uploading(self, size: int) -> Iterator[Callable[[int], None]]:
        """So many bytes are to go up; gives what is told of those that are sent."""
        self._uploads += 1
        self._size += size
        done = 0

        def sent(count: int) -> None:
            nonlocal done
            count = min(count, size - done)  # what is sent again was counted
            done += count
            self._sent += count

        try:
            yield sent
        finally:
            sent(size)
            self._uploads -= 1
            if not self._uploads:  # what comes next is another matter
                self._size = self._sent = 0

    def unanswered(self, call: object, said: str) -> None:
        """A call had no answer, and is made again; ``said`` tells what went wrong."""
        self._silent.setdefault(call, time.monotonic())
        self._said = said

    def answered(self, call: object) -> None:
        """It has one, or was given up."""
        self._silent.pop(call, None)

    @contextmanager
    def calling(self) -> Iterator[Callable[[str], None]]:
        """Until a call is answered or given up; gives what is told why it has to be made again."""
        call = object()
        try:
            yield partial(self.unanswered, call)
        finally:
            self.answered(call)

    def words(self) -> str:
        """What holds the work up; empty if nothing is known to."""
        silent = time.monotonic() - min(self._silent.copy().values(), default=time.monotonic())
        if silent > SOON:
            return f"the engine has not answered for {silent:.0f} s: {self._said}"
        if self._size - self._sent > LITTLE:
            return f"upload {_part(self._sent, self._size)}"
        return ""


def _part(done: int, size: int) -> str:
    """So many of so many bytes.

    Example:
        >>> _part(40_000_000, 1_200_000_000), _part(0, 2_500_000)
        ('0.0 of 1.2 GB', '0.0 of 2.5 MB')
    """
    power = min((len(str(size)) - 1) // 3, len(_UNITS) - 1)
    unit: int = 1000**power
    return f"{done / unit:.1f} of {size / unit:.1f} {_UNITS[power]}"
