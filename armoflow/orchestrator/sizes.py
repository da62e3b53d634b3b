"""How many items of a collection one task takes.

A task costs the engine something whatever it does, so cheap items are packed; but workers must not
idle while one of them works through a batch, and a payload must fit into a message. So the first
batches are small, and what they took says how large the next ones are.
"""

from __future__ import annotations

import threading
from typing import Protocol

from armoflow import config

MAXIMUM_BATCH = 10_000
"""Items per task at most."""

UNMEASURED_BATCH = 1_000
"""Items per task at most, as long as nobody knows how long they take."""

BATCHES_PER_WORKER = 4
"""Batches that a collection of known length leaves each worker, so that uneven ones even out."""

PILOT = 4
"""Items of the first batches, one for each worker."""

PATIENCE = 0.25
"""Seconds to wait for the first measurement before sizes go by count."""


class BatchSizer(Protocol):
    """Says how large the next batch should be."""

    fixed: bool

    def next(self, position: int) -> int:
        """Items of the batch that starts at ``position``."""

    def planned(self, items: int, size: int) -> None:
        """A batch was planned: so many items, so many bytes of payload."""

    def measured(self, items: int, seconds: float) -> None:
        """A batch has run; may be called in another thread."""


class FixedSizer:
    """The size that the user asked for."""

    fixed = True

    def __init__(self, size: int) -> None:
        self._size = size

    def next(self, position: int) -> int:
        """Always the same."""
        return self._size

    def planned(self, items: int, size: int) -> None:
        """Changes nothing."""

    def measured(self, items: int, seconds: float) -> None:
        """Changes nothing."""


class AdaptiveSizer:
    """Aims at a target time for each batch.

    Args:
        workers: How many tasks may run at once.
        length: Length of the collection, or None.
        target: Seconds that a batch should take.
        patience: Seconds to wait for the first measurement; 0 where there is none to be had.

    Example:
        >>> sizer = AdaptiveSizer(workers=2, length=8000, target=0.05, patience=0)
        >>> sizer.next(0), sizer.next(4)
        (4, 4)
        >>> sizer.measured(4, 4 * 0.001)
        >>> sizer.next(8)
        50
        >>> ramp = AdaptiveSizer(workers=2, length=None, target=0.05, patience=0)
        >>> [ramp.next(position) for position in (0, 1, 2, 4)]
        [1, 1, 1, 2]
    """

    fixed = False

    def __init__(self, workers: int, length: int | None, target: float, patience: float) -> None:
        self._workers = max(workers, 1)
        self._length = length
        self._target = target
        self._patience = patience
        self._even: int | None = None
        if length is not None:
            self._even = max(-(-length // (self._workers * BATCHES_PER_WORKER)), 1)
        self._seconds: float | None = None
        self._bytes = 0.0
        self._known = threading.Event()

    def next(self, position: int) -> int:
        """Items of the batch that starts at ``position``."""
        if self._even is not None and self._even > PILOT:
            if position < PILOT * self._workers:
                return self._within_bytes(PILOT)
            if self._seconds is None and self._patience:
                self._known.wait(self._patience)
                self._patience = 0.0  # once is enough
        return self._within_bytes(self._by_time(position))

    def planned(self, items: int, size: int) -> None:
        """A batch was planned: so many items, so many bytes of payload."""
        self._bytes = max(self._bytes, size / max(items, 1))

    def measured(self, items: int, seconds: float) -> None:
        """A batch has run."""
        each = seconds / max(items, 1)
        self._seconds = each if self._seconds is None else 0.7 * self._seconds + 0.3 * each
        self._known.set()

    def _by_time(self, position: int) -> int:
        if self._seconds is not None:
            size = min(int(self._target / max(self._seconds, 1e-7)), MAXIMUM_BATCH)
        elif self._even is not None:
            size = UNMEASURED_BATCH
        else:
            size = min(position // self._workers, UNMEASURED_BATCH)
        if self._even is not None:
            size = min(size, self._even)
        return max(size, 1)

    def _within_bytes(self, size: int) -> int:
        if self._bytes * size <= config.BATCH_BYTES:
            return size
        return max(int(config.BATCH_BYTES / self._bytes), 1)


class SiblingSizer:
    """How many sibling calls share a task: one, until it is known how long a call takes.

    Args:
        workers: How many tasks may run at once.
        target: Seconds that a task should take.
        most: Calls in one task at most.

    Example:
        >>> sizer = SiblingSizer(workers=2, target=0.05)
        >>> sizer.measured(1, 0.001)
        >>> sizer.next(1000), sizer.next(80), sizer.next(4)
        (50, 10, 1)
    """

    fixed = False

    def __init__(self, workers: int, target: float, most: int = UNMEASURED_BATCH) -> None:
        self._workers = max(workers, 1)
        self._target = target
        self._most = most
        self._seconds: float | None = None
        self._bytes = 0.0

    @property
    def known(self) -> bool:
        """Whether it can be said already."""
        return self._seconds is not None

    @property
    def look_ahead(self) -> int:
        """How many of the next calls to look at, to know what is left for all workers."""
        return self._largest() * self._workers * BATCHES_PER_WORKER

    def next(self, left: int) -> int:
        """How many of the next ``left`` calls share a task."""
        even = left // (self._workers * BATCHES_PER_WORKER)
        return max(min(self._largest(), even), 1)

    def planned(self, items: int, size: int) -> None:
        """So many calls, so many bytes of payload."""
        self._bytes = max(self._bytes, size / max(items, 1))

    def measured(self, items: int, seconds: float) -> None:
        """So many calls have run; may be called in another thread."""
        each = seconds / max(items, 1)
        self._seconds = each if self._seconds is None else 0.7 * self._seconds + 0.3 * each

    def _largest(self) -> int:
        size = int(self._target / max(self._seconds or self._target, 1e-7))
        if self._bytes:
            size = min(size, int(config.BATCH_BYTES / self._bytes))
        return max(min(size, self._most), 1)
