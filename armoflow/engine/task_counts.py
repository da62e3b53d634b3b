"""How many tasks are in which status, counted as they are committed.

Tools ask for it once a second, and the journal would read all rows for an answer: a second for a
million of them. That it does once, when the engine starts.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Container, Iterable, Mapping
from typing import NamedTuple, TypeAlias

from armoflow.engine.filters import Filters
from armoflow.engine.records import TaskRecord, TaskStatus

_OfPartitions: TypeAlias = "defaultdict[str, Counter[TaskStatus]]"


class TaskCount(NamedTuple):
    """How many tasks of a session and partition have a status."""

    session_id: str
    partition_id: str
    status: TaskStatus
    tasks: int


class TaskCounts:
    """Counts tasks by session and partition; lives in the event loop.

    Args:
        exists: Whether there is a session with an id.
    """

    def __init__(self, exists: Callable[[str], bool]) -> None:
        self._exists = exists
        self._counts: dict[str, _OfPartitions] = {}
        self._all: _OfPartitions = defaultdict(Counter)

    def begin(self, counts: Iterable[TaskCount], live: Iterable[TaskRecord]) -> None:
        """What the journal holds when the engine starts, and those of it that may change."""
        for session_id, partition, status, tasks in counts:
            for part in (self._of(session_id), self._all):
                part[partition][status] += tasks
        for task in live:
            task.counted = task.status

    def forget(self, session_ids: Iterable[str]) -> None:
        """These sessions are removed."""
        for session_id in session_ids:
            for partition, counts in self._counts.pop(session_id, {}).items():
                self._all[partition].subtract(counts)

    def committed(self, tasks: Mapping[str, TaskRecord], changed_again: Container[str]) -> None:
        """These tasks were written; of those that changed again what was written before counts."""
        moves = []
        for task in tasks.values():
            before, status = task.counted, task.status
            if before is not status and (before is None or task.id not in changed_again):
                task.counted = status
                moves.append((task.session_id, task.options.partition_id, before, status))
        # Of a batch most have done the same.
        for (session_id, partition, before, status), count in Counter(moves).items():
            # Rows of a session that is removed meanwhile go with it.
            known = session_id in self._counts or self._exists(session_id)
            for counts in (self._of(session_id), self._all) if known else ():
                counts[partition][status] += count
                if before is not None:
                    counts[partition][before] -= count

    def total(self, filters: Filters) -> int | None:
        """How many tasks filters let through; None if not known."""
        counts = self.find(filters)
        return None if counts is None else sum(counts.values())

    def find(self, filters: Filters) -> dict[TaskStatus, int] | None:
        """The counts of the tasks that filters let through; None if the journal must tell.

        Known are all tasks, those of a session, of a partition, and of a partition in a session;
        and of each of these those of one status.
        """
        if len(filters) > 1:
            return None
        wanted = {}
        for condition in filters[0] if filters else ():
            unknown = condition.operator != "==" or condition.value is None
            if unknown or condition.field in wanted:
                return None
            wanted[condition.field] = condition.value
        session_id = wanted.pop("session_id", None)
        partition = wanted.pop("options.partition_id", None)
        status = wanted.pop("status", None)
        if wanted:
            return None
        counts = self.count(session_id, partition)
        if status is None:
            return counts
        return {each: count for each, count in counts.items() if each == status}

    def count(self, session_id: str | None, partition: str | None = None) -> dict[TaskStatus, int]:
        """The counts of a session, of a partition, of both or all."""
        counts: Mapping[str, Counter[TaskStatus]] = self._all
        if session_id is not None:
            counts = self._counts.get(session_id) or {}
        parts = counts.values() if partition is None else [counts.get(partition, Counter())]
        total: Counter[TaskStatus] = Counter()
        for part in parts:
            total.update(part)
        return dict(+total)

    def _of(self, session_id: str) -> _OfPartitions:
        counts = self._counts.get(session_id)
        if counts is None:
            counts = self._counts[session_id] = defaultdict(Counter)
        return counts
