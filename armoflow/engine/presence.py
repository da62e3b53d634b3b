"""The clients of an engine that several share: it lives while one of them does, or its work.

Each client holds a connection open, whose end, however it comes, is the end of the client; and
whose other end tells the client of the engine's. What is said on it is one line: who serves here.
The first client has bound and connected before it starts the engine, so from then on everybody
finds it, ready or not; one who comes while it ends sees the connection end, and starts another.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from armoflow.engine.directory import prepare_directory
from armoflow.errors import EngineError
from armoflow.system.meeting import connect, listen, meeting

logger = logging.getLogger(__name__)

LOOK_AGAIN = 0.5
"""Seconds after which an engine without clients looks whether its work is done; and one that could
take nobody, whether it can."""


def attend(state: Path) -> Presence | None:
    """Let clients of a state directory find an engine that is there by itself.

    Returns:
        None where there is another engine already, or no place to meet: whoever starts the engine
        is told what is wrong with the directory.
    """
    with suppress(EngineError, OSError):
        prepare_directory(state)
        with meeting(state) as place:
            before = connect(place)
            if before is None:
                return Presence(listen(place).detach(), stays=True)
            before.close()
    return None


class Presence:
    """Counts the clients.

    Args:
        listening: Descriptor of the socket that clients connect to, bound already.
        stays: The engine does not end after them: it is there by itself.
    """

    def __init__(self, listening: int, *, stays: bool = False) -> None:
        self._stays = stays
        self._listening = socket.socket(fileno=listening)
        self._listening.set_inheritable(False)  # a child that had it would seem to be the engine
        self._listening.setblocking(False)
        self._clients: set[socket.socket] = set()
        self._greeting = b""
        self._resuming: asyncio.TimerHandle | None = None

    def begin(
        self, told: Mapping[str, str], busy: Callable[[], bool], alone: Callable[[], object]
    ) -> None:
        """Tell clients that it serves, from now on; in the event loop.

        Args:
            told: What they are told.
            busy: Whether there is work that goes on without clients.
            alone: Called once when there is neither a client nor work.
        """
        self._greeting = json.dumps({"process": str(os.getpid()), **told}).encode() + b"\n"
        self._busy = busy
        self._alone = alone
        self._loop = asyncio.get_running_loop()
        self._listen()
        self._look()

    def close(self) -> None:
        """Nobody is heard any more: who comes finds no engine, and starts another."""
        if self._resuming is not None:
            self._resuming.cancel()
        self._listening.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except (BlockingIOError, ConnectionError):  # nobody is left, or has gone again
                return
            except OSError as error:  # out of descriptors, or of memory: they wait
                if self._listening.fileno() >= 0:
                    self._pause(error)
                return
            client.setblocking(False)
            self._clients.add(client)
            self._loop.add_reader(client, self._read, client)
            with suppress(OSError):  # it is gone again, and that is read
                client.send(self._greeting)

    def _pause(self, error: OSError) -> None:
        """Nobody who comes can be taken now: they are looked at again after a while."""
        logger.error("clients wait, for their connections cannot be taken: %s", error)
        self._loop.remove_reader(self._listening)
        self._resuming = self._loop.call_later(LOOK_AGAIN, self._listen)

    def _listen(self) -> None:
        self._loop.add_reader(self._listening, self._accept)

    def _read(self, client: socket.socket) -> None:
        try:
            if client.recv(64):
                return
        except BlockingIOError:
            return
        except OSError:  # it was killed
            pass
        self._loop.remove_reader(client)
        self._clients.discard(client)
        client.close()
        self._look()

    def _look(self) -> None:
        """End if nobody is there, not even one who has just come."""
        self._accept()
        if self._clients or self._stays:
            return
        if self._busy():
            self._loop.call_later(LOOK_AGAIN, self._look)
            return
        self._loop.remove_reader(self._listening)
        self._alone()
