"""A worker's process: started in a group of its own, its output kept, ended for certain."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shlex
import signal
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from armoflow.agent.passages import Passage
from armoflow.codec.clipping import without_records
from armoflow.config import KIB, MIB
from armoflow.engine.agents.clef import ClefReader
from armoflow.protocol.shared_files import open_private
from armoflow.system.descendants import MARK, descendants_of, end_marked, kill_all
from armoflow.system.guardian import Guardian

logger = logging.getLogger(__name__)

LOG_LIMIT = 10 * MIB
"""Bytes of a worker's log file; one older file of that size is kept beside it."""

TAIL_LIMIT = 4 * KIB
"""Bytes of the last output that are shown when a worker dies."""


class OutputLog:
    """A bounded log file of a worker's output, with its end in memory.

    A full disk costs output, and never the worker: it would wait for ever for somebody to read.

    Args:
        path: The file; when it is full it is renamed to ``<path>.1``.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._tail = bytearray()
        self._file = self._open()

    def _open(self) -> IO[bytes]:
        return open(self.path, "ab", 0, opener=open_private)

    def write(self, data: bytes) -> None:
        """Append output."""
        self._tail += data
        del self._tail[:-TAIL_LIMIT]
        with contextlib.suppress(OSError):
            if self._file.tell() + len(data) > LOG_LIMIT:
                with contextlib.suppress(FileNotFoundError):  # a new one could not be opened before
                    self.path.replace(self.path.with_name(self.path.name + ".1"))
                full, self._file = self._file, self._open()
                full.close()
            self._file.write(data)

    def tail(self, lines: int = 20) -> str:
        """The last lines written since the process started."""
        return "\n".join(self._tail.decode(errors="replace").splitlines()[-lines:])

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class WorkerProcess:
    """One run of a worker command.

    Args:
        arguments: The command and its arguments.
        environment: All its variables; among them the mark that what it starts inherits.
        directory: Where the log file ``worker.log`` goes.
        guardian: Ends the process should this one die.
        told: Called with what tasks have written, where the worker is armoflow's.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        directory: Path,
        guardian: Guardian,
        told: Callable[[Iterable[Passage]], None] = lambda _: None,
    ) -> None:
        self._told = told
        self._clef = ClefReader()
        self._arguments = arguments
        self._environment = environment
        self._guardian = guardian
        self._output = OutputLog(directory / "worker.log")
        self._process: asyncio.subprocess.Process | None = None
        self._ended: asyncio.Task[int] | None = None

    async def start(self) -> None:
        """Start the command.

        Raises:
            OSError: If it cannot be started.
        """
        try:
            self._process = await asyncio.create_subprocess_exec(
                *self._arguments,
                env=self._environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError:
            self._output.close()
            raise
        self._guardian.tell("+", self._process.pid)
        self._ended = asyncio.create_task(self._follow(self._process))

    @property
    def name(self) -> str:
        """The command, with its process id."""
        number = "not started" if self._process is None else self._process.pid
        return f"{shlex.join(self._arguments)} ({number})"

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self._process is not None and self._process.returncode is None

    @property
    def left(self) -> bool:
        """Whether it has ended by itself, without a fault."""
        return self._process is not None and self._process.returncode == 0

    async def wait(self, limit: float) -> None:
        """Wait for its end, for so many seconds."""
        if self._ended is not None:
            await asyncio.wait([self._ended], timeout=limit)

    async def wait_for(self, other: asyncio.Future[Any]) -> None:
        """Wait for something else, or for its end if that is first."""
        if self._ended is not None:
            await asyncio.wait([other, self._ended], return_when=asyncio.FIRST_COMPLETED)

    def describe_end(self) -> str:
        """How it ended, with its last output."""
        code = None if self._process is None else self._process.returncode
        if code is None:
            how = "is still running"
        elif code < 0:
            how = f"was ended by {_signal_name(-code)}"
        else:
            how = f"exited with code {code}"
        tail = without_records(self._output.tail())  # tasks may have written it
        return f"{how}; its last output:\n{tail}" if tail else f"{how} without any output"

    async def stop(self, grace: float) -> None:
        """Terminate it, and kill it after ``grace`` seconds; no process of its group is left."""
        if self._ended is None:
            return
        assert self._process is not None
        started = descendants_of(self._process.pid)
        self._signal(signal.SIGTERM)
        await self.wait(grace)
        self._signal(signal.SIGKILL)
        kill_all(started)
        await asyncio.shield(self._ended)

    def _signal(self, number: int) -> None:
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    async def _follow(self, process: asyncio.subprocess.Process) -> int:
        """Keep the output until the process ends, then end what it left behind in its group."""
        reading = asyncio.create_task(self._read(process))
        code = await process.wait()
        self._signal(signal.SIGKILL)  # a grandchild that keeps the output open would block us
        await asyncio.to_thread(end_marked, self._environment[MARK])
        await reading
        self._guardian.tell("-", process.pid)
        self._output.close()
        return code

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        while data := await process.stdout.read(64 * KIB):
            self._output.write(data)
            self._told(self._clef.feed(data))


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
