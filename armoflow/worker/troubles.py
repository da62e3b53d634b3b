"""Deaths that no task is to blame for: how many to bear before giving up."""

from __future__ import annotations

import errno

from armoflow.system.disk_faults import describe
from armoflow.worker.work import Cause, Death

_STARTS = 3
"""Processes in a row that may end before they are ready."""

_UNEXPLAINED = 3
"""Processes in a row that may die with work in hand but without having begun any."""


class Troubles:
    """Counts the deaths of one seat's processes.

    Example:
        >>> from armoflow.worker.mark import Position
        >>> death = Death(Position(0, 0, 0, 0), 1, "", Cause.CRASH)
        >>> troubles = Troubles()
        >>> [troubles.cannot_start(death) for _ in range(3)]
        [None, None, 'a worker process cannot start: it ended with status 1']
    """

    def __init__(self) -> None:
        self._starts = 0
        self._unexplained = 0

    def started(self) -> None:
        """A process is ready."""
        self._starts = 0

    def worked(self) -> None:
        """A task has ended."""
        self._unexplained = 0

    def cannot_start(self, death: Death) -> str | None:
        """A process died before it was ready; why to give up, or None to try again."""
        return self._count(death.describe("a worker process cannot start: it ended"))

    def cannot_make(self, error: OSError | MemoryError) -> str | None:
        """A process could not be made: no room, no memory; why to give up, or None to try again."""
        path = error.filename if isinstance(error, OSError) else None
        what = describe(error, path) if path else str(error) or "no memory left"
        if isinstance(error, OSError) and error.errno == errno.EAGAIN:
            what += (
                ": its user is at the limit of processes (ulimit -u), or its container "
                "(pids.max); end some, or raise that limit"
            )
        return self._count(f"a worker process cannot be started: {what}")

    def _count(self, reason: str) -> str | None:
        self._starts += 1
        if self._starts < _STARTS:
            return None
        self._starts = 0
        return reason

    @property
    def pause(self) -> float:
        """Seconds to wait before the next start."""
        return 0.1 * 2.0**self._starts

    def died_between_tasks(self, death: Death) -> str | None:
        """A process died without running anything; why to give up its next task, or None."""
        if death.cause is not Cause.CRASH:
            return None
        self._unexplained += 1
        if self._unexplained <= _UNEXPLAINED:
            return None
        self._unexplained = 0
        return death.describe("worker processes die before they run anything, the last one")
