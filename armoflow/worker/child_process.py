"""One child process, as its owner sees it: sockets, shared mark, output, staging directory."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import shutil
import signal
import socket
import subprocess
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Protocol

from armoflow.agent import lane_frames
from armoflow.agent.lane_shapes import BrokenStreamError, read
from armoflow.codec.entry_count import EntryCount
from armoflow.config import FETCHED_BYTES, KIB, LANE_ENTRIES, LANE_MESSAGE_LIMIT
from armoflow.protocol.frames import UNREADABLE
from armoflow.system.descendants import MARK, descendants_of, end_marked, kill_all
from armoflow.system.interpreter import python_command
from armoflow.system.this_process import runs
from armoflow.worker.home import USUAL, Home
from armoflow.worker.mark import Mark, create_mark_file
from armoflow.worker.output_reader import OutputReader
from armoflow.worker.recent_payloads import SentPayloads

logger = logging.getLogger(__name__)

_MODULE = "armoflow.worker.child"
_READ_BYTES = 64 * KIB  # larger ones would be mapped and unmapped each time
_LOG = "output.log"
_STOP_SECONDS = 1.0


class ChildListener(Protocol):
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
        kept: Bytes of code and constants that it keeps between tasks.
        home: What it runs in.

    Attributes:
        listener: Told what it says from now on.
        mark: What the child runs.
        ready: It has said that work may come; set by the listener.
        directory: Where it stages outputs.
        output: What it writes.
        broken: What it sent that made no sense, for which it was ended.
        home: What it runs in.
        payloads: What it was sent of them, by whoever has it.
    """

    def __init__(
        self,
        directory: Path,
        environment: Mapping[str, str],
        listener: ChildListener,
        kept: int = FETCHED_BYTES,
        home: Home = USUAL,
    ) -> None:
        directory.mkdir(parents=True)
        self.ready = False
        self.home = home
        self.payloads = SentPayloads()
        self.directory = str(directory)
        self.broken: BrokenStreamError | None = None
        self._directory = directory
        self._descendants_mark = environment[MARK]
        self.listener = listener
        self._loop = asyncio.get_running_loop()
        self._count, self._control_count = EntryCount(LANE_ENTRIES), EntryCount(LANE_ENTRIES)
        self._unpacker = lane_frames.unpacker(self._count)
        self._control_unpacker = lane_frames.unpacker(self._control_count)
        self._output: deque[bytes] = deque()
        self._token = secrets.token_hex(8)
        try:
            self._process = self._make(environment, kept)
        except BaseException:
            shutil.rmtree(directory, ignore_errors=True)
            raise
        self._channel.setblocking(False)
        self._control.setblocking(False)
        self._loop.add_reader(self._channel.fileno(), self._on_readable)
        self._loop.add_reader(self._control.fileno(), self._on_control)
        self._watched = True

    def _make(self, environment: Mapping[str, str], kept: int) -> subprocess.Popen[bytes]:
        with ExitStack() as ours, ExitStack() as theirs:
            mark_fd = create_mark_file(str(self._directory))
            theirs.callback(os.close, mark_fd)
            self.mark = Mark(mark_fd)
            ours.callback(self.mark.close)
            # Kept open, because the child may put anything into its place.
            self._log = os.open(self._directory / _LOG, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
            ours.callback(os.close, self._log)
            self.output = OutputReader(self._log, self._token.encode())
            self._channel, channel = socket.socketpair()
            self._control, control = socket.socketpair()
            for end in (self._channel, self._control):
                ours.callback(end.close)
            for end in (channel, control):
                theirs.callback(end.close)
            process = self._start(environment, kept, channel, control, mark_fd)
            ours.pop_all()
        return process

    def _start(
        self,
        environment: Mapping[str, str],
        kept: int,
        channel: socket.socket,
        control: socket.socket,
        mark_fd: int,
    ) -> subprocess.Popen[bytes]:
        fds = (channel.fileno(), control.fileno(), mark_fd)
        told = (self._directory, os.getpid(), kept, self._token)
        arguments = [str(one) for one in (*fds, *told, *self.home.requirements)]
        return subprocess.Popen(
            python_command(_MODULE, *arguments, python=self.home.python),
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            env=self.home.variables(environment),
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

    def drain(self) -> Iterator[Any]:
        """The messages that a dead child had sent and nobody has read yet.

        Raises:
            BrokenStreamError: When it comes to what is no message.
        """
        if self.broken is not None:
            return  # nothing of it is believed any more
        with suppress(OSError):  # nothing more, or reset
            while content := self._channel.recv(_READ_BYTES):
                self._feed(self._unpacker, content)
        yield from read(self._unpacker, self._count)
        yield from self.unsent()

    def unsent(self) -> Iterator[Any]:
        """The completions in the shared memory that it has not sent, or not known to have sent."""
        count = EntryCount(LANE_ENTRIES)
        unpacker = lane_frames.unpacker(count)
        unpacker.feed(self.mark.unsent())
        yield from read(unpacker, count)

    def break_off(self, error: BrokenStreamError) -> None:
        """End it, because what it sent makes no sense: nothing more of it is read."""
        logger.error("worker process %d is ended: %s", self.pid, error)
        self.broken = error
        self.unwatch()
        self.listener.on_end(self)

    def _feed(self, unpacker: Any, content: bytes) -> None:
        try:
            unpacker.feed(content)
        except UNREADABLE as error:
            text = f"a message is longer than {LANE_MESSAGE_LIMIT} bytes"
            raise BrokenStreamError(text) from error

    def _on_readable(self) -> None:
        try:
            content = self._channel.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            content = b""
        if not content:
            self.unwatch()
            self.listener.on_end(self)
            return
        try:
            self._feed(self._unpacker, content)
            self.listener.on_messages(self, read(self._unpacker, self._count))
        except BrokenStreamError as error:
            self.break_off(error)
        except Exception as error:  # what was read is lost, whatever it is: others do what it had
            logger.exception("what worker process %d said could not be taken", self.pid)
            self.break_off(BrokenStreamError(f"it could not be taken: {type(error).__name__}"))

    def _on_control(self) -> None:
        try:
            content = self._control.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            content = b""
        if not content:
            self._loop.remove_reader(self._control.fileno())
            return
        try:
            self._feed(self._control_unpacker, content)
            self.listener.on_control(self, read(self._control_unpacker, self._control_count))
        except BrokenStreamError as error:
            self.break_off(error)

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

    @property
    def cut_off(self) -> bool:
        """Whether it runs, though its main socket is closed: it will not end by itself."""
        return not self.has_ended() and runs(self.pid)

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
                self._channel.send(lane_frames.packer().pack([lane_frames.STOP]))
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
        os.close(self._log)
        shutil.rmtree(self._directory, ignore_errors=True)
