"""Which row of a timeline each task is drawn in; a pod has as many as it ran at once. Pure."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from armoflow.report.trace import TaskRun

JITTER = 0.002
"""Seconds for which a task may seem to run beside the one before it: times are taken by others than
who ran them."""


@dataclass(slots=True)
class Lanes:
    """Rows of a timeline; more tasks may come.

    Attributes:
        labels: What each row is called.
        pods: The pod of each.
        of: The row of each task, in the order in which they came; -1 for what did not run.
    """

    labels: list[str] = field(default_factory=list)
    pods: list[str] = field(default_factory=list)
    of: list[int] = field(default_factory=list)
    _rows: dict[str, list[tuple[float, int]]] = field(default_factory=dict)

    @property
    def order(self) -> Sequence[int]:
        """The rows as they are drawn: pod by pod."""
        return sorted(range(len(self.pods)), key=lambda lane: (_natural(self.pods[lane]), lane))

    def add(self, runs: Iterable[TaskRun]) -> None:
        """Place some more tasks; fewest rows result where they come in the order of their start."""
        for run in runs:
            end = run.stopped if run.stopped is not None else run.ended
            if run.started is None or end is None:
                self.of.append(-1)
            else:
                self.of.append(self._place(run.pod or "unknown", run.started, end))

    def _place(self, pod: str, start: float, end: float) -> int:
        rows = self._rows.setdefault(pod, [])  # a heap: which row is free first
        if rows and rows[0][0] <= start + JITTER:
            lane = rows[0][1]
            heapq.heapreplace(rows, (end, lane))
            return lane
        lane = len(self.labels)
        self.labels.append(f"{pod} {len(rows) + 1}")
        self.pods.append(pod)
        heapq.heappush(rows, (end, lane))
        return lane


def place(runs: Sequence[TaskRun]) -> Lanes:
    """Rows for all tasks of a session.

    Example:
        >>> runs = [TaskRun(name, "f", "done", "pod", started=start, ended=start + 2.0)
        ...         for name, start in (("a", 0.0), ("b", 1.0), ("c", 2.0))]
        >>> lanes = place(runs)
        >>> lanes.of, lanes.labels
        ([0, 1, 0], ['pod 1', 'pod 2'])
    """
    by_start = sorted(range(len(runs)), key=lambda number: runs[number].started or 0.0)
    lanes = Lanes()
    lanes.add(runs[number] for number in by_start)
    placed = lanes.of
    lanes.of = [-1] * len(runs)
    for number, lane in zip(by_start, placed, strict=True):
        lanes.of[number] = lane
    return lanes


def _natural(name: str) -> tuple[str | int, ...]:
    """A key by which 'pod-2' comes before 'pod-10'."""
    parts: list[str | int] = []
    for digits, group in groupby(name, str.isdecimal):
        text = "".join(group)
        parts += ["", int(text)] if digits else [text, 0]
    return tuple(parts)
