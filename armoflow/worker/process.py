"""One child process, as its owner sees it: sockets, shared mark, output, staging directory."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from armoflow.agent import frames
from armoflow.config import KIB, MIB
from armoflow.system.descendants import MARK, descendants_of, end_marked, kill_all
from armoflow.worker.mark import Mark, create_mark_file

LOG_LIMIT = 8 * MIB
"""Bytes of output that are kept of one process."""

_PROGRAM = "from armoflow.worker.child import main; main()"
_READ_BYTES = 64 * KIB  # larger ones would be mapped and unmapped each time
_TAIL_BYTES = 4 * KIB
_LOG = "output.log"
_STOP_SECONDS = 1.0


class Listener(Protocol):
    """Who is told what a child says; called in the event loop."""

    def on_messages(self, child: ChildProcess, messages: Iterable[Any]) -> None:
        """It said something on the main socket."""

    def on_control(self, child: ChildProcess, messages: Iterable[Any]) -> None:
        """It said something on the control socket."""

    def on_end(self, child: ChildProcess) -> None:
        """It closed its main socket, which is its end; no further call is made for it."""


class ChildProcess:
    """A child process; it starts at once.

    Args:
        directory: A new directory for its staged outputs and its log, removed by ``close``.
        environment: All its variables; among them the mark that what it starts inherits.
        listener: Told what it says.

    Attributes:
        listener: Told what it says from now on.
        mark: What the child runs.
        ready: It has said that work may come; set by the listener.
    """

    def __init__(self, directory: Path, environment: Mapping[str, str], listener: Listener) -> None:
        directory.mkdir(parents=True)
        self.ready = False
        self._directory = directory
        self._descendants_mark = environment[MARK]
        self.listener = listener
        self._loop = asyncio.get_running_loop()
        self._unpacker = frames.unpacker()
        self._control_unpacker = frames.unpacker()
        self._output: deque[bytes] = deque()
        mark_fd = create_mark_file(str(directory))
        self.mark = Mark(mark_fd)
        self._channel, channel = socket.socketpair()
        self._control, control = socket.socketpair()
        try:
            self._process = self._start(environment, channel, control, mark_fd)
        finally:
            channel.close()
            control.close()
            os.close(mark_fd)
        self._channel.setblocking(False)
        self._control.setblocking(False)
        self._loop.add_reader(self._channel.fileno(), self._on_readable)
        self._loop.add_reader(self._control.fileno(), self._on_control)
        self._watched = True

    def _start(
        self,
        environment: Mapping[str, str],
        channel: socket.socket,
        control: socket.socket,
        mark_fd: int,
    ) -> subprocess.Popen[bytes]:
        fds = (channel.fileno(), control.fileno(), mark_fd)
        arguments = [*map(str, fds), str(self._directory), str(os.getpid())]
        with (self._directory / _LOG).open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-c", _PROGRAM, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                pass_fds=fds,
                start_new_session=True,  # a group of its own, to kill what tasks have started
            )

    @property
    def pid(self) -> int:
        """Its process id, which is that of its group, too."""
        return self._process.pid

    # --- talking --------------------------------------------------------------------------------

    def send(self, message: bytes) -> None:
        """Send on the main socket; what does not fit now is sent later."""
        if not self._output:
            try:
                sent = self._channel.send(message)
            except BlockingIOError:
                sent = 0
            except OSError:
                return  # it is dead, which its listener is about to hear
            if sent == len(message):
                return
            message = message[sent:]
            self._loop.add_writer(self._channel.fileno(), self._on_writable)
        self._output.append(message)

    def ask(self, message: bytes) -> bool:
        """Send on the control socket; False if that cannot be done now."""
        try:
            return self._control.send(message) == len(message)
        except OSError:
            return False

    def drain(self) -> Iterable[Any]:
        """The messages that a dead child had sent and nobody has read yet."""
        with suppress(OSError):  # nothing more, or reset
            while content := self._channel.recv(_READ_BYTES):
                self._unpacker.feed(content)
        yield from self._unpacker
        yield from self.unsent()

    def unsent(self) -> Iterable[Any]:
        """The completions in the shared memory that it has not sent, or not known to have sent."""
        unpacker = frames.unpacker()
        unpacker.feed(self.mark.unsent())
        yield from unpacker

    def _on_readable(self) -> None:
        try:
            content = self._channel.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            content = b""
        if content:
            self._unpacker.feed(content)
            self.listener.on_messages(self, self._unpacker)
        else:
            self.unwatch()
            self.listener.on_end(self)

    def _on_control(self) -> None:
        try:
            content = self._control.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            content = b""
        if content:
            self._control_unpacker.feed(content)
            self.listener.on_control(self, self._control_unpacker)
        else:
            self._loop.remove_reader(self._control.fileno())

    def _on_writable(self) -> None:
        try:
            while self._output:
                sent = self._channel.send(self._output[0])
                if sent < len(self._output[0]):
                    self._output[0] = self._output[0][sent:]
                    return
                self._output.popleft()
        except BlockingIOError:
            return
        except OSError:
            self._output.clear()  # it is dead: see send
        self._loop.remove_writer(self._channel.fileno())

    # --- ending ---------------------------------------------------------------------------------

    def unwatch(self) -> None:
        """Tell the listener nothing more."""
        if self._watched:
            self._watched = False
            self._loop.remove_reader(self._channel.fileno())
            self._loop.remove_writer(self._channel.fileno())
            self._loop.remove_reader(self._control.fileno())

    def has_ended(self) -> bool:
        """Whether it has ended, without waiting."""
        return self._process.poll() is not None

    def kill(self) -> None:
        """Kill it and what it started, as far as that has not lost its parent."""
        started = descendants_of(self._process.pid)
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        kill_all(started)

    async def kill_left(self) -> None:
        """Kill what it started and left behind, once it has ended."""
        await asyncio.to_thread(end_marked, self._descendants_mark)

    async def wait(self) -> int:
        """Wait for its end; returns its exit code, or minus the signal that ended it."""
        return await asyncio.to_thread(self._process.wait)

    async def end(self, *, gently: bool) -> None:
        """End it; ``gently`` lets it run its exit handlers."""
        started = descendants_of(self._process.pid)
        if gently and self.ready:
            with suppress(OSError):
                self._channel.send(frames.packer().pack([frames.STOP]))
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self.wait(), _STOP_SECONDS)
        self.kill()
        kill_all(started)
        await self.wait()

    def close(self) -> None:
        """Free everything, once it has ended."""
        self.unwatch()
        self._channel.close()
        self._control.close()
        self.mark.close()
        shutil.rmtree(self._directory, ignore_errors=True)

    # --- its output -----------------------------------------------------------------------------

    def output(self) -> str:
        """The end of what it wrote."""
        with (self._directory / _LOG).open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - _TAIL_BYTES))
            return log.read().decode(errors="replace")

    def trim_output(self) -> None:
        """Shorten its log to what it wrote last, if it is too long."""
        path = self._directory / _LOG
        if path.stat().st_size > LOG_LIMIT:
            tail = self.output()
            os.truncate(path, 0)  # the child appends, wherever the end is
            with path.open("ab") as log:
                log.write(tail.encode())
