"""How much work a child should hold: enough never to wait, not more."""

from __future__ import annotations

from collections import deque

TARGET_SECONDS = 0.002
"""Work that a child should have in hand: a few round trips to its owner."""

LARGEST = 256
PREFETCH_SECONDS = 0.05
"""Nothing more is sent behind a task that runs for longer."""

_LONGEST = 0.15
"""Tasks that take longer on average are not sent before the one in front of them has ended. Less,
all in all, are those that return graphs, which go on for as long as nobody else is free."""

_MEMORY = 5
"""Observations whose median counts: a child that lost its processor for once is not slow."""


class Prefetch:
    """Follows the durations of a child's tasks.

    Example:
        >>> window = Prefetch()
        >>> window.size
        2
        >>> for _ in range(10): window.observe(64, 64 * 20e-6)
        >>> window.size
        101
        >>> for _ in range(3): window.observe(1, 10.0)
        >>> window.size
        1
    """

    __slots__ = ("_means", "average", "size")

    def __init__(self) -> None:
        self._means: deque[float] = deque(maxlen=_MEMORY)
        self.average: float | None = None
        self.size = 2

    def observe(self, count: int, seconds: float) -> None:
        """So many tasks took so long together."""
        means = self._means
        means.append(seconds / count)
        self.average = average = sorted(means)[len(means) // 2]
        self.size = min(self._target(average), 2 * self.size + count)

    def _target(self, average: float) -> int:
        if average > _LONGEST:
            return 1
        return min(LARGEST, 1 + max(1, int(TARGET_SECONDS / max(average, 1e-6))))
