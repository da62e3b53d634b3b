"""The private engine of a client: a process of its own, which ends with the client."""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

from armoflow.errors import EngineError

logger = logging.getLogger(__name__)

START_TIMEOUT = 60.0
"""Seconds that an engine may take to serve; loaded machines are slow to start Python."""

STOP_TIMEOUT = 10.0
"""Seconds that an engine may take to drain before it is killed."""

RESTARTS = 1
"""How often an engine that died is started again, on the same state."""

LOG_LINES = 20


class PrivateEngine:
    """Starts an engine on a Unix socket in a temporary directory.

    Args:
        workers: Its worker processes.
        extensions: Whether it serves the batch extension.
    """

    def __init__(self, workers: int, extensions: bool) -> None:
        self._workers = workers
        self._extensions = extensions
        self._directory = Path(tempfile.mkdtemp(prefix="armoflow-"))
        self.endpoint = f"unix:{self._directory / 'engine.sock'}"
        self._owner = os.getpid()
        self._stopping = False
        self._restarts = 0
        self._lock = threading.Lock()  # held where a process is started or none may be any more
        self._alive: int | None = None
        self._watcher: threading.Thread | None = None
        self._process = self._spawn()
        atexit.register(self.stop)

    @property
    def pid(self) -> int:
        """Process id of the engine."""
        return self._process.pid

    def wait_until_ready(self) -> None:
        """Wait until it serves.

        Raises:
            EngineError: If it does not start.
        """
        self._await_ready(self._process)

    def watch(self, lost: Callable[[EngineError], None]) -> None:
        """Start it again when it dies.

        Args:
            lost: Called, in another thread, when it has died once too often.
        """
        self._watcher = threading.Thread(
            target=self._watch, args=(lost,), name="armoflow-engine-watch", daemon=True
        )
        self._watcher.start()

    def stop(self) -> None:
        """Stop it and remove its directory; may be called again."""
        if self._owner != os.getpid():
            return  # forked: it is the parent's
        with self._lock:
            if self._stopping:
                return
            self._stopping = True
        atexit.unregister(self.stop)
        self._process.terminate()
        try:
            self._process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            logger.warning("the engine did not stop within %.0f s: killing it", STOP_TIMEOUT)
            self._process.kill()
            self._process.wait()
        if self._watcher is not None and self._watcher is not threading.current_thread():
            self._watcher.join()  # it may be reading what the process prints
        self._close_pipes(self._process)
        shutil.rmtree(self._directory, ignore_errors=True)

    def _spawn(self) -> subprocess.Popen[bytes]:
        command = [
            *(sys.executable, "-m", "armoflow.engine"),
            *("--listen", self.endpoint),
            *("--state", str(self._directory / "state")),
            *("--workers", str(self._workers)),
            "--delete-payload",
        ]
        if not self._extensions:
            command.append("--no-extensions")
        reading, writing = os.pipe()
        try:
            with (self._directory / "engine.log").open("ab") as log:
                process = subprocess.Popen(
                    [*command, "--alive-fd", str(reading)],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    pass_fds=[reading],
                    # Ctrl-C in the terminal is for the script, which tells the engine.
                    start_new_session=True,
                )
        finally:
            os.close(reading)
        if self._alive is not None:
            os.close(self._alive)
        self._alive = writing
        return process

    def _await_ready(self, process: subprocess.Popen[bytes]) -> None:
        timer = threading.Timer(START_TIMEOUT, process.kill)
        timer.daemon = True
        timer.start()
        try:
            for line in process.stdout or ():
                if line.startswith(b"ready"):
                    return
        finally:
            timer.cancel()
        process.wait()
        raise EngineError(f"the engine on this machine did not start:\n{self._log_tail()}")

    def _watch(self, lost: Callable[[EngineError], None]) -> None:
        while True:
            process = self._process
            process.wait()
            try:
                if not self._restart(process):
                    return
                self._await_ready(self._process)
            except (EngineError, OSError) as error:
                if not self._stopping:
                    lost(error if isinstance(error, EngineError) else EngineError(str(error)))
                return

    def _restart(self, process: subprocess.Popen[bytes]) -> bool:
        """Start it again after its end; False if that was wanted.

        Raises:
            EngineError: If it has died too often.
        """
        with self._lock:
            if self._stopping:
                return False
            self._close_pipes(process)
            code = process.returncode
            if self._restarts >= RESTARTS:
                raise EngineError(f"the engine on this machine died ({code}):\n{self._log_tail()}")
            self._restarts += 1
            logger.warning("the engine on this machine died (%s): starting it again", code)
            self._process = self._spawn()
            return True

    def _close_pipes(self, process: subprocess.Popen[bytes]) -> None:
        if process.stdout is not None:
            process.stdout.close()
        if self._stopping and self._alive is not None:
            with contextlib.suppress(OSError):
                os.close(self._alive)
            self._alive = None

    def _log_tail(self) -> str:
        log = self._directory / "engine.log"
        if not log.exists():
            return "(no log)"
        return "\n".join(log.read_text(errors="replace").splitlines()[-LOG_LINES:])
