"""The engine's clock, which does not go back, unless it is set back by much."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

STANDSTILL: Final = 1.0
"""Seconds by which the clock may have been set back for time to stand still until they are over:
that is how clocks are set right, and nothing that is timed notices."""


class Clock:
    """Tells the time.

    Attributes:
        read: Tells what the machine takes for the time, in seconds since the epoch.
        set_back: Called when the clock was set back by more than it may stand still.

    Example:
        >>> times = iter([10.0, 9.5, 10.5, 3.0])
        >>> clock = Clock(lambda: next(times))
        >>> clock.set_back = lambda: print("set back")
        >>> clock.now(), clock.now(), clock.now()
        (10.0, 10.0, 10.5)
        >>> clock.now()
        set back
        3.0
    """

    def __init__(self, read: Callable[[], float] = time.time) -> None:
        self.read = read
        self._latest = 0.0
        self.set_back: Callable[[], None] = _ignore

    def now(self) -> float:
        """The time: seconds since the epoch."""
        now = self.read()
        if now < self._latest:
            if self._latest - now <= STANDSTILL:
                return self._latest
            self.set_back()
        self._latest = now
        return now

    def follow(self, time: float) -> None:
        """It was as late as this before: in an earlier run of the engine, say."""
        self._latest = max(self._latest, time)


def _ignore() -> None:
    """Nobody listens yet."""
