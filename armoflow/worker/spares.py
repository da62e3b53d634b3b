"""Where supervisors get their processes from: a warm spare, one that waits, or a new one.

Each process has one home for all its life: the environment that it runs in, the devices that it
sees. Where tasks of several take turns, those of the others are parked: they keep what they have
imported.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Coroutine, Iterable, Mapping
from pathlib import Path
from typing import Any

from armoflow import config
from armoflow.agent import lane_frames
from armoflow.agent.lane_shapes import BrokenStreamError, check_message
from armoflow.agent.passages import NOBODY
from armoflow.system.descendants import MARK, end_marked, new_mark
from armoflow.system.memory import ContainerMemory
from armoflow.worker.child_process import ChildListener, ChildProcess
from armoflow.worker.home import USUAL, Home

logger = logging.getLogger(__name__)

_START_SECONDS = 60.0


class Spares:
    """Starts processes, one ahead of all the supervisors that share it.

    One is enough, however many they are: deaths are rare, and the next spare follows.

    Args:
        directory: Where each gets a directory of its own.
        environment: All variables of the processes.
        delay: Seconds after ``expect`` when a spare process is started; None: never.
        memory: What limits the memory of this process and of those, if anything does.

    Attributes:
        memory: The same.
    """

    def __init__(
        self,
        directory: Path,
        environment: Mapping[str, str],
        delay: float | None = 2.0,
        memory: ContainerMemory | None = None,
    ) -> None:
        self.memory = memory
        self._room = config.PARKED_PROCESSES
        self._parked: list[ChildProcess] = []
        self._kept = config.FETCHED_BYTES
        if memory is not None:
            self._kept = min(self._kept, memory.limit // config.CACHES_SHARE)
            if memory.limit < config.SPARE_MEMORY:
                delay = None
                self._room = 0
        self._directory = directory
        self._environment = environment
        self._mark = new_mark(environment)
        self._delay = delay
        self._spare: ChildProcess | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._numbers = itertools.count(1)
        self._loop = asyncio.get_running_loop()
        self._removals: set[asyncio.Task[None]] = set()

    def take(self, listener: ChildListener, home: Home = USUAL) -> ChildProcess:
        """A process for a supervisor: one that waits, and may be ready, if there is one.

        Args:
            listener: The supervisor.
            home: What it is to run in.
        """
        found = self._take_parked(home)
        if found is None and home == USUAL:
            found, self._spare = self._spare, None
        if found is None:
            return self._spawn(listener, home)
        found.listener = listener
        return found

    def _take_parked(self, home: Home) -> ChildProcess | None:
        for child in reversed(self._parked):
            if child.home == home:
                self._parked.remove(child)
                return child
        return None

    def park(self, child: ChildProcess) -> None:
        """Take back a process without work; beyond some, the one that waited longest ends."""
        child.listener = self
        self._parked.append(child)
        while len(self._parked) > self._room:
            gone = self._parked.pop(0)
            gone.unwatch()
            self._keep(_end(gone))

    def expect(self) -> None:
        """Processes are in use: one may be needed."""
        if self._delay is not None and self._spare is None and self._timer is None:
            self._timer = self._loop.call_later(self._delay, self._prepare)

    async def stop(self) -> None:
        """Start no more; end the spare."""
        self._delay = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        waiting = [*self._parked, *([] if self._spare is None else [self._spare])]
        self._parked, self._spare = [], None
        for child in waiting:
            child.unwatch()
        await asyncio.gather(*map(_end, waiting))
        await asyncio.gather(*self._removals)
        await asyncio.to_thread(end_marked, self._mark)  # what tasks of all processes have left

    # --- what the spare says --------------------------------------------------------------------

    def on_messages(self, child: ChildProcess, messages: Iterable[Any]) -> None:
        """It said that it is ready, which is all that it says without work."""
        for message in messages:
            check_message(message)
            if message[0] != lane_frames.READY:
                raise BrokenStreamError("it has no work, and speaks of some")
            child.ready = True

    def on_control(self, child: ChildProcess, messages: Iterable[Any]) -> None:
        """Nothing: it was asked nothing.

        Raises:
            BrokenStreamError: If it says something.
        """
        for _ in messages:
            raise BrokenStreamError("it was asked for nothing, and gives tasks back")

    def on_end(self, child: ChildProcess) -> None:
        """It died."""
        child.kill()
        if child in self._parked:
            self._parked.remove(child)
        else:
            self._spare = None
        if not child.ready and child.home == USUAL:
            self._delay = None
            child.output.finish(NOBODY)
            logger.warning("a spare worker process cannot start: %s", child.output.last.of())
        self._keep(_remove(child))

    def _keep(self, coroutine: Coroutine[Any, Any, None]) -> None:
        removal = self._loop.create_task(coroutine)
        self._removals.add(removal)
        removal.add_done_callback(self._removals.discard)

    def _prepare(self) -> None:
        self._timer = None
        try:
            self._spare = self._spawn(self, USUAL)
        except (OSError, MemoryError) as error:  # who needs one tries again, and tells
            logger.warning("a spare worker process cannot be started: %s", error)

    def _spawn(self, listener: ChildListener, home: Home) -> ChildProcess:
        name = f"process-{next(self._numbers)}"
        environment = {**self._environment, MARK: f"{self._mark}/{name}"}
        child = ChildProcess(self._directory / name, environment, listener, self._kept, home)
        self._loop.call_later(_START_SECONDS, _check_start, child)
        return child


async def _end(child: ChildProcess) -> None:
    await child.end(gently=True)
    await child.kill_left()
    child.close()


async def _remove(child: ChildProcess) -> None:
    await child.wait()
    child.close()


def _check_start(child: ChildProcess) -> None:
    if not child.ready and not child.has_ended():
        logger.error("worker process %d is not ready after %g s", child.pid, _START_SECONDS)
        child.kill()
