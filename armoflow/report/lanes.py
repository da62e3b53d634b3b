"""Which row of a timeline each task is drawn in; a pod has as many as it ran at once. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from armoflow.report.trace import TaskRun

JITTER = 0.25
"""Seconds for which a task may seem to run beside the one before it: a worker runs one at a time,
and may tell of an end when it has begun the next one."""


@dataclass(slots=True)
class Lane:
    """A row: what one worker did.

    Attributes:
        pod: Where it is.
        number: Its number in that pod, from one.
        tasks: How many it ran.
        failed: How many of them failed.
        busy: Seconds that they took.
    """

    pod: str
    number: int
    tasks: int = 0
    failed: int = 0
    busy: float = 0.0

    @property
    def label(self) -> str:
        """What it is called."""
        return self.pod if self.number == 1 else f"{self.pod} ({self.number})"


class Lanes:
    """Rows of a timeline; fewest result where tasks come in the order of their start.

    Attributes:
        rows: In the order in which they were needed.

    Example:
        >>> lanes = Lanes()
        >>> [lanes.add(TaskRun(name, "f", "done", "pod", started=start, ended=start + 2.0))
        ...  for name, start in (("a", 0.0), ("b", 1.0), ("c", 2.0))]
        [0, 1, 0]
        >>> [(row.label, row.tasks, row.busy) for row in lanes.rows]
        [('pod', 2, 4.0), ('pod (2)', 1, 2.0)]
    """

    def __init__(self) -> None:
        self.rows: list[Lane] = []
        self._free: dict[str, list[tuple[float, int]]] = {}  # until when a pod's rows are taken

    def add(self, run: TaskRun) -> int:
        """One more task; the number of its row, or -1 if it did not run."""
        seconds = run.seconds
        if run.started is None or seconds is None:
            return -1
        number = self._place(run.pod or "unknown", run.started, run.started + seconds)
        row = self.rows[number]
        row.tasks += 1
        row.failed += run.state == "failed"
        row.busy += seconds
        return number

    def row_of(self, pod: str) -> int:
        """The number of a pod's first row, -1 if it has none."""
        free = self._free.get(pod)
        return free[0][1] if free else -1

    def order(self) -> Sequence[int]:
        """The rows' numbers as they are drawn: pod by pod."""
        rows = self.rows
        return sorted(range(len(rows)), key=lambda lane: (_natural(rows[lane].pod), lane))

    def sorted(self) -> list[Lane]:
        """The rows as they are drawn."""
        return [self.rows[number] for number in self.order()]

    def _place(self, pod: str, start: float, end: float) -> int:
        free = self._free.setdefault(pod, [])
        for place, (until, number) in enumerate(free):
            if until <= start + JITTER:
                free[place] = (end, number)
                return number
        number = len(self.rows)
        self.rows.append(Lane(pod, len(free) + 1))
        free.append((end, number))
        return number


def _natural(name: str) -> tuple[str | int, ...]:
    """A key by which 'pod-2' comes before 'pod-10'."""
    parts: list[str | int] = []
    for digits, group in groupby(name, str.isdecimal):
        text = "".join(group)
        parts += ["", int(text)] if digits else [text, 0]
    return tuple(parts)
