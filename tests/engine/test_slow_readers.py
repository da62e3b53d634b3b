"""Clients that do not read what they asked for hold bounded memory, and none once they left."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import grpc
import pytest
from armonik.client import ArmoniKResults, ArmoniKSessions
from armonik.protogen.client.events_service_pb2_grpc import EventsStub
from armonik.protogen.client.results_service_pb2_grpc import ResultsStub
from armonik.protogen.common.events_common_pb2 import EventSubscriptionRequest
from armonik.protogen.common.results_common_pb2 import DownloadResultDataRequest
from engine_support import Running, in_loop
from raw_stream import RawSocket, RawStream
from serving import PATIENCE, Serving, serve, task_options

from armoflow.config import CHUNK_BYTES
from armoflow.engine.services import replies
from armoflow.engine.services.call_log import CallLog
from armoflow.engine.services.extension import ExtensionService
from armoflow.engine.services.guard import Guard
from armoflow.engine.services.stream_socket import StreamSocket
from armoflow.protocol.frames import Kind


def create_session(serving: Serving) -> str:
    return ArmoniKSessions(serving.channel).create_session(task_options())


def wait_until(serving: Serving, condition: Callable[[], bool]) -> None:
    """Look once in each turn of the server's loop."""

    async def look() -> None:
        while not condition():
            await asyncio.sleep(0.001)

    serving.run(asyncio.wait_for(look(), PATIENCE))


def test_an_event_stream_that_nobody_reads_is_closed_and_forgotten(tmp_path: Path) -> None:
    with serve(tmp_path, watcher_limit=1_000) as serving:
        session = create_session(serving)
        watchers = serving.server.engine._watchers._events
        with grpc.insecure_channel(serving.target) as channel:
            events = EventsStub(channel).GetEvents(EventSubscriptionRequest(session_id=session))
            wait_until(serving, lambda: session in watchers)
            (watcher,) = watchers[session]
            results = ArmoniKResults(serving.channel)
            batches = 0
            while session in watchers:
                results.create_results_metadata([str(n) for n in range(900)], session)
                assert len(watcher._pending) <= 1_000
                batches += 1
                assert batches < 1_000
            assert not watcher._pending
            # Who reads again is told.
            with pytest.raises(grpc.RpcError, match="watch again") as refusal:
                for _ in events:
                    pass
            assert refusal.value.code() is grpc.StatusCode.UNAVAILABLE


def test_an_event_stream_whose_caller_goes_is_forgotten(tmp_path: Path) -> None:
    with serve(tmp_path) as serving:
        session = create_session(serving)
        watchers = serving.server.engine._watchers._events
        results = ArmoniKResults(serving.channel)
        for _ in range(5):  # much more than a connection takes that nobody reads
            results.create_results_metadata([str(n) for n in range(5_000)], session)
        with grpc.insecure_channel(serving.target) as channel:
            events = EventsStub(channel).GetEvents(EventSubscriptionRequest(session_id=session))
            wait_until(serving, lambda: session in watchers)
            events.cancel()
        wait_until(serving, lambda: not watchers)


def test_a_download_that_nobody_reads_is_not_read_from_the_disk_either(tmp_path: Path) -> None:
    size = 64 * CHUNK_BYTES
    with serve(tmp_path) as serving:
        session = create_session(serving)
        objects = serving.server.engine.objects
        results = ArmoniKResults(serving.channel)
        result_id = results.create_results_metadata(["data"], session)["data"].result_id
        results.upload_result_data(result_id, session, b"x" * size)
        read, closed, chunks = [], threading.Event(), objects.chunks

        async def counted(opaque_id: bytes, chunk_size: int) -> AsyncGenerator[bytes, None]:
            try:
                async with aclosing(chunks(opaque_id, chunk_size)) as pieces:
                    async for chunk in pieces:
                        read.append(len(chunk))
                        yield chunk
            finally:
                closed.set()

        objects.chunks = counted  # type: ignore[method-assign]
        request = DownloadResultDataRequest(session_id=session, result_id=result_id)
        with grpc.insecure_channel(serving.target) as channel:
            call = ResultsStub(channel).DownloadResultData(request)
            wait_until(serving, lambda: bool(read))
            objects.chunks = chunks  # type: ignore[method-assign]
            # Meanwhile others have all of theirs.
            assert len(results.download_result_data(result_id, session)) == size
            assert len(read) < 32
            call.cancel()
            assert closed.wait(PATIENCE)


def test_a_batch_stream_that_nobody_reads_is_ended_and_holds_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replies, "OUTBOX_BYTES", 100_000)
    with serve(tmp_path) as serving:
        session = create_session(serving)
        stream = RawStream(serving.channel)
        try:
            stream.greet()
            assert stream.request(Kind.WATCH, session)[0] == Kind.OK
            (service,) = (s for s in serving.server._streams if hasattr(s, "_connections"))
            (connection,) = service._connections

            async def tell_much() -> None:
                while not connection.replies.overflowed:  # without a turn for whoever sends
                    change = ["result", 2, 1_000, b"x" * 1_000, None, None]
                    connection.replies.send([0, Kind.CHANGES, session, [change]])

            serving.run(tell_much())
            assert not connection.replies.waiting and not connection._listeners
            assert stream.end() is grpc.StatusCode.UNAVAILABLE
            assert "does not read" in stream.call.details()
            wait_until(serving, lambda: not service._connections)
        finally:
            stream.close()


def test_a_socket_that_nobody_reads_is_cut_off_and_holds_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replies, "OUTBOX_BYTES", 100_000)
    with serve(tmp_path) as serving:
        session = create_session(serving)
        stream = RawSocket(serving.server.address.stream_path)
        try:
            stream.greet()
            assert stream.request(Kind.WATCH, session)[0] == Kind.OK
            (beside,) = (s for s in serving.server._streams if isinstance(s, StreamSocket))
            (peer,) = beside._streams
            connection = peer._connection

            async def tell_much() -> None:
                while not connection.replies.overflowed:
                    change = ["result", 2, 1_000, b"x" * 1_000, None, None]
                    connection.replies.send([0, Kind.CHANGES, session, [change]])
                    await asyncio.sleep(0)  # what the connection takes is written

            serving.run(tell_much())
            assert not connection.replies.waiting and not connection._listeners
            wait_until(serving, lambda: not beside._streams)
        finally:
            stream.close()


def test_a_socket_that_is_ending_with_much_unread_costs_no_work(tmp_path: Path) -> None:
    """Its client says no more and reads nothing: what is on its way stays there until it goes."""
    with serve(tmp_path) as serving:
        session = create_session(serving)
        stream = RawSocket(serving.server.address.stream_path)
        try:
            stream.greet()
            assert stream.request(Kind.WATCH, session)[0] == Kind.OK
            (beside,) = (s for s in serving.server._streams if isinstance(s, StreamSocket))
            (peer,) = beside._streams
            waiting = peer._connection.replies

            async def count_looks() -> int:
                while peer._writable:
                    waiting.send(
                        [0, Kind.CHANGES, session, [["r", 2, 9, b"x" * 9_999, None, None]]]
                    )
                    await asyncio.sleep(0)
                peer._transport.close()
                waiting.send([0, Kind.CHANGES, session, []])
                looks = 0
                for _ in range(100):
                    looks += peer._sending
                    await asyncio.sleep(0)
                return looks

            assert serving.run(count_looks()) < 5
            assert waiting.closed
        finally:
            stream.close()
        wait_until(serving, lambda: not beside._streams)


class GoneCaller:
    """A call whose caller goes just when it is told how the call ended."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def cancelled(self) -> bool:
        return False

    def code(self) -> Any:
        return self.told[-1].value[0] if self.told else 0

    async def abort(self, code: grpc.StatusCode, text: str) -> None:
        self.told.append(code)
        raise grpc.aio.InternalError("the status could not be sent")


@in_loop
async def test_a_caller_that_goes_while_its_call_is_ended_is_no_defect(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with Running(tmp_path) as running:
        service = ExtensionService(running.engine)
        service.close()
        guard = Guard(CallLog(None))
        handler = guard._generator(service.connect, "Extension/Connect", lambda request: request)

        async def requests() -> AsyncGenerator[bytes, None]:
            await asyncio.Event().wait()
            yield b""

        context = GoneCaller()
        calling = asyncio.ensure_future(anext(handler(requests(), context), None))
        while not service._connections:
            await asyncio.sleep(0)
        service.close()
        assert await calling is None
        assert context.told == [grpc.StatusCode.UNAVAILABLE]
        assert not caplog.records
