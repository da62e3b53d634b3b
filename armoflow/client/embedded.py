"""The private engine of a client: a process of its own, which ends with the client."""

from __future__ import annotations

import atexit
import logging
import os
import selectors
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

from armoflow.client.waiting import MOMENT, wait
from armoflow.errors import EngineError
from armoflow.system.interpreter import python_command
from armoflow.system.sockets import stream_path
from armoflow.system.temporary import TemporaryDirectory, socket_directory

logger = logging.getLogger(__name__)

START_TIMEOUT = 60.0
"""Seconds that an engine may take to serve; loaded machines are slow to start Python."""

STOP_TIMEOUT = 10.0
"""Seconds that an engine may take to drain before it is killed."""

RESTARTS = 1
"""How often an engine that died is started again, on the same state."""

LOG_LINES = 20
_SOCKET = "engine.sock"
_FAILED = b"failed: "
"""Begins the line in which an engine says why it ends."""


class PrivateEngine:
    """Starts an engine on a Unix socket in a temporary directory.

    Args:
        workers: Its worker processes.
        extensions: Whether it serves the batch extension.
    """

    def __init__(self, workers: int, extensions: bool) -> None:
        self._workers = workers
        self._extensions = extensions
        self._owner = os.getpid()
        self._stopping = False
        self._restarts = 0
        self._lock = threading.Lock()  # held where a process is started or none may be any more
        self._alive: int | None = None
        self._watcher: threading.Thread | None = None
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
        self._remove_directories()

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

    def _await_ready(self, process: subprocess.Popen[bytes]) -> None:
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
                    failed = line if line.startswith(_FAILED) else failed
                elif time.monotonic() - started > START_TIMEOUT:
                    process.kill()
        if not line:
            process.wait()
            raise self._error("did not start", failed)

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
            failed = _last_words(process)
            self._close_pipes(process)
            code = process.returncode
            if self._restarts >= RESTARTS:
                raise self._error(f"died ({code})", failed)
            self._restarts += 1
            logger.warning("the engine on this machine died (%s): starting it again", code)
            self._process = self._spawn()
            return True

    def _close_pipes(self, process: subprocess.Popen[bytes]) -> None:
        if process.stdout is not None:
            process.stdout.close()
        if self._stopping:
            self._hold(None)

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


def engine_error(what: str, log: Path, failed: bytes = b"") -> EngineError:
    """What happened to an engine, with the cause in the first line, and what it logged after that.

    Args:
        what: What happened.
        log: What it logged.
        failed: What it said of it on its pipe.
    """
    try:
        lines = log.read_text(errors="replace").splitlines()[-LOG_LINES:]
    except OSError as error:
        lines = [f"(no log: {error.strerror})"]
    cause = failed.removeprefix(_FAILED).decode(errors="replace").strip()
    if not cause:  # it could not say it: what it wrote last, of a traceback the error
        last = next((line for line in reversed(lines) if line.strip()), "it has said nothing")
        cause = last.removeprefix("armoflow: error: ")
    return EngineError("\n".join([f"the engine on this machine {what}: {cause}", *lines]))


def _last_words(process: subprocess.Popen[bytes]) -> bytes:
    """What an engine that has ended said last on its pipe, which a process of it may hold open."""
    assert process.stdout is not None
    os.set_blocking(process.stdout.fileno(), False)
    lines = (process.stdout.read() or b"").splitlines()
    return next((line for line in reversed(lines) if line.startswith(_FAILED)), b"")


HELD: set[int] = set()
"""Descriptors that tell engines that this process lives: a forked one closes them, lest the engines
outlive their client."""


def _forked() -> None:
    for alive in HELD:
        os.close(alive)
    HELD.clear()


os.register_at_fork(after_in_child=_forked)
