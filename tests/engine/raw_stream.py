"""The batch stream as bytes: what any program could send."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from typing import Any

import grpc
import msgpack

from armoflow.protocol.frames import METHOD, VERSION, Kind

PATIENCE = 60.0


class RawStream:
    """One stream to an engine, without any of the client's checks."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._outgoing: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self.call = channel.stream_stream(METHOD)(self._messages(), timeout=PATIENCE)
        self._frames: list[Any] = []
        self._number = 0

    def _messages(self) -> Iterator[bytes]:
        while (message := self._outgoing.get()) is not None:
            yield message

    def send(self, message: bytes) -> None:
        self._outgoing.put(message)

    def send_frames(self, *frames: Any) -> None:
        self.send(b"".join(map(msgpack.packb, frames)))

    def receive(self) -> Any:
        """The next frame that comes."""
        while not self._frames:
            unpacker = msgpack.Unpacker()
            unpacker.feed(next(self.call))
            self._frames = list(unpacker)
        return self._frames.pop(0)

    def request(self, kind: int, *arguments: Any) -> Any:
        """The answer to a request: ``[kind, ...]``."""
        self._number += 1
        self.send_frames([self._number, kind, *arguments])
        number, *answer = self.receive()
        assert number == self._number
        return answer

    def greet(self) -> Any:
        kind, said = self.request(Kind.HELLO, VERSION, True)
        assert kind == Kind.OK
        return said

    def end(self) -> grpc.StatusCode:
        """The status with which the engine ends the stream."""
        try:
            for _ in self.call:
                pass
        except grpc.RpcError as error:
            return error.code()
        finally:
            self._outgoing.put(None)
        return grpc.StatusCode.OK

    def close(self) -> None:
        self._outgoing.put(None)
        self.call.cancel()
