"""Where tasks are asked for: by the calls of any ArmoniK, or cheaply of armoflow's own engine."""

from __future__ import annotations

import time
from collections.abc import Container, Mapping, Sequence
from datetime import datetime, timezone
from types import MappingProxyType
from typing import NamedTuple, Protocol

from armonik.common import TaskStatus

from armoflow.errors import EngineError
from armoflow.protocol.connect import offers_extension
from armoflow.protocol.inspection import Inspection, moment
from armoflow.protocol.task_rows import read_task_rows
from armoflow.report.collect import RunReader, run_of
from armoflow.report.trace import TaskRun

RUNNING = 200
"""Running tasks that are looked at."""


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
        size: How many there are on the page, the known ones included.
        last: When the last one ended.
        full: There may be more.
    """

    runs: Sequence[TaskRun]
    size: int
    last: float
    full: bool


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


class Source(Protocol):
    """Whom tasks are asked of; the calls block.

    Attributes:
        seconds: Of a processor that the engine has spent on all answers, as far as it is known.
    """

    seconds: float

    def glance(self, session_id: str) -> Glance:
        """How many tasks are in which status, and the first of those that run."""

    def ended(
        self, session_id: str, since: float | None, skip: int, known: Container[str], *, live: bool
    ) -> EndedPage:
        """Tasks that have ended since then, in that order.

        Args:
            session_id: The session.
            since: A time; None: from the first one on.
            skip: So many were read since then.
            known: Tasks that nothing more is told of.
            live: Others run, and shall not be kept from it: fewer at once.
        """


class StandardCalls:
    """Any ArmoniK.

    Args:
        inspection: A connection to it.
    """

    def __init__(self, inspection: Inspection) -> None:
        self.seconds = 0.0
        self._inspection = inspection
        self._reader = RunReader(inspection)
        self._running: dict[str, TaskRun] = {}

    def glance(self, session_id: str) -> Glance:
        """See :class:`Source`."""
        begun = time.thread_time()
        counts = self._inspection.counts(session_id)
        running = counts.get(TaskStatus.PROCESSING)
        tasks = self._inspection.running(session_id, RUNNING) if running else []
        fresh = self._reader.read([task for task in tasks if task.id not in self._running])
        known = self._running | {run.id: run for run in fresh}
        self._running = {task.id: known[task.id] for task in tasks}
        self._spent(begun)
        return Glance(counts, list(self._running.values()))

    def ended(
        self, session_id: str, since: float | None, skip: int, known: Container[str], *, live: bool
    ) -> EndedPage:
        """See :class:`Source`."""
        begun = time.thread_time()
        then = None if since is None else datetime.fromtimestamp(since, timezone.utc)
        tasks = self._inspection.ended(session_id, then, skip // PAGE, PAGE)
        fresh = [task for task in tasks if task.id not in known and moment(task.ended_at)]
        runs = self._reader.read(fresh) if fresh else []
        self._spent(begun)
        last = tasks[-1].ended_at.timestamp() if tasks else 0.0
        return EndedPage(runs, len(tasks), last, len(tasks) == PAGE)

    def _spent(self, begun: float) -> None:
        self.seconds += time.thread_time() - begun  # it takes about as long as who asks


class EngineRows:
    """An engine of armoflow's.

    Args:
        inspection: A connection to it.
    """

    def __init__(self, inspection: Inspection) -> None:
        self.seconds = 0.0
        self._inspection = inspection

    def glance(self, session_id: str) -> Glance:
        """See :class:`Source`."""
        found = read_task_rows(self._inspection, session_id, None, 0, RUNNING)
        self.seconds += found.seconds + 2 * CALL  # the session is asked for, too
        running = [run_of(row, "") for row in found.rows]
        return Glance(found.counts, running, found.progress)

    def ended(
        self, session_id: str, since: float | None, skip: int, known: Container[str], *, live: bool
    ) -> EndedPage:
        """See :class:`Source`."""
        limit = LIVE_ROWS if live else ROWS
        found = read_task_rows(self._inspection, session_id, since or 0.0, skip, limit)
        self.seconds += found.seconds + CALL
        runs = [run_of(row, found.errors.get(row.id, "")) for row in found.rows]
        fresh = [run for run in runs if run.id not in known]
        last = runs[-1].ended or 0.0 if runs else 0.0
        return EndedPage(fresh, len(runs), last, len(runs) == limit)


def source_of(inspection: Inspection, session_id: str) -> Source:
    """What is asked of an engine."""
    if offers_extension(inspection.info):
        try:
            read_task_rows(inspection, session_id, None, 0, 1)
        except EngineError as error:  # one of before knows other extensions only
            if error.code != "UNIMPLEMENTED":
                raise
        else:
            return EngineRows(inspection)
    return StandardCalls(inspection)
