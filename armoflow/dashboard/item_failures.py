"""The failed calls of tasks that ran several and ended well themselves; the calls block."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

from armonik.common import Result

from armoflow.protocol.item_inspection import ItemInspection
from armoflow.report.failure_groups import faults_of
from armoflow.report.trace import TaskRun

OVERLAP = timedelta(minutes=1)
"""What is listed again: results appear later than they say, by clocks of their own."""

LEAST, MOST = 2.0, 60.0
"""Seconds between two looks while tasks run."""

REST = 40
"""How many times as long as a look took is rested after it: engines go through all results."""

AT_ONCE, IN_ALL = 20, 2_000
"""Tasks whose values are looked into, in one look and altogether: each is two downloads."""

VALUES = 256 * 1024
"""Bytes of the values of a task that are looked into, at most."""


class ItemFailures:
    """Finds them, the sooner the less there is to go through.

    Args:
        items: Whom to ask.
        session_id: The session.
        clock: Tells seconds.

    Attributes:
        counts: How many calls have failed, by the task that ran them.
    """

    def __init__(
        self,
        items: ItemInspection,
        session_id: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.counts: dict[str, int] = {}
        self._items = items
        self._session_id = session_id
        self._clock = clock
        self._since: datetime | None = None
        self._seen: set[str] = set()
        self._waiting: list[Result] = []  # logs of tasks that are not known yet, or have no turn
        self._next = 0.0
        self._calm = False
        self._asked = (0, 0)  # for so many tasks, so often

    def ask(self, runs: Mapping[str, TaskRun], *, live: bool) -> list[TaskRun]:
        """Tasks whose failed calls were not told yet, with what became of all of their calls.

        Args:
            runs: The tasks that are known, by id.
            live: There are others, which run.
        """
        begun = self._clock()
        if live and self._calm:  # a short run is over sooner than it is asked for
            self._next = max(self._next, begun + LEAST)
        self._calm = not live
        known, times = self._asked
        times = times + 1 if known == len(runs) else 1
        # After the end once more: what was said last may be seen late.
        if (begun < self._next) if live else (times > 2 and not self._ready(runs)):
            return []
        self._asked = len(runs), times
        self._list()
        told = [self._tell(log, runs[log.created_by]) for log in self._turn(runs)]
        now = self._clock()
        self._next = now + min(max(REST * (now - begun), LEAST), MOST)
        return told

    def _list(self) -> None:
        since = None if self._since is None else self._since - OVERLAP
        for log in self._items.failed(self._session_id, since):
            if log.result_id not in self._seen:
                self._seen.add(log.result_id)
                self._waiting.append(log)
                self._since = max(self._since or log.created_at, log.created_at)

    def _ready(self, runs: Mapping[str, TaskRun]) -> list[Result]:
        return [log for log in self._waiting if log.created_by in runs]

    def _turn(self, runs: Mapping[str, TaskRun]) -> list[Result]:
        """The logs that are read now."""
        ready = self._ready(runs)[:AT_ONCE]
        ready = ready[: max(IN_ALL - len(self.counts), 0)]
        taken = {log.result_id for log in ready}
        self._waiting = [log for log in self._waiting if log.result_id not in taken]
        return ready

    def _tell(self, log: Result, run: TaskRun) -> TaskRun:
        values = run.outputs[:1] if run.bytes_out <= VALUES else ()
        told = self._items.told(self._session_id, [log.result_id, *values])
        records = told[log.result_id].records if log.result_id in told else ()
        errors = [error for each in told.values() for error in each.errors]
        faults = faults_of(records, errors)
        self.counts[run.id] = len(faults)
        return run._replace(items=records, faults=faults, error="")
