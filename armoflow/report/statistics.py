"""Numbers of a session: by name, by worker, and how well the workers were used. Pure."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from armoflow.protocol.states import STATES
from armoflow.report.lanes import Lanes
from armoflow.report.trace import TaskRun


class Quantiles(NamedTuple):
    """How some durations are spread, in seconds."""

    half: float
    most: float
    longest: float


def quantiles(values: Iterable[float]) -> Quantiles | None:
    """The median, what 95 of 100 stay under, and the longest; None without values.

    Example:
        >>> quantiles([3.0, 1.0, 2.0])
        Quantiles(half=2.0, most=3.0, longest=3.0)
    """
    ordered = sorted(values)
    if not ordered:
        return None
    last = len(ordered) - 1
    return Quantiles(ordered[last // 2], ordered[min(math.ceil(0.95 * last), last)], ordered[last])


@dataclass(slots=True)
class NameRow:
    """The tasks of one name.

    Attributes:
        name: That of the task.
        states: How many are in each state.
        seconds: How long those took that have run.
        bytes_in: Of inputs and payloads, all together.
        bytes_out: Of outputs, all together.
        tries: How often one was tried again.
    """

    name: str
    states: dict[str, int] = field(default_factory=lambda: dict.fromkeys(STATES, 0))
    seconds: list[float] = field(default_factory=list)
    bytes_in: int = 0
    bytes_out: int = 0

    @property
    def count(self) -> int:
        """How many there are; what was tried again is one."""
        return sum(self.states.values()) - self.states["retried"]

    @property
    def total(self) -> float:
        """Seconds that all took together."""
        return sum(self.seconds)


def by_name(runs: Iterable[TaskRun]) -> list[NameRow]:
    """A row for each name; what takes longest in all comes first."""
    rows: dict[str, NameRow] = {}
    for run in runs:
        row = rows.get(run.name)
        if row is None:
            row = rows[run.name] = NameRow(run.name)
        row.states[run.state] += 1
        row.bytes_in += run.bytes_in
        row.bytes_out += run.bytes_out
        seconds = run.seconds
        if seconds is not None:
            row.seconds.append(seconds)
    totals = {name: row.total for name, row in rows.items()}
    return sorted(rows.values(), key=lambda row: -totals[row.name])


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


def efficiency(runs: Sequence[TaskRun]) -> Efficiency:
    """How well the workers were used that the tasks ran on."""
    begun = min((run.started for run in runs if run.started is not None), default=None)
    last = max((end for run in runs if (end := _end(run)) is not None), default=begun)
    wall = 0.0 if begun is None or last is None else max(last - begun, 0.0)
    busy: dict[str, float] = {}
    for run in runs:
        if run.started is not None:
            busy[run.pod] = busy.get(run.pod, 0.0) + (run.seconds or 0.0)
    return Efficiency(
        begun,
        wall,
        sum(busy.values()),
        sum(max(math.ceil(seconds / wall), 1) if wall else 1 for seconds in busy.values()),
        quantiles(
            max(run.started - run.queued, 0.0)
            for run in runs
            if run.started is not None and run.queued is not None
        ),
        quantiles(
            max(run.ended - run.taken - run.seconds, 0.0)
            for run in runs
            if run.ended is not None and run.taken is not None and run.seconds is not None
        ),
    )


def _end(run: TaskRun) -> float | None:
    return run.stopped if run.stopped is not None else run.ended


class WorkerRow(NamedTuple):
    """What one worker did: a row of the timeline."""

    label: str
    tasks: int
    busy: float
    failed: int


def by_worker(runs: Sequence[TaskRun], lanes: Lanes) -> list[WorkerRow]:
    """A row for each worker, as the timeline has them."""
    tasks = [0] * len(lanes.labels)
    failed = list(tasks)
    busy = [0.0] * len(lanes.labels)
    for run, lane in zip(runs, lanes.of, strict=True):
        if lane >= 0:
            tasks[lane] += 1
            busy[lane] += run.seconds or 0.0
            failed[lane] += run.state == "failed"
    return [
        WorkerRow(lanes.labels[lane], tasks[lane], busy[lane], failed[lane]) for lane in lanes.order
    ]


def slowest(runs: Iterable[TaskRun], count: int) -> list[TaskRun]:
    """Those that ran longest, the longest first."""
    ran = (run for run in runs if run.started is not None)
    return heapq.nlargest(count, ran, key=lambda run: run.seconds or 0.0)
