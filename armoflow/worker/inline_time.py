"""For how long the graph that a task has returned is begun where it is."""

from __future__ import annotations

import time
from collections.abc import Callable

from armoflow import config
from armoflow.worker.mark import HANDS_BUSY, HANDS_FREE


class InlineTime:
    """The time of one task's graph.

    While all other processes have enough to do, what runs here keeps no one waiting, and each task
    less is one whose cost is saved: so the time is lengthened bit by bit, until one of them is
    free.

    Args:
        seconds: For how long calls may be begun.
        hands: What is known of other processes; see ``HANDS_FREE``.

    Attributes:
        seconds: For how long calls may be begun.
        over: It was over when it was looked at last.
        overtime: How long what is begun after it may take.

    Example:
        >>> time = InlineTime(20.0, lambda: HANDS_FREE)
        >>> time.begin()
        >>> 19.0 < time.left() < 20.0
        True
        >>> time.over
        False
    """

    def __init__(self, seconds: float, hands: Callable[[], int]) -> None:
        self.seconds = seconds
        self.over = False
        self.overtime = config.INLINE_OVERTIME * seconds
        self._hands = hands
        self._due = self._end = self._latest = 0.0

    def begin(self) -> None:
        """It begins now."""
        self._due = self._end = time.perf_counter() + self.seconds
        self._latest = self._end + config.INLINE_LONGER * self.seconds

    @property
    def hands_are_free(self) -> bool:
        """Whether another process would take what is left here."""
        return self._hands() == HANDS_FREE

    def left(self) -> float:
        """Seconds that are left: fewer than none once it is over."""
        now = time.perf_counter()
        if not self.over and (now > self._end or (now > self._due and self.hands_are_free)):
            self._lengthen(now)
        return self._end - now

    def stop(self) -> None:
        """It is over now: another process takes what is left."""
        self.over, self._end = True, time.perf_counter()
        self.overtime = min(self.overtime, config.INLINE_SHARED)

    def _lengthen(self, now: float) -> None:
        if now <= self._latest and self._hands() == HANDS_BUSY:
            self._end = min(now + config.INLINE_OVERTIME * self.seconds, self._latest)
        else:
            self.over, self._end = True, min(now, self._end)
