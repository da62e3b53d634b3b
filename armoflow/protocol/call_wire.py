"""A batch stream as a call of gRPC."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

import grpc

from armoflow.errors import ProtocolError
from armoflow.protocol.frames import METHOD
from armoflow.protocol.wires import Hear, Wire


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
