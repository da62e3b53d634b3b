"""Data that is moved by chunks: whole, held once, moved again when the connection breaks."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import grpc
import pytest
from armonik.protogen.client import results_service_pb2_grpc
from armonik.protogen.common import result_status_pb2, results_common_pb2

from armoflow import config
from armoflow.codec.envelope import Slot, SlotKind, pack_envelope, unpack_envelope
from armoflow.errors import DataLostError, EngineError
from armoflow.protocol import transfers as protocol_transfers
from armoflow.protocol.transfers import Transfers
from tests.protocol.fake_engine import FakeEngine, broken


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(asyncio.wait_for(coroutine, 30))


def download(engine: FakeEngine, *result_ids: str) -> list[Any]:
    async def call() -> list[Any]:
        return await engine.transport().fetch("session", result_ids)

    return run(call())


def upload(engine: FakeEngine, parts: list[Any]) -> None:
    async def call() -> None:
        await engine.transport().transfers.upload("session", "result", parts)

    run(call())


@pytest.mark.parametrize("length", [0, 1, 1023, 1024, 1025, 10_000])
def test_what_went_up_comes_down(length: int) -> None:
    engine = FakeEngine()
    data = bytes(range(256)) * 40
    upload(engine, [data[:100], memoryview(data)[100:length]] if length > 100 else [data[:length]])
    assert download(engine, "result") == [data[:length]]


def test_downloads_keep_their_order() -> None:
    engine = FakeEngine()
    engine.data = {"a": bytes(5000), "b": b"b", "c": b"c" * 3000}
    assert download(engine, "c", "a", "b") == [engine.data[name] for name in "cab"]


def test_buffers_of_a_download_can_be_written_to() -> None:
    engine = FakeEngine()
    slot = Slot(SlotKind.VALUE, b"pickle", [bytes(5000)])
    engine.data["result"] = b"".join(pack_envelope([slot]))
    (read,) = unpack_envelope(download(engine, "result")[0])
    (buffer,) = map(memoryview, read.buffers)
    buffer[0] = 1
    assert not buffer.readonly


def test_a_download_that_is_cut_begins_again() -> None:
    engine = FakeEngine()
    engine.data["result"] = bytes(range(256)) * 20
    left = [broken(), None, None]  # the third message of the first download

    def cut(name: str) -> None:
        error = left.pop() if left else None
        if error is not None:
            raise error

    engine.before = cut
    assert download(engine, "result") == [engine.data["result"]]
    assert engine.calls == ["DownloadResultData"] * 2


def test_data_that_is_gone_is_lost() -> None:
    """What the engine does not know, or has deleted, is not waited for; the others come."""
    engine = FakeEngine()
    engine.data["here"] = b"here"
    engine.statuses["deleted"] = result_status_pb2.RESULT_STATUS_DELETED
    engine.statuses["aborted"] = result_status_pb2.RESULT_STATUS_ABORTED
    *lost, here = download(engine, "unknown", "deleted", "aborted", "here")
    assert here == b"here"
    for error in lost:
        assert isinstance(error, DataLostError)
        assert "no longer stored" in str(error)
    assert engine.calls.count("DownloadResultData") == 4


@pytest.mark.parametrize("status", ["CREATED", "COMPLETED"])
def test_an_event_may_come_before_the_data(status: str) -> None:
    engine = FakeEngine()
    engine.statuses["result"] = getattr(result_status_pb2, f"RESULT_STATUS_{status}")

    def appear(name: str) -> None:
        if engine.calls.count("DownloadResultData") == 3:
            engine.data["result"] = b"late"

    engine.before = appear
    assert download(engine, "result") == [b"late"]


def test_what_is_missing_in_one_moment_is_asked_for_in_one_call() -> None:
    engine = FakeEngine()
    names = [f"result-{number}" for number in range(50)]
    engine.statuses = dict.fromkeys(names, result_status_pb2.RESULT_STATUS_DELETED)
    assert all(isinstance(lost, DataLostError) for lost in download(engine, *names))
    assert engine.calls.count("ListResults") == 1


def test_what_cannot_be_asked_for_is_told_to_all() -> None:
    engine = FakeEngine()

    def refuse(name: str) -> None:
        if name == "ListResults":
            raise broken(grpc.StatusCode.PERMISSION_DENIED, "not for you")

    engine.before = refuse

    async def both() -> list[Any]:
        transfers = engine.transport().transfers
        calls = (transfers.download("session", name) for name in "ab")
        return await asyncio.gather(*calls, return_exceptions=True)

    assert [type(error) for error in run(both())] == [EngineError] * 2


def test_data_that_the_engine_has_lost_is_told_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "LATE_PATIENCE", 0.1)
    engine = FakeEngine()
    engine.statuses["result"] = result_status_pb2.RESULT_STATUS_COMPLETED
    (lost,) = download(engine, "result")
    assert isinstance(lost, DataLostError)
    assert "result result is gone" in str(lost)
    assert "object store" in str(lost)


def test_a_download_is_held_once() -> None:
    engine = FakeEngine()
    engine.chunk_bytes = 1024 * 1024
    engine.data["result"] = bytes(64 * engine.chunk_bytes)

    async def peak() -> int:
        tracemalloc.start()
        try:
            await engine.transport().fetch("session", ["result"])
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    # A buffer that grows has up to an eighth to spare, of which the system gives no pages.
    assert run(peak()) < 64 * engine.chunk_bytes * 1.25


def test_a_refusal_in_the_middle_of_an_upload_is_heard() -> None:
    """gRPC may cover it by "Internal error from Core", which would be tried again for minutes."""

    async def refuse(messages: AsyncIterator[Any], context: Any) -> None:
        for _ in range(3):
            await anext(messages)
        await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "no space left on device")

    async def call() -> set[str]:
        server = grpc.aio.server()
        results_service_pb2_grpc.add_ResultsServicer_to_server(Uploads(refuse), server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        engine = FakeEngine()
        engine.chunk_bytes = 80_000
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            stub = results_service_pb2_grpc.ResultsStub(channel)
            transfers = Transfers(engine.transport(), stub)
            refusals = set()
            for _ in range(300):  # one in fifty was covered
                with pytest.raises(EngineError) as caught:
                    await transfers.upload("session", "result", [bytes(1_000_000)])
                refusals.add(caught.value.code)
        await server.stop(None)
        # What has to be tried again first looks whether it took effect.
        assert "ListResults" not in engine.calls
        return refusals

    assert run(call()) == {"RESOURCE_EXHAUSTED"}


def test_a_download_that_falls_silent_begins_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol_transfers, "CALL_DEADLINE", 0.05)

    class Downloads(results_service_pb2_grpc.ResultsServicer):
        """Serves downloads alone, of which the first stops in the middle."""

        begun = 0

        async def DownloadResultData(self, request: Any, context: Any) -> AsyncIterator[Any]:
            self.begun += 1
            yield results_common_pb2.DownloadResultDataResponse(data_chunk=b"one, ")
            if self.begun == 1:
                await asyncio.Event().wait()
            yield results_common_pb2.DownloadResultDataResponse(data_chunk=b"two")

    async def call() -> bytes:
        server = grpc.aio.server()
        results_service_pb2_grpc.add_ResultsServicer_to_server(Downloads(), server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            stub = results_service_pb2_grpc.ResultsStub(channel)
            data = await Transfers(FakeEngine().transport(), stub).download("session", "result")
        await server.stop(None)
        return bytes(data)

    assert run(call()) == b"one, two"


class Uploads(results_service_pb2_grpc.ResultsServicer):
    """Serves uploads alone."""

    def __init__(self, upload: Callable[[AsyncIterator[Any], Any], Coroutine[Any, Any, None]]):
        self.UploadResultData = upload
