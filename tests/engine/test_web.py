"""gRPC-Web, spoken by hand, and by a page in a browser."""

from __future__ import annotations

import base64
import http.client
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from armonik.protogen.common import (
    events_common_pb2,
    objects_pb2,
    results_common_pb2,
    sessions_common_pb2,
    versions_common_pb2,
)
from google.protobuf.duration_pb2 import Duration
from hypothesis import given
from hypothesis import strategies as st
from serving import PATIENCE, Serving, serve

from armoflow.config import REQUEST_LIMIT
from armoflow.engine.address import Address
from armoflow.engine.web.grpc_web import BrokenBodyError, Frames, message_frame
from armoflow.engine.web.web_access import load_token

API = "armonik.api.grpc.v1"
PAGE = "http://localhost:4200"


@dataclass
class Reply:
    """What came back: HTTP status and headers, messages, and the trailers."""

    status: int
    headers: dict[str, str]
    messages: list[bytes] = field(default_factory=list)
    trailers: dict[str, str] = field(default_factory=dict)


class Web:
    """Calls over HTTP."""

    def __init__(self, url: str) -> None:
        self.url = url
        parts = urlsplit(url)
        self.place = parts.netloc
        self.token = parts.path.strip("/")

    def ask(
        self,
        path: str,
        body: bytes = b"",
        *,
        method: str = "POST",
        kind: str = "application/grpc-web+proto",
        **headers: str,
    ) -> Reply:
        """One request; the connection is its own."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        with closing(http.client.HTTPConnection(self.place, timeout=60)) as connection:
            connection.request(method, path, body, {"content-type": kind, **named})
            answer = connection.getresponse()
            reply = Reply(answer.status, {k.lower(): v for k, v in answer.getheaders()})
            data = answer.read()
        if reply.headers.get("content-type") == kind:
            if "text" in kind:
                pieces = data.replace(b"=", b"= ").replace(b"= =", b"==").split()
                data = b"".join(map(base64.b64decode, pieces))
            read_frames(data, reply)
        return reply

    def call(self, method: str, *requests: Any, text: bool = False, **headers: str) -> Reply:
        """A call with the token in its path."""
        body = b"".join(message_frame(request.SerializeToString()) for request in requests)
        kind = "application/grpc-web-text" if text else "application/grpc-web+proto"
        body = base64.b64encode(body) if text else body
        return self.ask(f"/{self.token}/{API}.{method}", body, kind=kind, **headers)


def read_frames(data: bytes, reply: Reply) -> None:
    while data:
        flags, size = struct.unpack_from(">BI", data)
        frame, data = data[5 : 5 + size], data[5 + size :]
        if flags & 0x80:
            lines = frame.decode().strip().split("\r\n")
            reply.trailers = dict(line.split(": ", 1) for line in lines)
        else:
            reply.messages.append(frame)


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    state = tmp_path_factory.mktemp("state")
    web = Address(host="127.0.0.1", port=0)
    with serve(state, web=web, web_origins=(PAGE,)) as running:
        yield running


@pytest.fixture
def web(serving: Serving) -> Web:
    assert serving.server.web is not None
    return Web(serving.server.web.url)


def open_session(web: Web) -> str:
    options = objects_pb2.TaskOptions(
        max_duration=Duration(seconds=60), max_retries=1, priority=1, partition_id="default"
    )
    request = sessions_common_pb2.CreateSessionRequest(default_task_option=options)
    reply = web.call("sessions.Sessions/CreateSession", request)
    assert reply.trailers["grpc-status"] == "0", reply
    return str(sessions_common_pb2.CreateSessionReply.FromString(reply.messages[0]).session_id)


# --- messages -----------------------------------------------------------------------------------


@given(
    st.lists(st.binary(max_size=40), min_size=1, max_size=4),
    st.lists(st.integers(1, 30)),
    st.booleans(),
)
def test_a_body_may_be_cut_anywhere(messages: list[bytes], cuts: list[int], text: bool) -> None:
    frames = Frames(text=text, limit=100)
    coded = map(message_frame, messages)
    body = b"".join(map(base64.b64encode, coded) if text else coded)
    found = []
    for cut in [*cuts, len(body) or 1]:
        found += frames.feed(body[:cut])
        body = body[cut:]
    found += frames.feed(body)
    frames.end()
    assert found == messages


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"\x01\0\0\0\0", 12),
        (b"\x02\0\0\0\0", 3),
        (b"\x00\0\0\0\x65", 8),
        (b"\x00\0\0\0\x05ab", 3),
        (b"", 3),
    ],
)
def test_a_body_that_is_none(body: bytes, code: int) -> None:
    for text in (False, True):
        frames = Frames(text=text, limit=100)
        with pytest.raises(BrokenBodyError) as caught:
            assert list(frames.feed(base64.b64encode(body) if text else body)) == []
            frames.end()
        assert caught.value.code == code
    with pytest.raises(BrokenBodyError):
        list(Frames(text=True, limit=100).feed(b"AA$="))


def test_a_token_is_made_once_for_its_user(tmp_path: Path) -> None:
    token = load_token(tmp_path)
    assert load_token(tmp_path) == token
    assert (tmp_path / "web-token").stat().st_mode & 0o777 == 0o600


# --- calls --------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [False, True])
def test_a_call_and_a_refusal(web: Web, text: bool) -> None:
    reply = web.call(
        "versions.Versions/ListVersions", versions_common_pb2.ListVersionsRequest(), text=text
    )
    (message,) = reply.messages
    assert versions_common_pb2.ListVersionsResponse.FromString(message).api
    assert reply.trailers["grpc-status"] == "0"
    request = sessions_common_pb2.GetSessionRequest(session_id="café%")
    reply = web.call("sessions.Sessions/GetSession", request, text=text)
    assert (reply.status, reply.messages, reply.trailers["grpc-status"]) == (200, [], "5")
    assert "caf%C3%A9%25" in reply.trailers["grpc-message"]
    assert web.call("nope.Nope/Nope", request, text=text).trailers["grpc-status"] == "12"
    old = web.call("submitter.Submitter/CountTasks", request, text=text).trailers
    assert old["grpc-status"] == "12"
    assert old["grpc-message"].endswith("not served: use Tasks/CountTasksByStatus")


def test_data_goes_up_and_comes_down_in_pieces(web: Web) -> None:
    session = open_session(web)
    create = results_common_pb2.CreateResultsMetaDataRequest
    reply = web.call(
        "results.Results/CreateResultsMetaData",
        create(session_id=session, results=[create.ResultCreate(name="r")]),
    )
    created = results_common_pb2.CreateResultsMetaDataResponse.FromString(reply.messages[0])
    (result,) = created.results
    upload = results_common_pb2.UploadResultDataRequest
    name = upload.ResultIdentifier(session_id=session, result_id=result.result_id)
    chunks = [bytes([number]) * 2_000_000 for number in range(3)]
    reply = web.call(
        "results.Results/UploadResultData",
        *(upload(id=name), *(upload(data_chunk=chunk) for chunk in chunks)),
    )
    assert reply.trailers["grpc-status"] == "0", reply
    request = results_common_pb2.DownloadResultDataRequest(
        session_id=session, result_id=result.result_id
    )
    for text in (False, True):
        reply = web.call("results.Results/DownloadResultData", request, text=text)
        answers = map(results_common_pb2.DownloadResultDataResponse.FromString, reply.messages)
        assert b"".join(answer.data_chunk for answer in answers) == b"".join(chunks)
        assert reply.trailers["grpc-status"] == "0"


def test_a_stream_ends_at_its_deadline_and_when_its_reader_goes(web: Web, serving: Serving) -> None:
    request = events_common_pb2.EventSubscriptionRequest(session_id=open_session(web))
    reply = web.call("events.Events/GetEvents", request, grpc_timeout="100m")
    assert reply.trailers["grpc-status"] == "4"
    assert (
        web.call("events.Events/GetEvents", request, grpc_timeout="soon").trailers["grpc-status"]
        == "3"
    )
    path = f"/{web.token}/{API}.events.Events/GetEvents"
    create = results_common_pb2.CreateResultsMetaDataRequest
    web.call(
        "results.Results/CreateResultsMetaData",
        create(session_id=request.session_id, results=[create.ResultCreate(name="r")]),
    )
    (events,) = [s for s in serving.server._streams if type(s).__name__ == "EventsService"]
    with closing(http.client.HTTPConnection(web.place, timeout=60)) as connection:
        body = message_frame(request.SerializeToString())
        connection.request("POST", path, body, {"content-type": "application/grpc-web"})
        answer = connection.getresponse()
        size = struct.unpack(">BI", answer.read(5))[1]
        event = events_common_pb2.EventSubscriptionResponse.FromString(answer.read(size))
        assert event.WhichOneof("update") == "new_result"
        wait_until(lambda: len(events._watchers) == 1)  # that of the call before may be going
        connection.sock.shutdown(2)
    wait_until(lambda: not events._watchers)


def test_what_is_too_large_or_no_message_is_refused(web: Web) -> None:
    path = f"/{web.token}/{API}.sessions.Sessions/GetSession"
    reply = web.ask(path, struct.pack(">BI", 0, REQUEST_LIMIT + 1))
    assert reply.trailers["grpc-status"] == "8"
    assert web.ask(path, b"\1\0\0\0\0").trailers["grpc-status"] == "12"
    assert web.ask(path, b"").trailers["grpc-status"] == "3"


# --- who may ------------------------------------------------------------------------------------


def test_pages_tokens_and_hosts(web: Web) -> None:
    method = f"{API}.versions.Versions/ListVersions"
    body = message_frame(b"")
    ask = web.ask
    assert ask(f"/{method}", body).status == 401
    assert ask(f"/wrong/{method}", body).status == 401
    assert ask(f"/{method}", body, authorization="Bearer wrong").status == 401
    assert ask(f"/{method}", body, authorization=f"Bearer {web.token}").status == 200
    good = ask(f"/{web.token}/{method}", body, origin=PAGE)
    assert good.headers["access-control-allow-origin"] == PAGE
    assert "grpc-status" in good.headers["access-control-expose-headers"]
    assert good.headers["vary"] == "origin"
    for origin in ("http://evil.example", "null", f"{PAGE}0"):
        bad = ask(f"/{web.token}/{method}", body, origin=origin)
        assert bad.status == 403
        assert "access-control-allow-origin" not in bad.headers
    # A name that leads to this machine is no name of it.
    assert ask(f"/{web.token}/{method}", body, host="evil.example:80").status == 403
    assert ask(f"/{web.token}/{method}", method="GET").status == 405
    assert ask(f"/{web.token}/{method}", body, kind="application/json").status == 415


def test_a_browser_asks_before_it_calls(web: Web) -> None:
    asked = {
        "origin": PAGE,
        "access_control_request_method": "POST",
        "access_control_request_headers": "content-type,x-grpc-web,authorization",
        "access_control_request_private_network": "true",
    }
    reply = web.ask(f"/{API}.versions.Versions/ListVersions", method="OPTIONS", **asked)
    assert reply.status == 204
    assert reply.headers["access-control-allow-origin"] == PAGE
    assert reply.headers["access-control-allow-headers"] == asked["access_control_request_headers"]
    assert reply.headers["access-control-allow-private-network"] == "true"
    asked["origin"] = "http://evil.example"
    assert web.ask("/x", method="OPTIONS", **asked).status == 403
