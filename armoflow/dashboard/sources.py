"""Where tasks are asked for: by the calls of any ArmoniK, or cheaply of armoflow's own engine."""

from __future__ import annotations

import time
from collections.abc import Container, Mapping, Sequence
from datetime import datetime, timezone
from types import MappingProxyType
from typing import NamedTuple, Protocol

from armonik.common import TaskStatus

from armoflow.protocol.entities import moment
from armoflow.protocol.inspection import Inspection
from armoflow.protocol.task_rows import EndedPosition, offers_task_rows, read_ended, read_running
from armoflow.report.collect import RunReader, run_of
from armoflow.report.trace import TaskRun

RUNNING = 200
"""Running tasks that are looked at."""

OVERLAP = 0.25
"""Seconds before the last end that is known, from which any ArmoniK is asked for ends: they come in
some disorder."""

PAGE = 250
"""Tasks that any ArmoniK is asked for at once: a millisecond for two of them, all in all."""

LIVE_ROWS, ROWS = 1_000, 5_000
"""Tasks that our own engine is asked for at once, while others run and when none does."""

CALL = 0.001
"""Seconds that a call takes an engine beside what it says of it."""


class EndedPage(NamedTuple):
    """Some tasks that have ended.

    Attributes:
        runs: Those that were not known.
        nothing: All were asked for, and there is no other one now.
    """

    runs: Sequence[TaskRun]
    nothing: bool = False


class Glance(NamedTuple):
    """What a session does now.

    Attributes:
        counts: How many tasks are in which status.
        running: The first of those that run.
        progress: How far those are that tell it, by id: the item's name, and what it told.
    """

    counts: Mapping[TaskStatus, int]
    running: Sequence[TaskRun]
    progress: Mapping[str, tuple[str, str]] = MappingProxyType({})


class TaskSource(Protocol):
    """Whom the tasks of a session are asked of; the calls block.

    Attributes:
        seconds: Of a processor that the engine has spent on all answers, as far as it is known.
    """

    seconds: float

    def glance(self) -> Glance:
        """How many tasks are in which status, and the first of those that run."""

    def ended(self, known: Container[str], *, live: bool) -> EndedPage:
        """Some more tasks that have ended.

        Args:
            known: Tasks that nothing more is told of.
            live: Others run, and shall not be kept from it: fewer at once.
        """


class StandardCalls:
    """Any ArmoniK: it lists by the time of the end, from a time on.

    Args:
        inspection: A connection to it.
        session_id: The session.
    """

    def __init__(self, inspection: Inspection, session_id: str) -> None:
        self.seconds = 0.0
        self._inspection = inspection
        self._session_id = session_id
        self._reader = RunReader(inspection)
        self._running: dict[str, TaskRun] = {}
        self._since: float | None = None
        self._skip = 0  # so many from then on were read
        self._whole = True  # this scan began with the first task
        self._found = 0  # in this scan

    def glance(self) -> Glance:
        """See :class:`TaskSource`."""
        begun = time.thread_time()
        counts = self._inspection.counts(self._session_id)
        running = counts.get(TaskStatus.PROCESSING)
        tasks = self._inspection.running(self._session_id, RUNNING) if running else []
        fresh = self._reader.read([task for task in tasks if task.id not in self._running])
        known = self._running | {run.id: run for run in fresh}
        self._running = {task.id: known[task.id] for task in tasks}
        self._spent(begun)
        return Glance(counts, list(self._running.values()))

    def ended(self, known: Container[str], *, live: bool) -> EndedPage:
        """See :class:`TaskSource`."""
        begun = time.thread_time()
        since = None if self._since is None else self._since - OVERLAP
        then = None if since is None else datetime.fromtimestamp(since, timezone.utc)
        tasks = self._inspection.ended(self._session_id, then, self._skip // PAGE, PAGE)
        fresh = [task for task in tasks if task.id not in known and moment(task.ended_at)]
        runs = self._reader.read(fresh) if fresh else []
        self._spent(begun)
        self._found += len(runs)
        last = tasks[-1].ended_at.timestamp() if tasks else 0.0
        if len(tasks) < PAGE:
            return EndedPage(runs, self._scanned(last))
        if since is None or last - OVERLAP > since:
            self._since, self._skip = last, 0
        else:
            self._skip += len(tasks)
        return EndedPage(runs)

    def _scanned(self, last: float) -> bool:
        """The last page was read: what is still missing is looked for from the first one on.

        Returns:
            Whether that was done, too, and nothing was found.
        """
        found, self._found, self._skip = self._found, 0, 0
        if found:
            self._whole = False
            self._since = last or self._since
        elif self._whole:
            return True
        else:
            self._whole, self._since = True, None
        return False

    def _spent(self, begun: float) -> None:
        self.seconds += time.thread_time() - begun  # it takes about as long as who asks


class EngineRows:
    """An engine of armoflow's: it tells what is new.

    Args:
        inspection: A connection to it.
        session_id: The session.
    """

    def __init__(self, inspection: Inspection, session_id: str) -> None:
        self.seconds = 0.0
        self._inspection = inspection
        self._session_id = session_id
        self._place: EndedPosition | None = None

    def glance(self) -> Glance:
        """See :class:`TaskSource`."""
        found = read_running(self._inspection, self._session_id, RUNNING)
        self.seconds += found.seconds + 2 * CALL  # the session is asked for, too
        running = [run_of(row, "") for row in found.rows]
        return Glance(found.counts, running, found.progress)

    def ended(self, known: Container[str], *, live: bool) -> EndedPage:
        """See :class:`TaskSource`."""
        limit = LIVE_ROWS if live else ROWS
        found = read_ended(self._inspection, self._session_id, self._place, limit)
        self._place = found.place
        self.seconds += found.seconds + CALL
        fresh = [row for row in found.rows if row.id not in known]
        runs = [run_of(row, found.errors.get(row.id, "")) for row in fresh]
        return EndedPage(runs, nothing=not (runs or found.more))


def source_of(inspection: Inspection, session_id: str) -> TaskSource:
    """What is asked of an engine."""
    if offers_task_rows(inspection, session_id):
        return EngineRows(inspection, session_id)
    return StandardCalls(inspection, session_id)
