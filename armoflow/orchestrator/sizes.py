"""How many items of a collection one task takes.

A task costs the engine something whatever it does, so cheap items are packed; but workers must not
idle while one of them works through a batch, and a payload must fit into a message. So the first
batches are small, and what they took says how large the next ones are. A small batch says little of
the items, most of its time may be the task's own, or a process that was cold: where that matters,
the next batches are measured again before the rest is planned.
"""

from __future__ import annotations

import threading
import time
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

GROWTH = 4
"""How many times larger batches must be able to grow to be worth another measurement."""

PATIENCE = 0.25
"""Seconds that a collection's plan waits for measurements before it goes on without."""

CLUSTER_PATIENCE = 2.0
"""The same where a measurement takes round trips to a cluster, and agents that are not here."""

PATIENT_FROM = 100
"""Items of even batches from which on the whole patience is due: short collections win little."""

KEPT = 0.7
"""What earlier measurements count beside a new one."""


class BatchSizer(Protocol):
    """Says how large the next batch should be; all but ``next`` and ``planned`` in any thread."""

    fixed: bool
    curious: bool
    """Whether measurements still change anything."""

    @property
    def known(self) -> bool:
        """Whether enough is known to go on without waiting for one."""

    def next(self, position: int) -> int:
        """Items of the batch that starts at ``position``."""

    def planned(self, items: int, size: int) -> None:
        """A batch was planned: so many items, so many bytes of payload."""

    def measured(self, items: int, seconds: float) -> None:
        """A batch has run."""

    def weighed(self, items: int, size: int) -> None:
        """The values of a batch have so many bytes."""

    def unmeasurable(self) -> None:
        """Nobody will say how long batches take: do not wait for it."""

    def finish(self) -> None:
        """There will be no more batches."""


class FixedSizer:
    """The size that the user asked for."""

    fixed = True
    curious = False
    known = True

    def __init__(self, size: int) -> None:
        self._size = size

    def next(self, position: int) -> int:
        """Always the same."""
        return self._size

    def planned(self, items: int, size: int) -> None:
        """Changes nothing."""

    def measured(self, items: int, seconds: float) -> None:
        """Changes nothing."""

    def weighed(self, items: int, size: int) -> None:
        """Changes nothing."""

    def unmeasurable(self) -> None:
        """Changes nothing."""

    def finish(self) -> None:
        """Changes nothing."""


class AdaptiveSizer:
    """Aims at a target time for each batch.

    Args:
        workers: How many tasks may run at once.
        length: Length of the collection, or None.
        target: Seconds that a batch should take.
        patience: Seconds to wait for measurements; 0 where there are none to be had.
        least: Seconds that a batch should take at least, though more workers could have some.

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
        >>> many = AdaptiveSizer(workers=1000, length=8000, target=0.5, patience=0, least=0.02)
        >>> many.measured(64, 64 * 2**-16)
        >>> many.next(64)  # not thousands of tiny tasks
        1310
    """

    fixed = False

    def __init__(
        self,
        workers: int,
        length: int | None,
        target: float,
        patience: float,
        least: float = 0.0,
    ) -> None:
        self.curious = True
        self._probes = min(max(workers, 1), config.PROBES)
        self._target = target
        self._least = least
        # Even shares of all workers, and of those that begin; what is taken while nothing is known.
        self._even: int | None = None
        self._spread = MAXIMUM_BATCH
        self._blind = UNMEASURED_BATCH
        self._bytes = 0.0
        self._value_bytes = 0.0
        # What the measurements of this step come to, and the largest batch among them.
        self._items = 0.0
        self._seconds = 0.0
        self._largest = 0
        # A step: a batch of so many items for each worker, up to this position; the smallest.
        self._step = 0
        self._step_end = 0
        self._step_planned: int | None = None
        self._estimate = 0
        self._patience = 0.0
        self._changed = threading.Condition()
        if length is not None:
            self._even = _share(length, max(workers, 1))
            self._spread = _share(length, self._probes)
            self._blind = min(self._spread, UNMEASURED_BATCH)
            if self._spread > PILOT:
                self._patience = patience * min(self._spread / PATIENT_FROM, 1.0)
                self._begin_step(0, PILOT)

    @property
    def known(self) -> bool:
        """Whether a batch of this step, or any at all, was measured."""
        return self._items > 0

    def next(self, position: int) -> int:
        """Items of the batch that starts at ``position``."""
        if self._step and position >= self._step_end:
            self._end_step(position)
        return self._within_bytes(self._step or self._by_time(position))

    def planned(self, items: int, size: int) -> None:
        """A batch was planned: so many items, so many bytes of payload."""
        self._bytes = max(self._bytes, size / max(items, 1))
        if self._step_planned is None or items < self._step_planned:
            self._step_planned = items

    def measured(self, items: int, seconds: float) -> None:
        """A batch has run."""
        with self._changed:
            # By items: a large batch says more of them than a small one.
            self._items = KEPT * self._items + items
            self._seconds = KEPT * self._seconds + seconds
            self._largest = max(self._largest, items)
            self._changed.notify_all()

    def weighed(self, items: int, size: int) -> None:
        """The values of a batch have so many bytes; those of no later one may come to too many."""
        self._value_bytes = max(self._value_bytes, size / max(items, 1))

    def unmeasurable(self) -> None:
        """Nobody will say how long batches take: do not wait for it."""
        with self._changed:
            self._patience = 0.0
            self._changed.notify_all()

    def finish(self) -> None:
        """There will be no more batches."""
        self.curious = False

    # --- steps ----------------------------------------------------------------------------------

    def _begin_step(self, position: int, size: int) -> None:
        self._step = size
        self._step_end = position + size * self._probes
        self._step_planned = None
        with self._changed:
            self._items = self._seconds = 0.0
            self._largest = 0

    def _end_step(self, position: int) -> None:
        """All have a batch of this step: wait for one of them, and see what it says."""
        told = self._wait()
        most = min(self._spread, MAXIMUM_BATCH)
        size = self._within_bytes(max(min(self._by_target(), most), 1))
        last, self._estimate = self._estimate, size
        # Another step only while the estimate still grows, and has far to go; or before many pods
        # get little each, for what seems to take long may be what a task costs.
        grows = size >= GROWTH * last and self._within_bytes(most) >= GROWTH * size
        thin = size > self._by_time(position) and size >= GROWTH * self._step
        if told and (grows or thin):
            self._begin_step(position, size)
        else:
            self._step = 0

    def _wait(self) -> bool:
        """Wait for the measurement of a batch of this step; whether it is there."""
        began = time.monotonic()
        with self._changed:
            self._changed.wait_for(lambda: self._told() or not self._patience, self._patience)
            told, waits = self._told(), self._patience > 0
            self._patience = max(self._patience - (time.monotonic() - began), 0.0)
            if waits and not self._items and self._even is not None:
                self._blind = self._even  # they take long: all workers shall have some
        return told and waits

    def _told(self) -> bool:
        return self._largest >= (self._step_planned or 1)

    # --- sizes ----------------------------------------------------------------------------------

    def _by_time(self, position: int) -> int:
        each = self._each()
        share = self._share()
        if each is not None:
            size = self._by_target()
            if share is not None:
                size = min(size, share)
        elif share is not None:
            size = self._blind
        else:
            size = min(position // self._probes, UNMEASURED_BATCH)
        return max(size, 1)

    def _by_target(self) -> int:
        """Items of a batch that takes as long as it should, if that is known."""
        each = self._each()
        return UNMEASURED_BATCH if each is None else min(int(self._target / each), MAXIMUM_BATCH)

    def _each(self) -> float | None:
        """Seconds that an item takes, if that is known."""
        with self._changed:
            return max(self._seconds / self._items, 1e-7) if self._items else None

    def _share(self) -> int | None:
        """Items of a batch that leaves some for all workers, and is worth a task."""
        each = self._each()
        if self._even is None or each is None:
            return self._even
        return max(self._even, int(self._least / each))

    def _within_bytes(self, size: int) -> int:
        for each, most in (
            (self._bytes, config.BATCH_BYTES),
            (self._value_bytes, config.BATCH_VALUE_BYTES),
        ):
            if each * size > most:
                size = max(int(most / each), 1)
        return size


def _share(length: int, workers: int) -> int:
    """Items of each batch of a collection that leaves its workers some of the same size."""
    return max(-(-length // (workers * BATCHES_PER_WORKER)), 1)
