"""All that a page tells of a session, added up task by task. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from armoflow.report.critical_path import Lineage
from armoflow.report.failure_groups import FailureGroups
from armoflow.report.flow import Flow
from armoflow.report.lanes import Lanes
from armoflow.report.statistics import NameTable, Slowest, WorkerUsage
from armoflow.report.trace import TaskRun

SLOWEST = 20
"""Tasks that are listed as the slowest."""


class Digest:
    """Numbers of a session's tasks, of which more may come.

    Attributes:
        names: By name.
        usage: Of the workers.
        lanes: Rows of the timeline.
        slowest: Tasks that ran longest.
        failures: What failed.
        lineage: What came from what.
        flow: The same by name.
    """

    def __init__(self) -> None:
        self.names = NameTable()
        self.usage = WorkerUsage()
        self.lanes = Lanes()
        self.slowest = Slowest(SLOWEST)
        self.lineage = Lineage()
        self.failures = FailureGroups(self.lineage)
        self.flow = Flow(self.lineage)

    def add(self, runs: Iterable[TaskRun]) -> list[int]:
        """Some more tasks; the row of each, see :meth:`Lanes.add`."""
        rows = []
        for run in runs:
            rows.append(self._count(run))
            self.lineage.add(run)
            self.flow.add(run)
        return rows

    def count(self, runs: Iterable[TaskRun]) -> None:
        """Some more tasks, of which nothing is kept: they are in the numbers, and in no path."""
        for run in runs:
            self._count(run)
            self.flow.count(run)

    def _count(self, run: TaskRun) -> int:
        self.names.add(run)
        self.usage.add(run)
        self.slowest.add(run)
        self.failures.add(run)
        return self.lanes.add(run)

    def fail_items(self, run: TaskRun) -> None:
        """Some calls of a task that has ended well have failed; it was added without them."""
        self.names.fail_items(run.items)
        self.failures.add(run)
        self.flow.fail_items(run)


def by_start(runs: Sequence[TaskRun]) -> list[TaskRun]:
    """In the order in which they began; what has not, last."""
    return sorted(runs, key=lambda run: (run.started is None, run.started or 0.0))
