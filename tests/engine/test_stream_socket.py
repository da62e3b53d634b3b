"""The socket for batch streams: what only it can do wrong; the rest is tested at both doors."""

from __future__ import annotations

import asyncio
import gc
import socket
import stat
import struct
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path

import grpc
import msgpack
import pytest
from armonik.client import ArmoniKSessions
from raw_stream import RawSocket
from serving import PATIENCE, Serving, serve, task_options

from armoflow.config import MIB, REQUEST_LIMIT
from armoflow.engine.address import parse_address
from armoflow.engine.objects import ObjectStore
from armoflow.engine.services import replies
from armoflow.engine.services.call_log import CallLog
from armoflow.engine.services.stream_socket import StreamSocket, _Stream
from armoflow.protocol.frames import VERSION, Kind, framed
from tests.faults.scripts import wait_for


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Serving]:
    with serve(tmp_path / "state") as running:
        yield running


@pytest.fixture
def stream(serving: Serving) -> Iterator[RawSocket]:
    raw = RawSocket(serving.server.address.stream_path)
    yield raw
    raw.close()


def test_it_is_its_users_alone_and_goes_with_the_engine(tmp_path: Path) -> None:
    with serve(tmp_path) as serving:
        path = Path(serving.server.address.stream_path)
        mode = path.stat().st_mode
        assert stat.S_ISSOCK(mode)
        assert stat.S_IMODE(mode) == 0o600
        raw = RawSocket(str(path))
        raw.greet()
        raw.close()
        assert serving.server.calls.counts["Extension/Connect"] == 1
    assert not path.exists()


def test_messages_may_come_byte_by_byte_and_many_at_once(stream: RawSocket) -> None:
    hello = framed((msgpack.packb([1, Kind.HELLO, VERSION, True]),))
    for byte in hello:
        stream.send_bytes(bytes([byte]))
    assert stream.receive()[:2] == [1, Kind.OK]
    polls = [framed((msgpack.packb([number, Kind.POLL, []]),)) for number in range(200)]
    stream.send_bytes(b"".join(polls))
    assert sorted(stream.receive()[0] for _ in polls) == list(range(200))


@pytest.mark.parametrize("length", [REQUEST_LIMIT + 1, 2**32 - 1])
def test_a_message_that_is_too_long_ends_the_stream(stream: RawSocket, length: int) -> None:
    stream.greet()
    stream.send_bytes(struct.pack("<I", length))
    assert stream.end() is grpc.StatusCode.INVALID_ARGUMENT


def test_a_client_that_waits_for_many_answers_is_answered_by_and_by(
    stream: RawSocket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replies, "ANSWERS_AT_ONCE", 2)
    stream.greet()
    for number in range(1, 100):
        stream.send_frames(*([number, Kind.POLL, ["x"]] for _ in range(3)))
    answers = [stream.receive()[0] for _ in range(297)]
    assert sorted(answers) == sorted([*range(1, 100)] * 3)


def test_what_is_told_with_a_commit_comes_in_one_message(
    serving: Serving, stream: RawSocket
) -> None:
    """The reply to what caused a change, and the change."""
    session = ArmoniKSessions(serving.channel).create_session(task_options())
    stream.greet()
    stream.request(Kind.WATCH, session)
    stream.send_frames(
        [5, Kind.SUBMIT, session, [["made", "output.wanted/x"]], [], [], [["made", b"data"]]]
    )
    first = stream.receive()
    assert stream._frames, "the other frame came by itself"
    kinds = {first[1], stream.receive()[1]}
    assert kinds == {Kind.CHANGES, Kind.OK}


def test_a_thread_writes_large_data_and_what_follows_waits_for_it(
    serving: Serving, stream: RawSocket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others' calls do not: the loop is free, however long the disk takes."""
    session = ArmoniKSessions(serving.channel).create_session(task_options())
    begun, go_on = threading.Event(), threading.Event()
    write = ObjectStore.write_staged

    def slow(store: ObjectStore, data: bytes) -> Path:
        begun.set()
        assert go_on.wait(PATIENCE)
        return write(store, data)

    monkeypatch.setattr(ObjectStore, "write_staged", slow)
    stream.greet()
    large = [5, Kind.SUBMIT, session, [["large", "shared/x"]], [], [], [["large", bytes(MIB)]]]
    task = ["task", "payload", ["large"], ["output"], 0]
    results = [["payload", "payload/t"], ["output", "output/t"]]
    options = [{"max_duration": 60.0, "max_retries": 1, "priority": 1}]
    needs_it = [6, Kind.SUBMIT, session, results, options, [task], [["payload", b"p"]]]
    stream.send_frames(large, needs_it, [7, Kind.FETCH, ["large"]])
    assert begun.wait(PATIENCE)
    assert ArmoniKSessions(serving.channel).get_session(session).session_id == session
    go_on.set()
    answers = {number: rest for number, *rest in (stream.receive() for _ in range(3))}
    assert answers[5] == answers[6] == [Kind.OK, None]
    assert answers[7][0] == Kind.OK
    staging = serving.server.engine.objects.staging
    assert list(staging.iterdir()) == []


def test_large_data_that_is_refused_leaves_no_file(serving: Serving, stream: RawSocket) -> None:
    stream.greet()
    unknown = [["large", "shared/x"]], [], [], [["large", bytes(MIB)], ["nobody", bytes(MIB)]]
    stream.send_frames([5, Kind.SUBMIT, "no such session", *unknown])
    assert stream.receive()[:2] == [5, Kind.REFUSED]
    objects = serving.server.engine.objects
    assert [path for path in objects.staging.parent.rglob("*") if path.name[:6] == "engine"] == []


def test_a_stream_that_has_ended_holds_nothing(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of a message, say: it goes at once, and does not wait for a look at all circles."""
    streams: list[weakref.ref[_Stream]] = []
    connected = _Stream.connection_made

    def note(stream: _Stream, transport: asyncio.BaseTransport) -> None:
        streams.append(weakref.ref(stream))
        connected(stream, transport)

    monkeypatch.setattr(_Stream, "connection_made", note)
    gc.disable()
    try:
        raw = RawSocket(serving.server.address.stream_path)
        raw.greet()
        raw.send_bytes(struct.pack("<I", MIB) + bytes(1000))
        raw.close()
        wait_for(lambda: streams[0]() is None, "the stream is still there")
    finally:
        gc.enable()


def test_an_engine_that_ends_says_so(tmp_path: Path) -> None:
    with serve(tmp_path) as serving:
        stream = RawSocket(serving.server.address.stream_path)
        stream.greet()
    assert stream.end() is grpc.StatusCode.UNAVAILABLE
    stream.close()


def test_a_dead_engines_socket_is_replaced(tmp_path: Path, serving: Serving) -> None:
    path = tmp_path / "left"
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(path))
    dead.close()
    beside = StreamSocket(serving.server.engine, CallLog(), str(path))
    serving.run(beside.start())
    raw = RawSocket(str(path))
    raw.greet()
    raw.close()

    async def close() -> None:
        beside.close()

    serving.run(close())


def test_where_it_cannot_be_made_streams_go_by_grpc(
    tmp_path: Path, serving: Serving, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "directory").mkdir()
    beside = StreamSocket(serving.server.engine, CallLog(), str(tmp_path / "directory"))
    serving.run(beside.start())
    assert "clients call by gRPC" in caplog.text


def test_a_path_that_has_no_room_for_it_is_an_address_without_it() -> None:
    assert parse_address("unix:/" + "x" * 98).stream_path == ""
    assert parse_address("unix:/tmp/s").stream_path == "/tmp/s.stream"
    assert parse_address("127.0.0.1:5001").stream_path == ""


def test_both_files_go_when_an_engine_is_told_to_end(tmp_path: Path) -> None:
    address = parse_address(f"unix:{tmp_path}/s")
    for path in (address.path, address.stream_path):
        Path(path).touch()
    address.remove_socket()
    assert not list(tmp_path.iterdir())
