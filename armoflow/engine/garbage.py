"""Looks for cycles among the engine's objects without holding up its event loop for long.

Records live long and make no cycles, and there may be millions of them: a full collection, which
goes over all, takes a second then. So Python itself looks only among young objects, and a full
collection is a thing of the event loop, after enough young ones. What has survived one that took
long is frozen, left out of the next ones, and so is what has come with many new records: until few
records are left, when all is looked at again, so that cycles which were in use at those moments are
freed too.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

THRESHOLDS: Final = (20_000, 4, 2**31 - 1)
"""New objects between young collections; every fifth one looks at the survivors of those before
too. Neither takes more than some 14 ms, and both together 4 us of a task's time (twice as much if
they came twice as often, though none would be shorter). The last one means that there are no full
ones."""

DUE: Final = 2
"""Collections of survivors after which a full one is due."""

PERIOD: Final = 1.0
"""Seconds between two looks whether a full collection is due."""

LONG: Final = 0.03
"""Seconds of a full collection that should not be repeated: what survived it is frozen."""

FEW: Final = 20_000
"""Records that are few enough to be gone over, with all the rest, in less than that."""

OLDEST_YOUNG: Final = 1
"""The generation of the survivors of a young collection."""


@contextmanager
def nothing_collected() -> Iterator[None]:
    """Look for no cycles meanwhile: for making records, of which none is garbage."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


class Collector:
    """Collects in the event loop.

    Args:
        records: How many records the engine holds.
    """

    def __init__(self, records: Callable[[], int]) -> None:
        self._records = records
        self._frozen = False
        self._left_out = 0  # records that there were when the last were frozen
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Freeze what is there, modules and what was recovered, and begin to look."""
        self._freeze()
        self._frozen = False  # of what is there before anything is done nothing becomes garbage
        self._schedule()

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()

    def collect(self) -> None:
        """Look for cycles, if it is time to."""
        if gc.get_count()[2] < DUE:
            return
        records = self._records()
        if self._frozen and records < FEW:
            gc.unfreeze()
            self._frozen, self._left_out = False, 0
        if records - self._left_out > FEW:
            gc.collect(OLDEST_YOUNG)
            self._freeze()
            return
        started = time.thread_time()
        gc.collect()
        if time.thread_time() - started > LONG:
            self._freeze()

    def _freeze(self) -> None:
        gc.freeze()
        self._frozen, self._left_out = True, self._records()

    def _schedule(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(PERIOD, self._look)

    def _look(self) -> None:
        self.collect()
        self._schedule()
