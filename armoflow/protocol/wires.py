"""What carries the messages of a batch stream: a call of gRPC, or a Unix socket.

An engine that listens at a Unix socket listens at a second one beside it, for the batch stream
alone: a message there and back takes a tenth of what it takes through gRPC. Who finds no such
socket, or a stranger's, calls by gRPC, as everybody does over a network.
"""

from __future__ import annotations

import asyncio
import os
import stat
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from armoflow.errors import EngineError, ProtocolError
from armoflow.protocol.frames import Splitter, framed
from armoflow.system.sockets import stream_path

Hear = Callable[[bytes], None]


class Wire(ABC):
    """One connection, for as long as it holds.

    Args:
        hear: Called with each message; what it raises ends the wire.
        go_on: Called when messages are taken again after they were not.

    Attributes:
        ready: Whether messages are taken: the other side keeps up.
        ended: Done, with an exception that says why, when the connection is no more.
    """

    def __init__(self, hear: Hear, go_on: Callable[[], None]) -> None:
        self._hear = hear
        self._go_on = go_on
        self.ready = True
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @abstractmethod
    def send(self, message: bytes) -> None:
        """Send a message; only while it is ready."""

    @abstractmethod
    def close(self) -> None:
        """End it; nothing more is heard."""

    def end(self, error: BaseException) -> None:
        """It is no more, for a reason."""
        if not self.ended.done():
            self.ended.set_exception(error)
            self.ended.exception()  # whoever waits for it has it, too


class SocketWire(Wire, asyncio.Protocol):
    """A connection to the socket beside an engine's."""

    _transport: Any

    def __init__(self, hear: Hear, go_on: Callable[[], None]) -> None:
        super().__init__(hear, go_on)
        self._splitter = Splitter()

    def send(self, message: bytes) -> None:
        """Send a message; only while it is ready."""
        if not self._transport.is_closing():  # that it is lost is told in a moment
            self._transport.write(framed((message,)))

    def close(self) -> None:
        """End it; nothing more is heard."""
        self.end(ProtocolError("the stream was closed"))
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The engine has accepted."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Bytes have come."""
        try:
            for message in self._splitter.feed(data):
                if self.ended.done():
                    return
                self._hear(message)
        except Exception as error:  # whatever it is: who waits for answers is told
            self.end(error)

    def pause_writing(self) -> None:
        """The engine does not keep up."""
        self.ready = False

    def resume_writing(self) -> None:
        """It does again."""
        self.ready = True
        self._go_on()

    def connection_lost(self, error: Exception | None) -> None:
        """The engine is gone, or has ended the stream."""
        self.end(ProtocolError(f"the connection was lost: {error or 'the engine closed it'}"))


async def open_socket(path: str, hear: Hear, go_on: Callable[[], None]) -> SocketWire | None:
    """A connection to the socket beside an engine's; None if there is none to take.

    Args:
        path: Of the engine's socket; empty, if it listens elsewhere.
        hear: See :class:`Wire`.
        go_on: See :class:`Wire`.
    """
    beside = stream_path(path)
    if path and _is_engines(beside, path):
        with suppress(OSError):  # left behind by an engine that has ended, or of one that is ending
            _, wire = await asyncio.get_running_loop().create_unix_connection(
                lambda: SocketWire(hear, go_on), beside
            )
            return wire
    return None


def refuse(code: str, message: str) -> Exception:
    """Why an engine ends a stream, which it says on a socket in a last frame."""
    if code == "UNAVAILABLE":
        return ProtocolError(f"the engine ended the stream: {message}")
    return EngineError(f"the engine ended the stream: {message} ({code})", code)


def _is_engines(beside: str, path: str) -> bool:
    """Whether a socket is there that is of the same user as the engine's: no stranger's."""
    try:
        found, engines = os.lstat(beside), os.lstat(path)
    except OSError:
        return False
    return stat.S_ISSOCK(found.st_mode) and found.st_uid == engines.st_uid
