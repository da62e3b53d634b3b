"""The socket of an engine that serves gRPC from the first call on.

An engine that a client has started for itself is reached by the stream beside this socket, and gRPC
takes longer to import than all that it does until the first result. So it is imported when somebody
connects here: gRPC then listens at a socket of its own, which takes this one's place. Connections
that were made until then are passed on.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress

logger = logging.getLogger(__name__)

SUFFIX = ".calls"
"""Ends the path at which gRPC begins to listen; no longer than that of the stream's socket."""

_BLOCK = 1 << 16


class LateCalls:
    """Listens for the first call.

    Args:
        path: Where.
        serve: Has gRPC served at a path that it is given.

    Raises:
        OSError: If it cannot listen there.
    """

    def __init__(self, path: str, serve: Callable[[str], Awaitable[None]]) -> None:
        self._path = path
        self._serve = serve
        self._loop = asyncio.get_running_loop()
        self._passing: set[asyncio.Task[None]] = set()
        self._opening: asyncio.Task[None] | None = None
        self._listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._listening.bind(path)
            os.chmod(path, 0o600)  # noqa: PTH101 - before anybody can connect
            self._listening.listen()
            self._listening.setblocking(False)
        except OSError:
            self._listening.close()
            raise
        self._loop.add_reader(self._listening, self._called)

    async def stop(self) -> None:
        """Listen no more, and pass nothing on."""
        if self._opening is None:
            self._loop.remove_reader(self._listening)
        tasks = [*self._passing, *filter(None, [self._opening])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._listening.close()

    def _called(self) -> None:
        """Somebody has connected."""
        self._loop.remove_reader(self._listening)
        self._opening = asyncio.create_task(self._open())

    async def _open(self) -> None:
        try:
            await self._serve(self._path + SUFFIX)
            os.replace(self._path + SUFFIX, self._path)  # noqa: PTH105 - no waiting
        except Exception:  # whatever it is: who has connected does not wait for ever
            logger.exception("calls cannot be served at %s", self._path)
        else:
            self._pass_all_on()
        self._listening.close()

    def _pass_all_on(self) -> None:
        """Pass on what has connected until gRPC took the place; nobody can any more."""
        with suppress(OSError):  # nobody is left; or no descriptor is, and who waits tries again
            while True:
                accepted, _ = self._listening.accept()
                task = asyncio.create_task(_pass_on(accepted, self._path))
                self._passing.add(task)
                task.add_done_callback(self._passing.discard)


async def _pass_on(accepted: socket.socket, path: str) -> None:
    """Be between two sockets, until one side has ended."""
    with suppress(OSError):
        reader, writer = await asyncio.open_connection(sock=accepted)
        inner_reader, inner_writer = await asyncio.open_unix_connection(path)
        copying = [
            asyncio.ensure_future(_copy(reader, inner_writer)),
            asyncio.ensure_future(_copy(inner_reader, writer)),
        ]
        try:
            await asyncio.wait(copying, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in copying:
                task.cancel()
            writer.close()
            inner_writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while block := await reader.read(_BLOCK):
            writer.write(block)
            await writer.drain()
