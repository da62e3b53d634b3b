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

import grpc

from armoflow.errors import EngineError, ProtocolError
from armoflow.protocol.frames import METHOD, Splitter, framed
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


class CallWire(Wire):
    """A call of gRPC."""

    def __init__(self, channel: grpc.aio.Channel, hear: Hear, go_on: Callable[[], None]) -> None:
        super().__init__(hear, go_on)
        self._call = channel.stream_stream(METHOD)()
        self._next = b""
        self._sending: asyncio.Task[None] | None = None
        self._reading = asyncio.create_task(self._read())

    def send(self, message: bytes) -> None:
        """Send a message; only while it is ready."""
        self.ready = False
        self._sending = asyncio.create_task(self._write(message))

    def close(self) -> None:
        """End it; nothing more is heard."""
        for task in (self._reading, self._sending):
            if task is not None:
                task.cancel()
        self._call.cancel()
        self.end(ProtocolError("the stream was closed"))

    async def _write(self, message: bytes) -> None:
        # What a write to a broken stream says is not the reason: reading tells that.
        with suppress(grpc.RpcError, asyncio.InvalidStateError):
            await self._call.write(message)
            self.ready = True
            self._go_on()

    async def _read(self) -> None:
        call = self._call
        try:
            while (message := await call.read()) is not grpc.aio.EOF:
                self._hear(message)
            code = await call.code()
            if code is grpc.StatusCode.OK:
                raise ProtocolError("the engine ended the stream")
            details = await call.details()
            raise grpc.aio.AioRpcError(
                code, await call.initial_metadata(), await call.trailing_metadata(), details
            )
        except Exception as error:  # whatever it is: who waits for answers is told
            self.end(error)


class SocketWire(Wire, asyncio.Protocol):
    """A connection to the socket beside an engine's."""

    _transport: Any

    def __init__(self, hear: Hear, go_on: Callable[[], None]) -> None:
        super().__init__(hear, go_on)
        self._splitter = Splitter()

    def send(self, message: bytes) -> None:
        """Send a message; only while it is ready."""
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


async def open_wire(
    channel: grpc.aio.Channel, path: str, hear: Hear, go_on: Callable[[], None]
) -> Wire:
    """The best wire to an engine that there is.

    Args:
        channel: The way to it.
        path: Of its socket; empty, if it listens elsewhere.
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
    return CallWire(channel, hear, go_on)


def refuse(code: str, message: str) -> Exception:
    """Why an engine ends a stream, which it says on a socket in a last frame."""
    if code == grpc.StatusCode.UNAVAILABLE.name:
        return ProtocolError(f"the engine ended the stream: {message}")
    return EngineError(f"the engine ended the stream: {message} ({code})", code)


def _is_engines(beside: str, path: str) -> bool:
    """Whether a socket is there that is of the same user as the engine's: no stranger's."""
    try:
        found, engines = os.lstat(beside), os.lstat(path)
    except OSError:
        return False
    return stat.S_ISSOCK(found.st_mode) and found.st_uid == engines.st_uid
