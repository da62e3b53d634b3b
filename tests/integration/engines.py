"""Engines as a user starts them, for the integration tests."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

ARMOFLOW = [sys.executable, "-m", "armoflow.cli.main"]
WORKER = f"{sys.executable} -m armoflow.cli.main worker"
READY_TIMEOUT = 60.0


class Up:
    """An engine started with ``armoflow up``.

    Args:
        directory: Where its state, socket and logs go.
        arguments: Further arguments of the command.
        environment: Its variables; None: this process's own.

    Attributes:
        endpoint: Where clients reach it.
        socket: Where it listens itself, whatever stands before it.
    """

    program = (*ARMOFLOW, "up")

    def __init__(
        self,
        directory: Path,
        *arguments: str,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.directory = directory
        self._environment = environment
        self.arguments = arguments
        self.calls = directory / "calls.jsonl"
        # A path of its own: those that pytest makes may be too long for a socket.
        self._sockets = tempfile.TemporaryDirectory(prefix="af-")
        self.endpoint = self.socket = f"unix:{self._sockets.name}/s"
        self.start()

    def start(self) -> None:
        """Start it, or start it again on the same state."""
        command = [
            *(*self.program, "--listen", self.socket, "--state", str(self.directory / "state")),
            *("--log-calls", str(self.calls), "--log-level", "warning", *self.arguments),
        ]
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=log, env=self._environment
            )
        timer = threading.Timer(READY_TIMEOUT, self.process.kill)
        timer.start()
        line = self.process.stdout.readline() if self.process.stdout else b""
        timer.cancel()
        assert line.startswith(b"ready: "), (self.directory / "log").read_text()

    def kill(self) -> None:
        """End it as a power cut would."""
        self.process.send_signal(signal.SIGKILL)
        self.wait()

    def stop(self) -> None:
        """Let it drain and end."""
        self.process.terminate()
        self.wait()
        self._sockets.cleanup()

    def wait(self) -> None:
        """Wait for its end."""
        self.process.wait(60)
        if self.process.stdout:
            self.process.stdout.close()

    def called(self) -> list[str]:
        """The methods called so far, in order, as ``Service/Method``."""
        lines = self.calls.read_text().splitlines() if self.calls.exists() else []
        return [json.loads(line)["method"] for line in lines]


EMBEDDED = ("--workers", "2")
STOCK = ("--workers", "2", "--no-extensions", "--delete-payload", "--worker", WORKER)
"""What a stock cluster offers: the standard calls, an agent that drives a gRPC worker."""


@contextmanager
def up(directory: Path, *arguments: str) -> Iterator[Up]:
    """An engine for the length of a block."""
    engine = Up(directory, *arguments)
    try:
        yield engine
    finally:
        if engine.process.poll() is None:
            engine.stop()


def alive(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):  # it ended before this was opened, or read
        return False
    return state != "Z"
