"""What the engines that clients start on their machine have in common: watched, ended, forked."""

from __future__ import annotations

import atexit
import functools
import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path

from armoflow.errors import EngineError
from armoflow.system.new_threads import start_thread

START_TIMEOUT = 60.0
"""Seconds that an engine may take to serve; loaded machines are slow to start Python."""

RESTARTS = 1
"""How often an engine that died is started again, on the same state."""

LOG_LINES = 20
FAILED = b"failed: "
"""Begins the line in which an engine says why it ends."""


class OwnEngine(ABC):
    """An engine that a client starts again when it dies, and lets go when the client is closed.

    Attributes:
        endpoint: Where it listens.
    """

    endpoint: str

    def __init__(self) -> None:
        self._owner = os.getpid()
        self._stopping = False
        self._lock = threading.Lock()  # held where one is started or none may be any more
        self._watcher: threading.Thread | None = None

    @property
    @abstractmethod
    def pid(self) -> int:
        """Process id of the engine."""

    @abstractmethod
    def wait_until_ready(self) -> None:
        """Wait until it serves.

        Raises:
            EngineError: If it does not start, or is not one that can be used.
        """

    def watch(self, lost: Callable[[EngineError], None]) -> None:
        """Start it again when it dies.

        Args:
            lost: Called, in another thread, when it has died once too often.
        """
        watch = functools.partial(self._watch, lost)
        self._watcher = start_thread(watch, "armoflow-engine-watch", "watch an engine")

    def stop(self) -> None:
        """Let go of it, whereupon it ends if it is nobody else's; may be called again."""
        if self._owner != os.getpid():
            return  # forked: it is the parent's
        with self._lock:
            if self._stopping:
                return
            self._stopping = True
        atexit.unregister(self.stop)
        self._end()
        if self._watcher is not None and self._watcher is not threading.current_thread():
            self._watcher.join()  # it may be reading what the engine says
        self._release()

    def _watch(self, lost: Callable[[EngineError], None]) -> None:
        restarts = 0
        while True:
            self._await_end()
            try:
                with self._lock:
                    if self._stopping:
                        return
                    if restarts >= RESTARTS:
                        raise self._death()
                    restarts += 1
                    self._start_again()
                self.wait_until_ready()
            except (EngineError, OSError) as error:
                if not self._stopping:
                    lost(error if isinstance(error, EngineError) else EngineError(str(error)))
                return

    @abstractmethod
    def _await_end(self) -> None:
        """Wait until it has died, or is being stopped."""

    @abstractmethod
    def _death(self) -> EngineError:
        """Why it died."""

    @abstractmethod
    def _start_again(self) -> None:
        """Start another one, after the death of this one."""

    @abstractmethod
    def _end(self) -> None:
        """Have it end, or let go of it: who waits for its end does not any more."""

    @abstractmethod
    def _release(self) -> None:
        """Close what was open for it."""


def engine_error(what: str, log: Path, failed: bytes = b"") -> EngineError:
    """What happened to an engine, with the cause in the first line, and what it logged after that.

    Args:
        what: What happened.
        log: What it logged.
        failed: What it said of it on its pipe.
    """
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_LINES:]
    except OSError as error:
        lines = [f"(no log: {error.strerror})"]
    cause = failed.removeprefix(FAILED).decode(errors="replace").strip()
    if not cause:  # it could not say it: what it wrote last, of a traceback the error
        last = next((line for line in reversed(lines) if line.strip()), "it has said nothing")
        cause = last.removeprefix("armoflow: error: ")
    return EngineError("\n".join([f"the engine on this machine {what}: {cause}", *lines]))


HELD: set[int] = set()
"""Descriptors that tell engines that this process lives: a forked one closes them, lest the engines
outlive their client."""


def _forked() -> None:
    for alive in HELD:
        os.close(alive)
    HELD.clear()


os.register_at_fork(after_in_child=_forked)
