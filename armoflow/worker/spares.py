"""Where a supervisor gets its processes from: a warm spare, or a new one."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Mapping
from pathlib import Path

from armoflow.worker.process import ChildProcess, Listener

logger = logging.getLogger(__name__)

_START_SECONDS = 60.0


class Spares:
    """Starts processes, one ahead.

    Args:
        directory: Where each gets a directory of its own.
        environment: Variables for the processes.
        listener: Told what they say.
        delay: Seconds after ``expect`` when a spare process is started; None: never.
    """

    def __init__(
        self,
        directory: Path,
        environment: Mapping[str, str],
        listener: Listener,
        delay: float | None,
    ) -> None:
        self._directory = directory
        self._environment = environment
        self._listener = listener
        self._delay = delay
        self._spare: ChildProcess | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._numbers = itertools.count(1)
        self._loop = asyncio.get_running_loop()

    def take(self) -> ChildProcess:
        """A process: the spare one if there is one."""
        spare, self._spare = self._spare, None
        return self._spawn() if spare is None else spare

    def expect(self) -> None:
        """Processes are in use: one may be needed."""
        if self._delay is not None and self._spare is None and self._timer is None:
            self._timer = self._loop.call_later(self._delay, self._prepare)

    def lose(self, child: ChildProcess) -> bool:
        """Forget the spare if it is this one, which has died; False if it is another."""
        if child is not self._spare:
            return False
        self._spare = None
        if not child.ready:
            self._delay = None
            logger.warning("a spare worker process cannot start: %s", child.output().strip())
        return True

    def stop(self) -> ChildProcess | None:
        """Start no more; returns the spare."""
        self._delay = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        spare, self._spare = self._spare, None
        return spare

    def _prepare(self) -> None:
        self._timer = None
        self._spare = self._spawn()

    def _spawn(self) -> ChildProcess:
        directory = self._directory / f"process-{next(self._numbers)}"
        child = ChildProcess(directory, self._environment, self._listener)
        self._loop.call_later(_START_SECONDS, _check_start, child)
        return child


def _check_start(child: ChildProcess) -> None:
    if not child.ready and not child.has_ended():
        logger.error("worker process %d is not ready after %g s", child.pid, _START_SECONDS)
        child.kill()
