"""The batch extension as a call of gRPC: many steps in one frame, on one stream for each client.

What the streams carry is in :mod:`armoflow.engine.services.connection`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc

from armoflow.engine.core import Engine
from armoflow.engine.records import StateError
from armoflow.engine.services.connection import ENDING, NOT_READING, Connection
from armoflow.engine.services.output_service import TaskOutputService
from armoflow.engine.services.task_row_service import TaskRowsService
from armoflow.errors import MalformedError
from armoflow.protocol.frames import SERVICE, unpack


class ExtensionService:
    """Serves the streams."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._connections: set[Connection] = set()
        self._closing = False

    def register(self, server: Any) -> None:
        """Add the service to a gRPC server."""
        output, rows = TaskOutputService(self._engine), TaskRowsService(self._engine)
        handlers = {
            "Connect": grpc.stream_stream_rpc_method_handler(self.connect),
            "Output": grpc.unary_stream_rpc_method_handler(output.read),
            "RunningTasks": grpc.unary_stream_rpc_method_handler(rows.running),
            "EndedTasks": grpc.unary_stream_rpc_method_handler(rows.ended),
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))

    async def connect(self, requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        """One client's stream."""
        news, room = asyncio.Event(), asyncio.Event()
        connection = Connection(self._engine, news.set, room.set)
        self._connections.add(connection)
        reading = asyncio.create_task(_read(requests, connection, room))
        reading.add_done_callback(lambda _: connection.close())
        try:
            while not connection.replies.closed or connection.replies.waiting:
                await news.wait()
                news.clear()
                if connection.replies.waiting:
                    yield b"".join(connection.replies.gathered())
            if reading.done() and not reading.cancelled():
                reading.result()  # what could not be read ends this stream, with that status
            if self._closing:
                await context.abort(grpc.StatusCode.UNAVAILABLE, ENDING)
            if connection.replies.overflowed:
                await context.abort(grpc.StatusCode.UNAVAILABLE, NOT_READING)
        finally:
            self._connections.discard(connection)
            reading.cancel()
            connection.close()
            connection.leave()

    def close(self) -> None:
        """End all streams."""
        self._closing = True
        for connection in list(self._connections):
            connection.close()


async def _read(
    requests: AsyncIterator[bytes], connection: Connection, room: asyncio.Event
) -> None:
    """Take the client's frames until it ends the stream."""
    async for message in requests:
        try:
            frames = unpack(message)
            room.clear()
            while not connection.take(frames):
                await room.wait()
                room.clear()
        except MalformedError as error:
            raise StateError("INVALID_ARGUMENT", str(error)) from error
