"""Where supervisors get their processes from: a warm spare, or a new one."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from armoflow import config
from armoflow.agent import lane_frames
from armoflow.agent.lane_shapes import BrokenStreamError, check_message
from armoflow.agent.passages import NOBODY
from armoflow.system.descendants import MARK, end_marked, new_mark
from armoflow.system.memory import ContainerMemory
from armoflow.worker.child_process import ChildListener, ChildProcess

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
        self._kept = config.FETCHED_BYTES
        if memory is not None:
            self._kept = min(self._kept, memory.limit // config.CACHES_SHARE)
            if memory.limit < config.SPARE_MEMORY:
                delay = None
        self._directory = directory
        self._environment = environment
        self._mark = new_mark(environment)
        self._delay = delay
        self._spare: ChildProcess | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._numbers = itertools.count(1)
        self._loop = asyncio.get_running_loop()
        self._removals: set[asyncio.Task[None]] = set()

    def take(self, listener: ChildListener) -> ChildProcess:
        """A process for a supervisor: the spare one, which may be ready, if there is one."""
        spare, self._spare = self._spare, None
        if spare is None:
            return self._spawn(listener)
        spare.listener = listener
        return spare

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
        spare, self._spare = self._spare, None
        if spare is not None:
            spare.unwatch()
            await spare.end(gently=True)
            spare.close()
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
        self._spare = None
        if not child.ready:
            self._delay = None
            child.output.finish(NOBODY)
            logger.warning("a spare worker process cannot start: %s", child.output.last.of())
        removal = self._loop.create_task(_remove(child))
        self._removals.add(removal)
        removal.add_done_callback(self._removals.discard)

    def _prepare(self) -> None:
        self._timer = None
        try:
            self._spare = self._spawn(self)
        except OSError as error:  # who needs one tries again, and tells
            logger.warning("a spare worker process cannot be started: %s", error)

    def _spawn(self, listener: ChildListener) -> ChildProcess:
        name = f"process-{next(self._numbers)}"
        environment = {**self._environment, MARK: f"{self._mark}/{name}"}
        child = ChildProcess(self._directory / name, environment, listener, self._kept)
        self._loop.call_later(_START_SECONDS, _check_start, child)
        return child


async def _remove(child: ChildProcess) -> None:
    await child.wait()
    child.close()


def _check_start(child: ChildProcess) -> None:
    if not child.ready and not child.has_ended():
        logger.error("worker process %d is not ready after %g s", child.pid, _START_SECONDS)
        child.kill()
