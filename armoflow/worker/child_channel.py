"""The child's end of what it and its owner say to each other: what came, what goes, requests."""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
import threading
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from armoflow.agent import lane_frames
from armoflow.errors import ProtocolError
from armoflow.worker.data import DataSource
from armoflow.worker.failures import UnreadableDataError
from armoflow.worker.mark import HANDS, HANDS_FREE, OUTBOX_BYTES, WAITING, Mark
from armoflow.worker.passed import Passed
from armoflow.worker.recent_payloads import ReceivedPayloads
from armoflow.worker.runner import EngineTask, RunnerAgent
from armoflow.worker.task_progress import TaskProgress

READ_BYTES = 256 * 1024

HOLD_NANOSECONDS = 1_000_000
"""How long ago the first task may have begun of those whose completions wait for others: each
message costs the owner as much as a small task, and what it has sent ahead lasts for longer."""


_BRIEFLY = 0.02
"""Seconds after which a process that nothing has come to is taken to be idle."""


class Inbox:
    """Tasks that were received and not started; read by both threads.

    Attributes:
        passed: What tasks pass on to later ones.
    """

    def __init__(self, channel: socket.socket) -> None:
        self.passed = Passed()
        self._channel = channel
        self._unpacker = lane_frames.unpacker()
        self._tasks: deque[EngineTask | None] = deque()
        self._tasks_lock = threading.Lock()
        self._read_lock = threading.Lock()
        self._replies: dict[int, list[Any]] = {}
        self._payloads = ReceivedPayloads()

    def pop(self) -> EngineTask | None:
        """The next task, None to stop.

        Raises:
            IndexError: If there is none.
        """
        with self._tasks_lock:
            task = self._tasks.popleft()
        if not self._tasks:
            self._look()  # what has come meanwhile may need what this one makes
        return task

    def wait(self) -> None:
        """Read, waiting for something to read."""
        with self._read_lock:
            if not self._tasks:
                self._read(0)

    def stays_empty(self) -> bool:
        """Whether nothing comes for a moment."""
        with self._read_lock:
            if self._tasks:
                return False
            poll = select.poll()
            poll.register(self._channel, select.POLLIN)
            return not poll.poll(_BRIEFLY * 1000)

    def reply(self, number: int) -> list[Any]:
        """Wait for the reply to a request."""
        while True:
            with self._read_lock:
                reply = self._replies.pop(number, None)
                if reply is not None:
                    return reply
                self._read(0)

    def take_back(self, serials: set[int]) -> list[int]:
        """Remove tasks that were not started; returns their serials."""
        self._look()
        with self._tasks_lock:
            taken = [task for task in self._tasks if task is not None and task.serial in serials]
            for task in taken:
                self._tasks.remove(task)
                self.passed.drop(self.passed.take(task.passed))
        return [task.serial for task in taken]

    def _look(self) -> None:
        """Read what has come, if nobody else does."""
        if self._read_lock.acquire(blocking=False):
            try:
                self._read(socket.MSG_DONTWAIT)
            except BlockingIOError:  # nothing has, mostly
                pass
            finally:
                self._read_lock.release()

    def _read(self, flags: int) -> None:
        content = self._channel.recv(READ_BYTES, flags)
        if not content:
            leave()
        self._unpacker.feed(content)
        for message in self._unpacker:
            kind = message[0]
            if kind == lane_frames.RUN:
                tasks = _decode_tasks(message[1], message[2], self._payloads)
                for task in tasks:
                    if task.passed:
                        self.passed.expect(task.passed)
                with self._tasks_lock:
                    self._tasks.extend(tasks)
            elif kind == lane_frames.REPLY:
                self._replies[message[1]] = message
            elif kind == lane_frames.STOP:
                with self._tasks_lock:
                    self._tasks.append(None)
            else:
                raise ProtocolError(f"message of kind {kind!r} from the owner")


class Outbox:
    """Completions on their way, kept in shared memory until they are sent."""

    def __init__(self, channel: socket.socket, mark: Mark) -> None:
        self._channel = channel
        self._view = mark.outbox
        self._words = mark.words
        self._length = 0
        self.since = 0

    def put(self, message: bytes, started: int) -> None:
        """Send a message soon: what a task that began then has to say."""
        end = self._length + len(message)
        if end > OUTBOX_BYTES:
            self.flush()
            end = len(message)
            if end > OUTBOX_BYTES:
                self._channel.sendall(message)
                return
        if not self._length:
            self.since = started
        self._view[self._length : end] = message
        self._words[WAITING] = self._length = end

    def flush(self) -> None:
        """Send what waits."""
        if self._length:
            self._channel.sendall(self._view[: self._length])
            self._words[WAITING] = self._length = 0

    def send(self, message: bytes) -> None:
        """Send a message now, after what waits."""
        self.flush()
        self._channel.sendall(message)

    @property
    def waiting(self) -> bool:
        """Whether something waits."""
        return self._length > 0

    def is_due(self, now: int) -> bool:
        """Whether what waits is sent before the next task begins, or with the end of that.

        Another process that has nothing to do may get what can run now.
        """
        return self._words[HANDS] == HANDS_FREE or now - self.since > HOLD_NANOSECONDS


class OwnerAgent(RunnerAgent):
    """The agent, asked through the owner of this process."""

    def __init__(self, inbox: Inbox, outbox: Outbox) -> None:
        self._inbox = inbox
        self._outbox = outbox
        self._number = 0
        self._prefix = os.urandom(10).hex()
        self._made = 0
        self.serial = 0
        self.local = True

    def new_results(self, names: Sequence[str]) -> list[str]:
        """Create results; on the embedded engine their ids are made here."""
        if self.local:
            return [self._new_id() for _ in names]
        ids: list[str] = self._ask("new_results", list(names))
        return ids

    def store_results(self, items: Sequence[tuple[str, bytes]]) -> list[str]:
        """Create results with data."""
        ids: list[str] = self._ask("store_results", [list(item) for item in items])
        return ids

    def fetch(self, result_id: str) -> DataSource:
        """The data of any result."""
        source: DataSource = self._ask("fetch", result_id)
        return source

    def _new_id(self) -> str:
        self._made += 1
        prefix = self._prefix
        return f"{prefix[:8]}-{prefix[8:12]}-{prefix[12:16]}-{prefix[16:]}-{self._made:012x}"

    def _ask(self, method: str, argument: object) -> Any:
        self._number += 1
        request = [lane_frames.REQUEST, self._number, self.serial, method, argument]
        self._outbox.send(lane_frames.packer().pack(request))
        _, _, success, value = self._inbox.reply(self._number)
        if not success:
            raise UnreadableDataError(value)
        return value


def _decode_tasks(
    entries: Sequence[Sequence[Any]], inputs: dict[str, DataSource], payloads: ReceivedPayloads
) -> list[EngineTask]:
    tasks = []
    for number, task_id, session, outputs, payload, folder, progress, *rest in entries:
        passed, trace, refused = rest
        done = None if progress is None else TaskProgress.decode(*progress)
        tasks.append(
            EngineTask(
                number,
                task_id,
                session,
                outputs,
                payloads.find(payload),
                inputs,
                folder,
                done,
                passed,
                trace,
                refused,
            )
        )
    return tasks


def leave() -> None:
    """The owner is gone: end at once, with every process that tasks have started."""
    with suppress(Exception):
        sys.stdout.flush()
        sys.stderr.flush()
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)
