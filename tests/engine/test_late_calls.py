"""An engine that serves gRPC from the first call on: who calls does not notice."""

from __future__ import annotations

import logging
import socket
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from armonik.client import ArmoniKSessions, ArmoniKVersions
from raw_stream import RawSocket
from serving import PATIENCE, Serving, serve, task_options

from armoflow.engine.server import Server

CALLERS = 8


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Serving]:
    with serve(tmp_path / "state", late_calls=True) as running:
        yield running


def version(serving: Serving) -> str:
    """What the engine says to a caller with a connection of its own."""
    options = (("grpc.use_local_subchannel_pool", 1),)
    with grpc.insecure_channel(serving.target, options=options) as channel:
        return str(ArmoniKVersions(channel).list_versions()["core"])


def test_streams_need_no_grpc(serving: Serving) -> None:
    raw = RawSocket(serving.server.address.stream_path)
    raw.greet()
    raw.close()
    assert serving.server._grpc is None


def test_all_are_answered_who_call_at_first_and_who_call_then(serving: Serving) -> None:
    with ThreadPoolExecutor(CALLERS) as pool:
        first = list(pool.map(lambda _: version(serving), range(CALLERS)))
    assert {*first, version(serving)} == {"0.41.0-armoflow.batch"}
    assert serving.server.calls.counts["Versions/ListVersions"] == CALLERS + 1


def test_the_first_connection_lasts(serving: Serving) -> None:
    sessions = ArmoniKSessions(serving.channel)
    opened = sessions.create_session(task_options())
    assert sessions.close_session(opened).session_id == opened


def test_it_is_its_users_alone_and_goes_with_the_engine(tmp_path: Path) -> None:
    with serve(tmp_path, late_calls=True) as serving:
        path = Path(serving.server.address.path)
        for _ in range(2):
            mode = path.stat().st_mode
            assert stat.S_ISSOCK(mode)
            assert stat.S_IMODE(mode) == 0o600
            version(serving)
        assert [each.name for each in path.parent.glob("*.calls")] == []


def test_who_connects_and_says_nothing_is_let_go_with_the_engine(tmp_path: Path) -> None:
    with serve(tmp_path, late_calls=True) as serving:
        silent = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        silent.settimeout(PATIENCE)
        silent.connect(serving.server.address.path)
        version(serving)
    while silent.recv(1 << 16):
        pass
    silent.close()


def test_calls_that_cannot_be_served_are_refused(
    serving: Serving, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise MemoryError("no room for gRPC")

    monkeypatch.setattr(Server, "_bind", fail)
    with caplog.at_level(logging.ERROR), pytest.raises(grpc.RpcError) as caught:
        version(serving)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert "no room for gRPC" in caplog.text
