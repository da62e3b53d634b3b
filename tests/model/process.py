"""An engine in a process of its own, which can be killed and started again on its state."""

from __future__ import annotations

import shlex
import signal
import subprocess
import sys
from pathlib import Path

SEATS = 2
"""Workers of the engine."""


class EngineProcess:
    """``armoflow up`` on a Unix socket, with workers that a test plays.

    Args:
        directory: Where its state, its socket and the workers' announcements go.
        worker: The command of a worker.
        options: More of the command line.

    Attributes:
        state: The directory of its state.
    """

    def __init__(self, directory: Path, worker: list[str], *options: str) -> None:
        self.target = f"unix:{directory}/engine.sock"
        self.state = directory / "state"
        self.starts = 0
        self._command = [sys.executable, "-m", "armoflow", "up", "--listen", self.target]
        self._command += ["--state", str(self.state), "--workers", str(SEATS)]
        self._command += ["--worker", shlex.join(worker), "--log-level", "error", *options]
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start it, and wait until it serves."""
        self._process = subprocess.Popen(self._command, stdout=subprocess.PIPE, text=True)
        self.starts += 1
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line.startswith("ready: "), f"the engine did not start: {line!r}"

    def end(self, how: signal.Signals) -> None:
        """End it with a signal; nothing if it has ended."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.communicate(timeout=60)
            self._process = None
