"""Numbers of a session, added up task by task: by name, and how well workers were used. Pure."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from armoflow.codec.item_log import ItemRecord, ItemState
from armoflow.protocol.states import STATES
from armoflow.report.trace import TaskRun


class Quantiles(NamedTuple):
    """How some durations are spread, in seconds."""

    half: float
    most: float
    longest: float


TOGETHER = 1_000
"""Durations that are kept of calls that are told together, at most."""


MANY = 200_000
"""Durations that are kept at most: of more, every second one stands for two, and so on."""


class DurationSample:
    """Durations of which the quantiles are asked for now and then.

    Example:
        >>> durations = DurationSample()
        >>> for seconds in (3.0, 1.0, 2.0):
        ...     durations.add(seconds)
        >>> durations.quantiles(), durations.total
        (Quantiles(half=2.0, most=3.0, longest=3.0), 6.0)
    """

    __slots__ = ("_left_out", "_longest", "_stride", "_values", "total")

    def __init__(self) -> None:
        self.total = 0.0
        self._values: list[float] = []
        self._longest = 0.0
        self._stride = 1  # each value stands for so many
        self._left_out = 0  # since the last one that was kept

    def add(self, seconds: float, count: int = 1) -> None:
        """One more, or several that took as long; below zero it is none (clocks differ)."""
        seconds = max(seconds, 0.0)
        self.total += seconds * count
        self._longest = max(self._longest, seconds)
        # Of very many that are told together some stand for all.
        self._left_out += min(count, TOGETHER)
        if self._left_out < self._stride:
            return
        kept, self._left_out = divmod(self._left_out, self._stride)
        self._values.extend([seconds] * kept)
        if len(self._values) > MANY:
            self._values.sort()
            del self._values[::2]
            self._stride *= 2

    def quantiles(self) -> Quantiles | None:
        """The median, what 95 of 100 stay under, and the longest; None if there is none."""
        values = self._values
        if not values:
            return None
        values.sort()  # most are in order since the last time, which makes it cheap
        last = len(values) - 1
        most = values[min(math.ceil(0.95 * last), last)]
        return Quantiles(values[last // 2], most, self._longest)


@dataclass(slots=True)
class NameRow:
    """The tasks of one name.

    Attributes:
        name: That of the task.
        states: How many tasks are in each state.
        calls: How many calls of it were run: more than tasks where one runs several.
        failed: How many of these have failed.
        retries: How often one was tried again.
        seconds: How long calls took.
        bytes_in: Of inputs and payloads, all together.
        bytes_out: Of outputs, all together.
    """

    name: str
    states: dict[str, int] = field(default_factory=lambda: dict.fromkeys(STATES, 0))
    calls: int = 0
    failed: int = 0
    retries: int = 0
    seconds: DurationSample = field(default_factory=DurationSample)
    bytes_in: int = 0
    bytes_out: int = 0

    @property
    def count(self) -> int:
        """How many there are; what was tried again is one."""
        return sum(self.states.values()) - self.states["retried"]


class NameTable:
    """A row for each name."""

    def __init__(self) -> None:
        self._rows: dict[str, NameRow] = {}

    def add(self, run: TaskRun) -> None:
        """One more task."""
        row = self._row(run.name)
        row.states[run.state] += 1
        row.bytes_in += run.bytes_in
        row.bytes_out += run.bytes_out
        row.retries += run.state == "retried"
        if run.items:
            self._add_items(run.items)
            return
        row.calls += run.state != "retried"
        row.failed += run.state == "failed"
        seconds = run.seconds
        if seconds is not None:
            row.seconds.add(seconds)

    def fail_items(self, records: Iterable[ItemRecord]) -> None:
        """Some calls of a task that was added without them have failed."""
        for record in records:
            if record.state is ItemState.FAILED:
                row = self._row(record.name)
                row.failed += record.items
                row.retries += record.items * (record.attempts - 1)

    def _add_items(self, records: Iterable[ItemRecord]) -> None:
        for record in records:
            row = self._row(record.name)
            row.calls += record.items
            row.failed += record.items if record.state is ItemState.FAILED else 0
            row.retries += record.items * (record.attempts - 1)
            row.seconds.add(record.seconds / record.items, record.items)

    def _row(self, name: str) -> NameRow:
        row = self._rows.get(name)
        if row is None:
            row = self._rows[name] = NameRow(name)
        return row

    def rows(self) -> list[NameRow]:
        """What takes longest in all comes first."""
        return sorted(self._rows.values(), key=lambda row: -row.seconds.total)


class Efficiency(NamedTuple):
    """How well the workers were used.

    Attributes:
        begun: When the first task began; None if none has.
        wall: Seconds from there to the end of the last one.
        busy: Seconds that tasks took, all together.
        workers: How many there are: a pod runs one task at a time, unless what it ran takes more.
        queued: How long tasks waited for a worker that had their inputs.
        overhead: What a task took its agent beside its own time.
    """

    begun: float | None
    wall: float
    busy: float
    workers: int
    queued: Quantiles | None
    overhead: Quantiles | None

    @property
    def share(self) -> float:
        """The part of the time in which workers ran something."""
        return self.busy / (self.wall * self.workers) if self.wall and self.workers else 0.0


class WorkerUsage:
    """How well the workers are used."""

    def __init__(self) -> None:
        self._begun = math.inf
        self._last = -math.inf
        self._busy: dict[str, float] = {}
        self._queued = DurationSample()
        self._overhead = DurationSample()

    def add(self, run: TaskRun) -> None:
        """One more task."""
        if run.started is None:
            return
        seconds = run.seconds or 0.0
        self._begun = min(self._begun, run.started)
        self._last = max(self._last, run.started + seconds)
        self._busy[run.pod] = self._busy.get(run.pod, 0.0) + seconds
        if run.queued is not None:
            self._queued.add(run.started - run.queued)
        if run.ended is not None and run.taken is not None:
            self._overhead.add(run.ended - run.taken - seconds)

    def efficiency(self) -> Efficiency:
        """As far as it is known."""
        wall = max(self._last - self._begun, 0.0) if self._busy else 0.0
        workers = [max(math.ceil(busy / wall), 1) if wall else 1 for busy in self._busy.values()]
        return Efficiency(
            self._begun if self._busy else None,
            wall,
            sum(self._busy.values()),
            sum(workers),
            self._queued.quantiles(),
            self._overhead.quantiles(),
        )


class Slowest:
    """The tasks that ran longest.

    Args:
        count: How many of them.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._runs: list[tuple[float, int, TaskRun]] = []
        self._number = 0

    def add(self, run: TaskRun) -> None:
        """One more task."""
        if run.seconds is None:
            return
        self._number -= 1  # of several that took as long, the first ones are kept
        entry = (run.seconds, self._number, run)
        if len(self._runs) < self._count:
            heapq.heappush(self._runs, entry)
        elif entry > self._runs[0]:
            heapq.heapreplace(self._runs, entry)

    def runs(self) -> list[TaskRun]:
        """The longest first."""
        return [run for _, _, run in sorted(self._runs, reverse=True)]
