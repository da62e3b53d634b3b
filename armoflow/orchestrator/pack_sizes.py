"""How many calls of one kind share a task: the one decision for all packs.

Whoever packs calls asks here: the client for those that were submitted side by side, a plan for
those of a graph, be it the client's or one that a task has returned. A kind that nothing is known
of goes one by one; what is known is how long calls of it have taken, measured or told.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from armoflow import config

MOST = 1_000
"""Calls in one task at most."""

TRUST = 16
"""How many times as many calls go into one task as were measured: of calls that look quick so many
may be slow without anybody having met one, and those of one task run one after the other."""

KEPT = 0.7
"""What earlier measurements count beside a new one."""


class Packing(NamedTuple):
    """What packs aim at where their tasks run.

    Attributes:
        target: Seconds that a pack should take.
        least: It takes at least so long, where there are enough calls.
        packs: Into how many packs a worker's share is cut, so that uneven ones even out.
    """

    target: float
    least: float
    packs: int


PACKING: Final = Packing(target=0.05, least=0.001, packs=4)

CLUSTER_PACKING: Final = Packing(target=0.5, least=0.02, packs=2)
"""A task costs a cluster some ten milliseconds, and is away for some forty: few large ones win more
than even ones."""


def _nobody() -> None:
    return None


class PackSizer:
    """Sizes the packs of one kind of call.

    Args:
        workers: How many tasks may run at once.
        packing: What packs aim at.
        most: Calls in one task at most.
        told: Called when something was measured.

    Attributes:
        probes: How many begin, until it is known how long they take.
        curious: Measurements still change something.
        seen: How many calls were measured.

    Example:
        >>> sizer = PackSizer(workers=2, packing=PACKING)
        >>> sizer.known, sizer.measured(4, 4 * 0.001)
        (False, None)
        >>> sizer.next(1000), sizer.next(80), sizer.next(4)
        (50, 10, 1)
        >>> quick = PackSizer(workers=2, packing=PACKING)
        >>> quick.measured(4, 4 * 0.00001)
        >>> quick.next(1000)  # not more than 16 times what was seen
        64
    """

    fixed = False

    def __init__(
        self,
        workers: int,
        packing: Packing,
        most: int = MOST,
        told: Callable[[], None] = _nobody,
    ) -> None:
        self.curious = True
        self.workers = max(workers, 1)
        self.probes = min(self.workers, config.PROBES)
        self.target = packing.target
        self.most = most
        self.seen = 0
        self._packing = packing
        self._told = told
        self._refused = False
        self._items = 0.0
        self._seconds = 0.0
        self._bytes = 0.0
        self._large = False

    @property
    def known(self) -> bool:
        """Whether it can be said already, and there is something to say."""
        return self.seen > 0 and not self._refused

    def next(self, left: int) -> int:
        """How many of the next ``left`` calls share a task."""
        even = -(-left // (self.workers * self._packing.packs))
        size = max(even, self.worth)
        return max(min(size, self.trusted, left), 1)

    @property
    def largest(self) -> int:
        """How many calls share a task at most."""
        if self._large:
            return 1
        size = self._of(self.target)
        if self._bytes:
            size = min(size, int(config.BATCH_BYTES / self._bytes))
        return max(min(size, self.most), 1)

    @property
    def trusted(self) -> int:
        """How many share a task at most, after so few measurements."""
        return min(self.largest, max(TRUST * self.seen, 1))

    @property
    def worth(self) -> int:
        """How many calls are worth a task of their own."""
        return max(min(self._of(self._packing.least), self.trusted), 1)

    @property
    def growing(self) -> bool:
        """Whether packs are too small to be worth a task each, and what ends makes them larger."""
        return self.trusted < min(self._of(self._packing.least), self.largest)

    @property
    def look_ahead(self) -> int:
        """How many of the next calls to look at, to know what is left for all workers."""
        return self.largest * self.workers * self._packing.packs

    def _of(self, seconds: float) -> int:
        """How many calls take so long."""
        each = self._seconds / self._items if self._items else self.target
        return int(seconds / max(each, 1e-7))

    # --- what it is told ------------------------------------------------------------------------

    def planned(self, items: int, size: int) -> None:
        """So many calls, so many bytes of payload."""
        self._bytes = max(self._bytes, size / max(items, 1))

    def measured(self, items: int, seconds: float) -> None:
        """So many calls have run."""
        # By items: what a process that was cold takes is forgotten as soon as packs are measured.
        self._items = KEPT * self._items + items
        self._seconds = KEPT * self._seconds + seconds
        self.seen += items
        self._told()

    def weighed(self, items: int, size: int) -> None:
        """The values of so many calls have so many bytes: each large one is to have its own result.

        So nobody gets, or keeps, what others have asked for.
        """
        self._bytes = max(self._bytes, size / max(items, 1))
        if size:  # it is not always known
            self._large = size > items * config.INLINE_DATA_LIMIT

    def ended(self, items: int, size: int, seconds: float | None) -> None:
        """So many calls have ended: the bytes of their values, and what these say of their time."""
        self.weighed(items, size)
        if seconds is not None:
            self.curious = False  # what an engine tells has the agent's time in it
            self.measured(items, seconds)

    def unmeasurable(self) -> None:
        """Nobody will say: each goes alone."""

    def refuse(self) -> None:
        """They must not share tasks, whatever they take."""
        self._refused = True

    def finish(self) -> None:
        """There will be no more calls."""
        self.curious = False
