"""How much work a child should hold: enough never to wait, not more."""

from __future__ import annotations

TARGET_SECONDS = 0.002
"""Work that a child should have in hand: a few round trips to its owner."""

LARGEST = 256
PREFETCH_SECONDS = 0.05
"""Tasks that take longer are not sent before the one in front of them has ended."""

_MEMORY = 32  # tasks over which durations are averaged


class Window:
    """Follows the durations of a child's tasks.

    Example:
        >>> window = Window()
        >>> window.size
        2
        >>> for _ in range(10): window.observe(64, 64 * 20e-6)
        >>> window.size
        101
        >>> window.observe(1, 10.0)
        >>> window.size
        1
    """

    __slots__ = ("average", "size")

    def __init__(self) -> None:
        self.average: float | None = None
        self.size = 2

    def observe(self, count: int, seconds: float) -> None:
        """So many tasks took so long together."""
        mean = seconds / count
        weight = min(1.0, count / _MEMORY)
        if self.average is None or mean > self.average:
            self.average = mean  # a window that is too large hurts more than one too small
        else:
            self.average += (mean - self.average) * max(weight, 0.1)
        self.size = min(self._target(self.average), 2 * self.size + count)

    def _target(self, average: float) -> int:
        if average > PREFETCH_SECONDS:
            return 1
        return min(LARGEST, 1 + max(1, int(TARGET_SECONDS / max(average, 1e-6))))
