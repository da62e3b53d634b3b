"""What an engine counts of itself, for those who measure it from outside.

Only an engine that is asked to counts; the others pay a look at None for each transaction.
"""

from __future__ import annotations

import asyncio
import bisect
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import TYPE_CHECKING, Final

from armoflow.engine.records import SessionStatus, TaskRecord, TaskStatus
from armoflow.engine.transaction import Transaction

if TYPE_CHECKING:
    from armoflow.engine.core import Engine

BOUNDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0)
"""Seconds that tell latencies apart."""


class Histogram:
    """How often something took how long.

    Example:
        >>> waits = Histogram()
        >>> for seconds in (0.0001, 0.02, 100.0):
        ...     waits.observe(seconds)
        >>> waits.buckets()[0], waits.buckets()[5], waits.buckets()[-1]
        (('0.0005', 1), ('0.025', 2), ('+Inf', 3))
    """

    def __init__(self) -> None:
        self._counts = [0] * (len(BOUNDS) + 1)
        self.total = 0.0

    def observe(self, seconds: float) -> None:
        """It took so long once more."""
        self._counts[bisect.bisect_left(BOUNDS, seconds)] += 1
        self.total += seconds

    def buckets(self) -> Sequence[tuple[str, int]]:
        """By upper bound, how often it took no longer."""
        bounds = [*map(str, BOUNDS), "+Inf"]
        return list(zip(bounds, accumulate(self._counts), strict=True))


@dataclass(frozen=True, slots=True)
class Reading:
    """What an engine looks like at one moment.

    Attributes:
        queued: Tasks that wait for a worker, by partition.
        running: Tasks that workers run, by partition.
        ended: Tasks that have ended since the engine started, by partition and status.
        sessions: Sessions by status.
        records: Tasks and results in memory.
        acquiring: How long tasks waited for a worker.
        committing: How long changes waited for their commit.
        lag: Seconds for which the oldest change waits for its commit.
        data: Bytes of results, by where they are: ``memory`` (a cache of the journal), ``files``.
        journal: Bytes of the journal, its log included.
    """

    queued: Mapping[str, int]
    running: Mapping[str, int]
    ended: Mapping[tuple[str, str], int]
    sessions: Mapping[str, int]
    records: int
    acquiring: Histogram
    committing: Histogram
    lag: float
    data: Mapping[str, int]
    journal: int = field(default=0)


class Meter:
    """Counts what an engine commits; lives in its event loop.

    Args:
        engine: The engine.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._ended: Counter[tuple[str, str]] = Counter()
        self._acquiring = Histogram()
        self._committing = Histogram()
        self._loop = asyncio.get_running_loop()

    def committed(self, batch: Transaction, ended: Iterable[TaskRecord]) -> None:
        """A transaction was written, and with it these tasks have ended for good."""
        if batch.since is not None:
            self._committing.observe(self._loop.time() - batch.since)
        for task in ended:
            self._ended[task.options.partition_id, task.status.name.lower()] += 1
            if task.acquired_at is not None and task.submitted_at is not None:
                self._acquiring.observe(max(task.acquired_at - task.submitted_at, 0.0))

    def read(self) -> Reading:
        """Look at the engine now."""
        engine = self._engine
        partitions = engine.partitions
        queued = {name: engine.scheduler.queued(name) for name in partitions}
        running = dict.fromkeys(partitions, 0)
        for task_id in engine.scheduler.running:
            task = engine.state.tasks.get(task_id)
            if task is not None:
                # One that its agent has, behind another, has not begun.
                counts = queued if task.status is TaskStatus.DISPATCHED else running
                counts[task.options.partition_id] += 1
        states = (TaskStatus.COMPLETED, TaskStatus.ERROR, TaskStatus.TIMEOUT, TaskStatus.CANCELLED)
        none = {(name, status.name.lower()): 0 for name in partitions for status in states}
        sessions = Counter(session.status for session in engine.state.sessions.values())
        return Reading(
            queued=queued,
            running=running,
            ended={**none, **self._ended},
            sessions={status.name.lower(): sessions[status] for status in SessionStatus},
            records=engine.count_records(),
            acquiring=self._acquiring,
            committing=self._committing,
            lag=engine.journal_lag,
            data=engine.objects.stored_bytes(),
            journal=_journal_bytes(engine),
        )


def _journal_bytes(engine: Engine) -> int:
    directory = engine.options.state_directory
    total = 0
    for name in ("journal.db", "journal.db-wal"):
        path = directory / name
        total += os.path.getsize(path) if path.exists() else 0  # noqa: PTH202
    return total
