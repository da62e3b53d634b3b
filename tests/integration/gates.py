"""What tasks of a test wait for and tell: files that work across processes, without polling."""

from __future__ import annotations

import fcntl
import os
import select
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from armoflow import task


class Gate:
    """Tasks wait at it while it is closed."""

    def __init__(self, path: Path) -> None:
        path.touch()
        self.path = str(path)

    @contextmanager
    def closed(self) -> Iterator[None]:
        """Closed for the length of a block."""
        with Path(self.path).open("rb+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


class Bell:
    """Tasks ring it; the test hears each ring."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self.path = str(path)
        # Open for writing too: so tasks never wait for a reader, nor the reader for a task.
        self._file = os.fdopen(os.open(path, os.O_RDWR), "rb", buffering=0)
        self._heard = b""

    def hear(self) -> str:
        """What the next ring says; waits for it."""
        while b"\n" not in self._heard:
            self._heard += os.read(self._file.fileno(), 4096)
        line, _, self._heard = self._heard.partition(b"\n")
        return line.decode()

    def close(self) -> None:
        """Hear no more."""
        self._file.close()


class Log:
    """Tasks note that they ran."""

    def __init__(self, path: Path) -> None:
        path.touch()
        self.path = str(path)

    def counts(self) -> Counter[str]:
        """How often each note was made."""
        return Counter(Path(self.path).read_text().split())


def pass_gate(path: str) -> None:
    """In a task: wait until the gate is open."""
    with open(path, "rb") as file:  # noqa: PTH123 - what tasks import is kept small
        fcntl.flock(file, fcntl.LOCK_SH)


def ring(path: str, text: object) -> None:
    """In a task: ring the bell."""
    _append(path, f"{text}\n")


def note(path: str, text: object) -> None:
    """In a task: note that it ran."""
    _append(path, f"{text} ")


def _append(path: str, text: str) -> None:
    # One write, so that notes of several processes do not mix.
    fd = os.open(path, os.O_WRONLY | os.O_APPEND)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


@task
def noted(number: int, log: str) -> int:
    """Notes each of its runs."""
    note(log, number)
    return number


@task
def gated(number: int, log: str, bell: str, gate: str) -> int:
    """Notes each of its runs, rings, waits at the gate."""
    note(log, number)
    ring(bell, number)
    pass_gate(gate)
    return number


def wait_for_end(pid: int, limit: float = 30.0) -> bool:
    """Wait until a process that is no child of this one has ended."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        waiting = select.poll()  # select() takes no descriptor beyond 1,023
        waiting.register(fd, select.POLLIN)
        return bool(waiting.poll(1e3 * limit))
    finally:
        os.close(fd)
