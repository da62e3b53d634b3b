"""Leases of sessions in an engine of this process."""

from __future__ import annotations

import queue
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import grpc
import msgpack
import pytest
from serving import PATIENCE, Serving, serve

from armoflow import config
from armoflow.engine.engine_options import EngineOptions
from armoflow.engine.records import SessionStatus
from armoflow.errors import OptionError
from armoflow.protocol.frames import LEASE, METHOD, VERSION, Kind


class Relay:
    """Copies bytes between a client and an engine, until it is frozen: then nothing moves."""

    def __init__(self, target: str) -> None:
        self._target = target.removeprefix("unix:")
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thaw = threading.Event()
        self._thaw.set()
        self._sockets: list[socket.socket] = [self._listener]
        self.target = f"127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def freeze(self) -> None:
        self._thaw.clear()

    def close(self) -> None:
        self._thaw.set()
        for end in self._sockets:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                engine = socket.socket(socket.AF_UNIX)
                engine.connect(self._target)
                self._sockets += [client, engine]
                for ends in ((client, engine), (engine, client)):
                    threading.Thread(target=self._copy, args=ends, daemon=True).start()

    def _copy(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while content := source.recv(65536):
                self._thaw.wait()
                sink.sendall(content)


class Stream:
    """A client's stream, frame by frame."""

    def __init__(self, target: str) -> None:
        options = [("grpc.default_authority", "localhost")]
        self._channel = grpc.insecure_channel(target, options=options)
        self._frames: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._answers = self._channel.stream_stream(METHOD)(iter(self._frames.get, None))
        self.ask(Kind.HELLO, VERSION, False)

    def ask(self, kind: Kind, *arguments: Any) -> Any:
        self._frames.put(msgpack.packb([1, kind, *arguments]))
        return msgpack.unpackb(next(self._answers))

    def close(self) -> None:
        self._channel.close()


@contextmanager
def stream(target: str) -> Iterator[Stream]:
    opened = Stream(target)
    try:
        yield opened
    finally:
        opened.close()


def create(serving: Serving, *, leased: bool = True) -> str:
    """A session of a client that asked for a lease, or did not."""
    from armonik.protogen.client.sessions_service_pb2_grpc import SessionsStub
    from armonik.protogen.common import objects_pb2, sessions_common_pb2

    options = objects_pb2.TaskOptions(max_retries=1, priority=1, partition_id="default")
    options.max_duration.FromSeconds(60)
    request = sessions_common_pb2.CreateSessionRequest(default_task_option=options)
    metadata = (LEASE,) if leased else ()
    reply = SessionsStub(serving.channel).CreateSession(request, metadata=metadata)
    return str(reply.session_id)


def status(serving: Serving, session_id: str) -> SessionStatus:
    return serving.server.engine.state.sessions[session_id].status


def await_end(serving: Serving, session_id: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while status(serving, session_id) is not SessionStatus.CANCELLED:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_session_that_nobody_watches_ends_from_the_first_moment(tmp_path: Path) -> None:
    """A client may die between the creation of its session and its first frame."""
    with serve(tmp_path, client_lease=0.05) as serving:
        other = create(serving, leased=False)
        await_end(serving, create(serving))
        assert status(serving, other) is SessionStatus.RUNNING


def test_each_of_several_streams_holds_a_session(tmp_path: Path) -> None:
    with serve(tmp_path, client_lease=0.3) as serving:
        session_id = create(serving)
        with stream(serving.target) as first:
            assert first.ask(Kind.WATCH, session_id)[1] == Kind.OK
            with stream(serving.target) as second:
                assert second.ask(Kind.WATCH, session_id)[1] == Kind.OK
            await_end(serving, create(serving))  # a lease has run out that began after that
            assert status(serving, session_id) is SessionStatus.RUNNING
        await_end(serving, session_id)
        with stream(serving.target) as late:
            for request in ((Kind.WATCH, session_id), (Kind.SUBMIT, session_id, [], [], [], [])):
                _, kind, code, message, _ = late.ask(*request)
                assert (kind, code) == (Kind.REFUSED, "ABORTED")
                assert "its lease of 0.3 s (armoflow up --client-lease)" in message


def test_a_peer_that_vanishes_without_a_word_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config, "KEEPALIVE_SECONDS", 1.0)
    with serve(tmp_path, client_lease=0.05) as serving:
        relay = Relay(serving.target)
        session_id = create(serving, leased=False)
        serving.server.engine.state.sessions[session_id].leased = True
        with stream(relay.target) as half_open:
            assert half_open.ask(Kind.WATCH, session_id)[1] == Kind.OK
            await_end(serving, create(serving))
            assert status(serving, session_id) is SessionStatus.RUNNING
            relay.freeze()
            await_end(serving, session_id)
            relay.close()


def test_a_lease_is_stored(tmp_path: Path) -> None:
    with serve(tmp_path, client_lease=600.0) as serving:
        leased, other = create(serving), create(serving, leased=False)
    with serve(tmp_path, client_lease=0.05) as serving:
        await_end(serving, leased)
        assert status(serving, other) is SessionStatus.RUNNING


@pytest.mark.parametrize("seconds", [-1.0, float("inf"), float("nan")])
def test_a_lease_is_a_number_of_seconds(tmp_path: Path, seconds: float) -> None:
    with pytest.raises(OptionError, match="client_lease"):
        EngineOptions(tmp_path, client_lease=seconds)
