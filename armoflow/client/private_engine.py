"""The private engine of a client: a process of its own, which ends with the client."""

from __future__ import annotations

import atexit
import logging
import os
import selectors
import subprocess
import time
from pathlib import Path

from armoflow.client.own_engine import FAILED, HELD, START_TIMEOUT, OwnEngine, engine_error
from armoflow.client.waiting import MOMENT, wait
from armoflow.errors import EngineError
from armoflow.system.interpreter import python_command
from armoflow.system.sockets import stream_path
from armoflow.system.temporary import TemporaryDirectory, socket_directory

logger = logging.getLogger(__name__)

STOP_TIMEOUT = 10.0
"""Seconds that an engine may take to drain before it is killed."""

_SOCKET = "engine.sock"


class PrivateEngine(OwnEngine):
    """Starts an engine on a Unix socket in a temporary directory.

    Args:
        workers: Its worker processes.
        extensions: Whether it serves the batch extension.
    """

    def __init__(self, workers: int, extensions: bool) -> None:
        super().__init__()
        self._workers = workers
        self._extensions = extensions
        self._alive: int | None = None
        self._directory = TemporaryDirectory()
        self._directories = [self._directory]
        try:
            sockets = socket_directory(self._directory.path, stream_path(_SOCKET))
            if sockets is not None:
                self._directories.append(sockets)
            self.endpoint = f"unix:{self._directories[-1].path / _SOCKET}"
            self._process = self._spawn()
        except BaseException:
            self._remove_directories()
            raise
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
        process = self._process
        assert process.stdout is not None
        started = time.monotonic()
        line = failed = b""
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            while not line.startswith(b"ready"):
                if wait(lambda seconds: bool(selector.select(seconds)), MOMENT):
                    line = process.stdout.readline()
                    if not line:
                        break
                    failed = line if line.startswith(FAILED) else failed
                elif time.monotonic() - started > START_TIMEOUT:
                    process.kill()
        if not line:
            process.wait()
            raise self._error("did not start", failed)

    def _spawn(self) -> subprocess.Popen[bytes]:
        locks = [directory.lock for directory in self._directories]
        reading, writing = os.pipe()
        try:
            with self._log.open("ab") as log:
                process = subprocess.Popen(
                    self._command(reading),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    pass_fds=[reading, *locks],
                    # Ctrl-C in the terminal is for the script, which tells the engine.
                    start_new_session=True,
                )
        except BaseException:
            os.close(writing)
            raise
        finally:
            os.close(reading)
        self._hold(writing)
        return process

    def _command(self, alive: int) -> list[str]:
        arguments = [
            *("--listen", self.endpoint),
            *("--state", str(self._directory.path / "state")),
            *("--workers", str(self._workers)),
            *("--alive-fd", str(alive)),
            "--delete-payload",
        ]
        for directory in self._directories:
            arguments += ["--temporary", str(directory.path)]
        if not self._extensions:
            arguments.append("--no-extensions")
        return python_command("armoflow.engine.__main__", *arguments)

    # --- its end --------------------------------------------------------------------------------

    def _await_end(self) -> None:
        self._process.wait()

    def _death(self) -> EngineError:
        return self._error(f"died ({self._process.returncode})", _last_words(self._process))

    def _start_again(self) -> None:
        code = self._process.returncode
        self._close_pipes()
        logger.warning("the engine on this machine died (%s): starting it again", code)
        self._process = self._spawn()

    def _end(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            logger.warning("the engine did not stop within %.0f s: killing it", STOP_TIMEOUT)
            self._process.kill()
            self._process.wait()

    def _release(self) -> None:
        self._close_pipes()
        self._hold(None)
        self._remove_directories()

    def _close_pipes(self) -> None:
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _hold(self, alive: int | None) -> None:
        """Keep the pipe whose end is this process's for the engine; close the one before."""
        if self._alive is not None:
            HELD.discard(self._alive)
            os.close(self._alive)
        self._alive = alive
        if alive is not None:
            HELD.add(alive)

    def _remove_directories(self) -> None:
        for directory in reversed(self._directories):
            directory.remove()

    @property
    def _log(self) -> Path:
        return self._directory.path / "engine.log"

    def _error(self, what: str, failed: bytes) -> EngineError:
        return engine_error(what, self._log, failed)


def _last_words(process: subprocess.Popen[bytes]) -> bytes:
    """What an engine that has ended said last on its pipe, which a process of it may hold open."""
    assert process.stdout is not None
    os.set_blocking(process.stdout.fileno(), False)
    lines = (process.stdout.read() or b"").splitlines()
    return next((line for line in reversed(lines) if line.startswith(FAILED)), b"")
