"""The batch stream as bytes: what any program could send."""

from __future__ import annotations

import queue
import socket
from collections.abc import Iterator
from typing import Any

import grpc
import msgpack
from serving import Serving

from armoflow.protocol.frames import METHOD, VERSION, Kind, Splitter, framed, unpack

PATIENCE = 60.0


class RawStream:
    """One stream to an engine by gRPC, without any of the client's checks."""

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


class RawSocket(RawStream):
    """The same, by the socket beside the engine's."""

    def __init__(self, path: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(PATIENCE)
        self._socket.connect(path)
        self._splitter = Splitter()
        self._frames: list[Any] = []
        self._number = 0

    def send(self, message: bytes) -> None:
        self._socket.sendall(framed((message,)))

    def send_bytes(self, data: bytes) -> None:
        self._socket.sendall(data)

    def receive(self) -> Any:
        while not self._frames:
            data = self._socket.recv(1 << 20)
            if not data:
                raise EOFError
            for message in self._splitter.feed(data):
                self._frames += unpack(message)
        return self._frames.pop(0)

    def end(self) -> grpc.StatusCode:
        try:
            while True:
                number, kind, *rest = self.receive()
                if number == 0 and kind == Kind.REFUSED:
                    code = grpc.StatusCode[rest[0]]
        except EOFError:
            return code

    def close(self) -> None:
        self._socket.close()


def open_stream(serving: Serving, door: str) -> RawStream:
    """A stream by one of the two doors, ``"call"`` and ``"socket"``."""
    if door == "call":
        return RawStream(serving.channel)
    return RawSocket(serving.server.address.stream_path)


DOORS = ("call", "socket")
