"""The socket agent: drives any ArmoniK worker over gRPC, on Unix sockets or TCP.

Each worker process has a seat: a directory with two sockets and a log, an Agent service, and a loop
that gives it one task at a time. What becomes of a task follows ArmoniK.Core's agent: an error that
the worker reports is final, a worker that is lost or breaks the call is retried, the deadline of
``Process`` is the task's ``max_duration``.
"""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Mapping, Sequence
from itertools import cycle, repeat
from pathlib import Path
from typing import Literal

from armoflow.engine.agents.channels import KINDS, SocketKind
from armoflow.engine.agents.seat import Seat
from armoflow.engine.core import Engine
from armoflow.engine.pods import pods
from armoflow.engine.records import TaskRecord, TaskStatus
from armoflow.engine.services.call_log import CallLog
from armoflow.errors import EngineError, OptionError
from armoflow.system.descendants import new_mark
from armoflow.system.devices import VISIBLE_DEVICES
from armoflow.system.guardian import Guardian
from armoflow.system.temporary import TemporaryDirectory, sweep


class SocketAgent:
    """Serves a partition with workers that are started by commands.

    Args:
        engine: The engine.
        partition: The partition's id.
        workers: How many worker processes.
        directory: Where the workers' sockets and logs go.
        commands: The workers' command lines, split as a shell would; of several, the workers are
            given them in turns.
        environment: The workers' variables, but for those that say where agent and worker listen.
        calls: Counts the calls between workers and agent.
        data_folder: Where the data of tasks is laid for the workers; None: into the engine's own
            directory.
        devices: The graphics processors that each worker sees; none said: those of the environment.
        channel: ``"unix"`` or ``"tcp"``; ``"auto"`` begins with the first, and changes over while
            the worker ends before it is ready.
        seat: What keeps one of the worker processes running.
    """

    def __init__(
        self,
        engine: Engine,
        partition: str,
        workers: int,
        directory: Path,
        *,
        commands: Sequence[str],
        environment: Mapping[str, str],
        calls: CallLog,
        data_folder: Path | None = None,
        devices: Sequence[Sequence[str]] = (),
        channel: SocketKind | Literal["auto"] = "auto",
        seat: type[Seat] = Seat,
    ) -> None:
        self.engine = engine
        self.partition = partition
        self.environment = environment
        self.calls = calls
        self.kinds: Sequence[SocketKind] = KINDS if channel == "auto" else (channel,)
        self.data_folder = data_folder
        self._shared: TemporaryDirectory | None = None
        self.mark = new_mark(environment)
        self.guardian: Guardian
        self.work = asyncio.Event()
        self.stopping = False
        self._seats = [
            seat(self, pod, directory, shlex.split(command), variables)
            for pod, command, variables in zip(
                pods(partition, engine.partitions, workers),
                cycle(commands),
                [{VISIBLE_DEVICES: ",".join(seen)} for seen in devices] or repeat({}),
                strict=False,
            )
        ]

    async def start(self) -> None:
        """Start the workers and begin to take tasks.

        Raises:
            OptionError: If the folder of their data cannot be used.
        """
        self.guardian = Guardian(self.mark)
        if self.data_folder is not None:
            self._shared = _directory_in(self.data_folder)
            self.data_folder = self._shared.path
        for seat in self._seats:
            await seat.start()
        self.engine.scheduler.add_agent(self.partition, self)

    def wake(self) -> None:
        """Ready tasks exist."""
        self.work.set()

    def interrupt(self, task: TaskRecord) -> None:
        """Stop running a task: it was cancelled, or its session paused before it began."""
        for seat in self._seats:
            if seat.runs(task):
                seat.interrupt()

    async def stop(self) -> None:
        """Let running tasks finish for a while, give back the others, end the workers."""
        self.stopping = True
        self.work.set()
        await asyncio.gather(*(seat.stop() for seat in self._seats))
        self.engine.scheduler.remove_agent(self.partition, self)
        self.guardian.stop()
        await asyncio.to_thread(self.guardian.wait)
        if self._shared is not None:
            self._shared.remove()

    def take(self, owner: str) -> TaskRecord | None:
        """The next task, dispatched to ``owner``; None if there is none."""
        scheduler = self.engine.scheduler
        while tasks := scheduler.take(self.partition, 1, self, owner, start=False):
            if tasks[0].status is TaskStatus.DISPATCHED:
                return tasks[0]
            self.forget(tasks[0])  # its inputs are gone: it has ended already
        return None

    def forget(self, task: TaskRecord) -> None:
        """A seat does not run this task any more; another may have taken it since."""
        if sum(seat.runs(task) for seat in self._seats) <= 1:
            self.engine.scheduler.forget([task.id])


def _directory_in(base: Path) -> TemporaryDirectory:
    """A directory of this engine's own; what killed ones have left beside it goes.

    Raises:
        OptionError: If there is no place for it.
    """
    try:
        base.mkdir(parents=True, exist_ok=True)
        sweep(str(base))
        return TemporaryDirectory(base)
    except (OSError, EngineError) as error:
        reason = getattr(error, "strerror", None) or error
        raise OptionError(
            f"--data-folder {base} cannot be used: {reason}. Name a directory that can be written "
            "to, here and by the workers"
        ) from error
