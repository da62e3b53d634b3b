"""For how long the graph that a task has returned is begun where it is."""

from __future__ import annotations

import time
from collections.abc import Callable

from armoflow import config


class InlineTime:
    """The time of one task's graph.

    While other tasks wait for the same process nobody is idle, or would have taken them: then what
    runs here keeps no one waiting, and each task less is one whose cost is saved. So the time
    is lengthened bit by bit.

    Args:
        seconds: For how long calls may be begun.
        others_wait: Whether other tasks wait for this process.

    Attributes:
        seconds: For how long calls may be begun.
        over: It was over when it was looked at last.

    Example:
        >>> time = InlineTime(20.0, lambda: False)
        >>> time.begin()
        >>> 19.0 < time.left() < 20.0
        True
        >>> time.over
        False
    """

    def __init__(self, seconds: float, others_wait: Callable[[], bool]) -> None:
        self.seconds = seconds
        self.over = False
        self._others_wait = others_wait
        self._end = self._latest = 0.0

    def begin(self) -> None:
        """It begins now."""
        self._end = time.perf_counter() + self.seconds
        self._latest = self._end + config.INLINE_LONGER * self.seconds

    def left(self) -> float:
        """Seconds that are left: fewer than none once it is over."""
        now = time.perf_counter()
        if not self.over and now > self._end:
            self._lengthen(now)
        return self._end - now

    def _lengthen(self, now: float) -> None:
        if now <= self._latest and self._others_wait():
            self._end = min(now + config.INLINE_OVERTIME * self.seconds, self._latest)
        else:
            self.over = True
