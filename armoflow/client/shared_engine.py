"""The engine of a state directory: clients share it, and what it knows outlives them.

The first client starts it, others join it. It ends after the last of them, once no task is left
that can run without a client. Whoever finds it gone starts it again on what the state directory
holds. Where ``armoflow up`` has started it, it stays. See :mod:`armoflow.engine.presence` for how
they know of each other.
"""

from __future__ import annotations

import atexit
import json
import logging
import os
import selectors
import socket
import subprocess
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from armoflow import config
from armoflow.client.own_engine import HELD, START_TIMEOUT, OwnEngine, engine_error
from armoflow.client.waiting import MOMENT, wait
from armoflow.engine.directory import prepare_directory
from armoflow.errors import EngineError
from armoflow.system.interpreter import interpreter_identity, python_command
from armoflow.system.meeting import connect, listen, meeting, shared_endpoint
from armoflow.system.new_threads import start_thread
from armoflow.system.sockets import unix_path

logger = logging.getLogger(__name__)

LOG_BYTES = config.MIB
"""Bytes of an engine's log from which on it is begun anew."""

_REMEDY = "another one needs another directory: Client(state=...), or the variable ARMOFLOW_STATE"


class SharedEngine(OwnEngine):
    """Joins the engine of a state directory, or starts it.

    Args:
        state: The directory; made if it is missing.
        workers: Worker processes, if it is started.

    Raises:
        EngineError: If the directory cannot be used.

    Attributes:
        endpoint: Where it listens.
        state: The directory.
    """

    def __init__(self, state: Path, workers: int) -> None:
        super().__init__()
        self.state = state
        self._workers = workers
        self._told: Mapping[str, str] = {}
        self._log = state / "engine.log"
        try:
            prepare_directory(state)
            self.endpoint = shared_endpoint(state)
            self._connection: int | None = self._join()
        except OSError as error:
            raise EngineError(
                f"the state directory {state} cannot be used: {error.strerror} ({error.filename}); "
                "choose another one"
            ) from error
        self._ending, self._end_writer = socket.socketpair()
        atexit.register(self.stop)

    @property
    def pid(self) -> int:
        """Process id of the engine."""
        return int(self._told["process"])

    def wait_until_ready(self) -> None:
        """Wait until it serves.

        Raises:
            EngineError: If it does not start, is that of another Python or armoflow, or is one that
                somebody has started to listen elsewhere.
        """
        deadline = time.monotonic() + START_TIMEOUT
        while not self._greeted(deadline):  # it was about to end, or did not start
            with self._lock:
                if self._stopping:
                    raise EngineError("the client was closed while its engine started")
                self._leave()
                self._connection = self._join()
        here = interpreter_identity()
        others = {name: self._told.get(name, "?") for name in here}
        if others != here:
            differing = [name for name in here if here[name] != others[name]]
            raise EngineError(
                f"the engine of the state directory {self.state} (process {self.pid}) is that of "
                f"{_named(others, differing)}, and this is {_named(here, differing)}: {_REMEDY}",
                "FAILED_PRECONDITION",
            )
        elsewhere = self._told.get("endpoint", self.endpoint)
        if Path(unix_path(elsewhere)).resolve() != Path(unix_path(self.endpoint)).resolve():
            raise EngineError(
                f"the state directory {self.state} is in use by an engine (process {self.pid}) "
                f"that listens at {elsewhere}: Client({elsewhere!r}) is its client; {_REMEDY}",
                "FAILED_PRECONDITION",
            )

    # --- joining --------------------------------------------------------------------------------

    def _join(self) -> int:
        """A connection to the engine, which may not serve yet; one that is started if none is."""
        with meeting(self.state) as place:
            prepare_directory(place)
            connection = connect(place)
            self._started = connection is None
            if connection is None:
                connection = self._start(place)
        HELD.add(connection.fileno())
        return connection.detach()

    def _leave(self) -> None:
        """Let go of the connection, if there is one: none could be made to an engine that died."""
        connection, self._connection = self._connection, None
        if connection is not None:
            HELD.discard(connection)
            os.close(connection)

    def _start(self, place: Path) -> socket.socket:
        if self._log.exists() and self._log.stat().st_size > LOG_BYTES:
            self._log.unlink()
        with listen(place) as listening, self._log.open("ab") as log:
            connection = connect(place)
            assert connection is not None
            process = subprocess.Popen(
                self._command(listening.fileno()),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                pass_fds=[listening.fileno()],
                # Ctrl-C in the terminal is for the script, which tells the engine.
                start_new_session=True,
            )
        # It may live longer than this client, or end before this process does.
        start_thread(process.wait, "armoflow-engine-end", "wait for an engine's end")
        return connection

    def _command(self, clients: int) -> list[str]:
        arguments = [
            *("--listen", self.endpoint),
            *("--state", str(self.state)),
            *("--workers", str(self._workers)),
            *("--clients-fd", str(clients)),
        ]
        return python_command("armoflow.engine.__main__", *arguments)

    def _greeted(self, deadline: float) -> bool:
        """Wait for the engine's greeting; False if it has ended, which another had started.

        Raises:
            EngineError: If it does not start.
        """
        said = b""
        connection = self._connection
        assert connection is not None
        with selectors.DefaultSelector() as selector:
            selector.register(connection, selectors.EVENT_READ)
            selector.register(self._ending, selectors.EVENT_READ)
            while not said.endswith(b"\n"):
                if wait(lambda seconds: bool(selector.select(seconds)), MOMENT):
                    come = b"" if self._stopping else _read(connection)
                    if not come and not self._started:
                        return False
                    said += come
                    if come:
                        continue
                elif time.monotonic() < deadline:
                    continue
                raise engine_error("did not start", self._log)
        self._told = json.loads(said)
        return True

    # --- its end --------------------------------------------------------------------------------

    def _await_end(self) -> None:
        assert self._connection is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._connection, selectors.EVENT_READ)
            selector.register(self._ending, selectors.EVENT_READ)
            selector.select()

    def _death(self) -> EngineError:
        return engine_error(f"(state {self.state}) died", self._log)

    def _start_again(self) -> None:
        logger.warning("the engine of %s died: going on with another", self.state)
        self._leave()
        self._connection = self._join()

    def _end(self) -> None:
        self._end_writer.shutdown(socket.SHUT_RDWR)  # a forked process may have it open, too

    def _release(self) -> None:
        self._ending.close()
        self._end_writer.close()
        self._leave()


def _read(connection: int) -> bytes:
    try:
        return os.read(connection, 4096)
    except ConnectionError:
        return b""


def _named(identity: Mapping[str, str], names: Iterable[str]) -> str:
    return ", ".join(f"{name} {identity[name]}" for name in names)
