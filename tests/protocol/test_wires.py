"""Which wire a client takes to an engine, and what it does when that breaks."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import msgpack
import pytest
from grpc.aio import Metadata

from armoflow.errors import EngineError, EngineUnreachableError, MalformedError
from armoflow.protocol import introduction, wires
from armoflow.protocol.call_wire import CallWire
from armoflow.protocol.caller import Caller
from armoflow.protocol.connect import connect
from armoflow.protocol.frames import Kind, Splitter, framed, unpack
from armoflow.protocol.settings import ConnectionSettings
from armoflow.protocol.stream import Stream, open_wire
from armoflow.protocol.submission import WireOptions
from armoflow.protocol.transport import Transport
from armoflow.protocol.wires import SocketWire

PATIENCE = 60.0
HELLO = [0, Kind.OK, {"frees_payloads": False}]


class Call:
    """A call of gRPC that answers every greeting, and nothing else."""

    def __init__(self) -> None:
        self._messages: asyncio.Queue[bytes] = asyncio.Queue()

    async def write(self, message: bytes) -> None:
        if msgpack.unpackb(message)[1] == Kind.HELLO:
            self._messages.put_nowait(msgpack.packb(HELLO))

    async def read(self) -> bytes:
        return await self._messages.get()

    def cancel(self) -> None:
        pass


class Channel:
    def stream_stream(self, _: str) -> Any:
        return Call


class Broken(Call):
    """One that something between ends, as a call that it does not know."""

    async def read(self) -> bytes:
        error = grpc.aio.AioRpcError(
            grpc.StatusCode.INTERNAL, Metadata(), Metadata(), "Stream removed"
        )
        raise error


def answered(*answers: Any) -> Callable[[Any, Any], Awaitable[None]]:
    """Serves a connection: an answer for each message, then its end; a frame, or bytes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        splitter = Splitter()
        left = list(answers)
        while left and (data := await reader.read(1 << 16)):
            for message in splitter.feed(data):
                assert list(unpack(message))
                answer = left.pop(0)
                if not isinstance(answer, bytes):
                    answer = framed((msgpack.packb(answer),))
                writer.write(answer)
        writer.close()

    return serve


def test_a_stream_that_never_came_about_is_not_tried_again(tmp_path: Path) -> None:
    """Standard calls are answered there: an ingress passes no others."""

    class Behind:
        def stream_stream(self, _: str) -> Any:
            return Broken

    async def test() -> None:
        caller = Caller(ConnectionSettings("https://somewhere:5001"))
        stream = Stream(Behind, caller, lambda *_: None, lambda: None)
        with pytest.raises(grpc.RpcError) as caught:
            await stream.start()
        assert caught.value.code() is grpc.StatusCode.INTERNAL
        await stream.close()

    run(test)


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        await asyncio.wait_for(test(), PATIENCE)

    asyncio.run(bounded())


async def listen(directory: Path, *answers: Any) -> asyncio.AbstractServer:
    """An engine's socket, at which nobody answers, and the one beside it."""
    main = directory / "engine.sock"
    if not main.exists():
        await asyncio.start_unix_server(answered(), main)
    return await asyncio.start_unix_server(answered(*answers), f"{main}.stream")


def open_stream(directory: Path, connected: Callable[[], None] = lambda: None) -> Stream:
    caller = Caller(ConnectionSettings(f"unix:{directory}/engine.sock"))
    return Stream(Channel, caller, lambda *_: None, connected)


async def kind_of(directory: Path) -> type:
    wire = await open_wire(Channel, f"{directory}/engine.sock", lambda _: None, lambda: None)
    wire.close()
    return type(wire)


def test_the_socket_is_taken_where_there_is_one(tmp_path: Path) -> None:
    async def test() -> None:
        assert await kind_of(tmp_path) is CallWire
        server = await listen(tmp_path, HELLO)
        assert await kind_of(tmp_path) is SocketWire
        server.close()
        await server.wait_closed()
        assert await kind_of(tmp_path) is CallWire  # its file is left, and nobody listens

    run(test)


def test_a_strangers_socket_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        await listen(tmp_path, HELLO)
        real = os.lstat

        def lstat(path: Any) -> Any:
            found = real(path)
            if not str(path).endswith(".stream"):
                return found
            return os.stat_result((*found[:4], found.st_uid + 1, *found[5:10]))

        monkeypatch.setattr(wires.os, "lstat", lstat)
        assert await kind_of(tmp_path) is CallWire

    run(test)


def test_what_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    async def test() -> None:
        server = await listen(tmp_path)
        path = tmp_path / "engine.sock.stream"
        path.rename(tmp_path / "elsewhere")
        path.symlink_to(tmp_path / "elsewhere")
        assert await kind_of(tmp_path) is CallWire
        server.close()

    run(test)


def test_requests_and_replies(tmp_path: Path) -> None:
    async def test() -> None:
        await listen(tmp_path, HELLO, [1, Kind.OK, [b"data"]])
        stream = open_stream(tmp_path)
        await stream.start()
        assert await stream.request(Kind.FETCH, ["id"]) == [b"data"]
        await stream.close()

    run(test)


def test_a_connection_that_is_lost_is_made_again_and_what_was_asked_is_asked_again(
    tmp_path: Path,
) -> None:
    async def test() -> None:
        connections = 0

        def connected() -> None:
            nonlocal connections
            connections += 1

        server = await listen(tmp_path, HELLO, b"")  # ends when it is asked
        stream = open_stream(tmp_path, connected)
        await stream.start()
        server.close()
        (tmp_path / "engine.sock.stream").unlink(missing_ok=True)  # Python 3.13 does it itself
        await listen(tmp_path, HELLO, [1, Kind.OK, [b"data"]])
        assert await stream.request(Kind.FETCH, ["id"]) == [b"data"]
        assert connections == 2
        await stream.close()

    run(test)


def test_an_engine_that_ends_for_a_while_is_waited_for(tmp_path: Path) -> None:
    async def test() -> None:
        server = await listen(tmp_path, HELLO, [0, Kind.REFUSED, "UNAVAILABLE", "later", []])
        stream = open_stream(tmp_path)
        await stream.start()
        server.close()
        (tmp_path / "engine.sock.stream").unlink(missing_ok=True)  # Python 3.13 does it itself
        await listen(tmp_path, HELLO, [1, Kind.OK, [b"data"]])
        assert await stream.request(Kind.FETCH, ["id"]) == [b"data"]
        await stream.close()

    run(test)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ([0, Kind.REFUSED, "INVALID_ARGUMENT", "no number", []], EngineError),
        ([0, Kind.REFUSED, 5, "no number", []], MalformedError),
        (b"\xff\xff\xff\xff", MalformedError),
        (framed((b"\xc1",)), MalformedError),
        (framed((msgpack.packb(5),)), MalformedError),
    ],
)
def test_an_end_that_would_come_again_is_told(
    tmp_path: Path, answer: Any, error: type[Exception]
) -> None:
    async def test() -> None:
        await listen(tmp_path, HELLO, answer)
        stream = open_stream(tmp_path)
        await stream.start()
        with pytest.raises(error):
            await stream.request(Kind.FETCH, ["id"])
        await stream.close()

    run(test)


def test_what_is_not_read_is_not_sent_on_end(tmp_path: Path) -> None:
    """Requests wait in the client while the engine does not read."""

    async def test() -> None:
        reads = asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            splitter = Splitter()
            while data := await reader.read(1 << 16):
                for message in splitter.feed(data):
                    for frame in unpack(message):
                        answer = HELLO if frame[1] == Kind.HELLO else [frame[0], Kind.OK, None]
                        writer.write(framed((msgpack.packb(answer),)))
                        await reads.wait() if frame[1] == Kind.HELLO else None
            writer.close()

        main = tmp_path / "engine.sock"
        await asyncio.start_unix_server(answered(), main)
        await asyncio.start_unix_server(serve, f"{main}.stream", limit=1 << 16)
        stream = open_stream(tmp_path)
        await stream.start()
        ids = ["x" * 100] * 10_000
        asked = []
        while stream._wire is not None and stream._wire.ready:
            asked.append(asyncio.create_task(stream.request(Kind.DELETE, ids)))
            await asyncio.sleep(0)
        late = asyncio.create_task(stream.request(Kind.DELETE, ["late"]))
        await asyncio.sleep(0)
        assert stream._unsent
        reads.set()
        assert await asyncio.gather(*asked, late) == [None] * (len(asked) + 1)
        await stream.close()

    run(test)


INTRODUCED = {"core_version": "9.9.9-armoflow.batch", "chunk_bytes": 5, "partitions": [["p", 3]]}


async def joined(directory: Path) -> Transport:
    settings = ConnectionSettings(f"unix:{directory}/engine.sock")
    return await connect(settings, payloads="auto", extensions=True, timeout=PATIENCE)


def test_a_client_joins_at_the_socket_and_opens_and_ends_sessions_there(tmp_path: Path) -> None:
    async def test() -> None:
        closed = [3, Kind.REFUSED, "NOT_FOUND", "there is none", []]
        answers = [[1, Kind.OK, INTRODUCED], [2, Kind.OK, "session"], closed, [4, Kind.OK, None]]
        await listen(tmp_path, HELLO, *answers)
        transport = await joined(tmp_path)
        assert transport.info.core_version == "9.9.9-armoflow.batch"
        assert transport.info.extensions == {"batch"}
        assert (transport.info.chunk_bytes, transport.info.pods_of("p")) == (5, 3)
        assert await transport.create_session(WireOptions(60.0), ["p"]) == "session"
        await transport.end_session("session")  # that there is none any more is no error
        await transport.cancel_session("session")
        await transport.close()

    run(test)


@pytest.mark.parametrize(
    "answers",
    [
        [],
        [HELLO, [1, Kind.REFUSED, "INVALID_ARGUMENT", "request 1 is of an unknown kind", []]],
    ],
)
def test_what_does_not_introduce_itself_at_the_socket_is_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answers: list[Any]
) -> None:
    """An engine of an earlier version, or one that is ending."""
    called: list[ConnectionSettings] = []

    async def connect_by_calls(settings: ConnectionSettings, **_: Any) -> None:
        called.append(settings)

    monkeypatch.setattr(introduction, "connect_by_calls", connect_by_calls)
    monkeypatch.setattr("armoflow.config.ENGINE_PATIENCE", 0.0)

    async def test() -> None:
        await listen(tmp_path, *answers)
        await joined(tmp_path)
        assert len(called) == 1

    run(test)


def test_who_cannot_be_told_that_a_session_ends_does_not_wait_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("armoflow.config.END_PATIENCE", 0.1)
    silent = b""

    async def test() -> None:
        await listen(tmp_path, HELLO, [1, Kind.OK, INTRODUCED], silent, silent)
        transport = await joined(tmp_path)
        with pytest.raises(EngineUnreachableError, match=r"closing a session: no answer .* 0\.1 s"):
            await transport.end_session("session")
        await transport.close()

    run(test)
