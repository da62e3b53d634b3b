"""Data by chunks, over the calls that every ArmoniK serves: uploads and downloads."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any

import grpc
from armonik.protogen.common import result_status_pb2, results_common_pb2

from armoflow import config
from armoflow.codec.container import Buffer
from armoflow.content import DataPart, FileContent, Spool
from armoflow.errors import DataLostError, SerializationError
from armoflow.protocol.late import read_again
from armoflow.protocol.lines import Lines
from armoflow.protocol.repeat import CALL_DEADLINE, repeat
from armoflow.protocol.rpc_errors import is_broken

if TYPE_CHECKING:
    from armoflow.protocol.standard import StandardTransport

SLOWEST_UPLOAD = 64 * config.KIB
"""Bytes a second below which an upload counts as stuck."""

_DELETED = result_status_pb2.RESULT_STATUS_DELETED
_COMPLETED = result_status_pb2.RESULT_STATUS_COMPLETED
_STORED = (_COMPLETED, _DELETED)
_TO_COME = (result_status_pb2.RESULT_STATUS_CREATED, _COMPLETED)
_DONE_ALREADY = (grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.NOT_FOUND)


class Transfers:
    """Moves data for a :class:`~armoflow.protocol.standard.StandardTransport`, bounded in number.

    Args:
        transport: Whose engine, and who lists its results.
        results: The stub of the results service.
        another: Opens another channel to the same engine; None: there is only that one.
    """

    def __init__(
        self,
        transport: StandardTransport,
        results: Any,
        another: Callable[[], grpc.aio.Channel] | None = None,
    ) -> None:
        self._transport = transport
        self._lines = Lines(results, another, lambda: transport.round_trip)
        self._questions: dict[str, tuple[set[str], asyncio.Task[dict[str, int]]]] = {}

    async def close(self) -> None:
        """Close what was opened for them."""
        await self._lines.close()

    async def upload(self, session_id: str, result_id: str, parts: Sequence[DataPart]) -> None:
        """Upload a result's data by chunks; again after an unknown outcome.

        Data that was stored and then deleted, with the task that needed it, is not stored again.
        """
        with self._transport.traffic.uploading(sum(map(len, parts))) as sent:
            await self._upload(session_id, result_id, parts, sent)

    async def _upload(
        self,
        session_id: str,
        result_id: str,
        parts: Sequence[DataPart],
        sent: Callable[[int], None],
    ) -> None:
        repeated = False
        deadline = CALL_DEADLINE + sum(map(len, parts)) / SLOWEST_UPLOAD

        unreadable: list[SerializationError] = []

        async def call() -> Any:
            messages = self._messages(session_id, result_id, parts, sent, unreadable)
            try:
                return await _answer(line.results.UploadResultData(messages, timeout=deadline))
            except grpc.RpcError:
                if unreadable:  # then the call was given up here
                    raise unreadable[0] from None
                raise

        async def settled() -> bool | None:
            nonlocal repeated
            repeated = True
            return True if await self._status(session_id, result_id) == _DELETED else None

        line = await self._lines.take()
        try:
            await repeat(call, "uploading data", self._transport.caller, settled=settled)
        except grpc.RpcError as error:
            done = repeated and error.code() in _DONE_ALREADY
            if not done or await self._status(session_id, result_id) not in _STORED:
                request = results_common_pb2.UploadResultDataRequest
                raise self._transport.refused(error, "uploading data", request) from error
        finally:
            self._lines.give_back(line)

    async def _messages(
        self,
        session_id: str,
        result_id: str,
        parts: Sequence[DataPart],
        sent: Callable[[int], None],
        unreadable: list[SerializationError],
    ) -> AsyncIterator[Any]:
        identifier = results_common_pb2.UploadResultDataRequest.ResultIdentifier(
            session_id=session_id, result_id=result_id
        )
        yield results_common_pb2.UploadResultDataRequest(id=identifier)
        length = self._transport.info.chunk_bytes
        for part in parts:
            for first in range(0, len(part), length):
                try:
                    chunk = await _chunk(part, slice(first, first + length))
                except SerializationError as error:
                    unreadable.append(error)
                    raise
                yield results_common_pb2.UploadResultDataRequest(data_chunk=chunk)
                sent(len(chunk))

    async def _status(self, session_id: str, result_id: str) -> int | None:
        """A result's status; all that are asked for in one moment come in one call."""
        if session_id not in self._questions:
            ids: set[str] = set()
            listing = asyncio.create_task(self._list(session_id, ids))
            self._questions[session_id] = ids, listing
        ids, listing = self._questions[session_id]
        ids.add(result_id)
        await asyncio.wait([listing])  # who gives up, gives up for itself alone
        return listing.result().get(result_id)

    async def _list(self, session_id: str, ids: set[str]) -> dict[str, int]:
        await asyncio.sleep(0)
        del self._questions[session_id]
        raws = await self._transport.list_results(session_id, sorted(ids))
        return {raw.result_id: raw.status for raw in raws}

    async def download(self, session_id: str, result_id: str) -> Buffer:
        """Download a result's data by chunks, into one buffer that whoever gets views may write to.

        An event may tell of data before it can be read: that is waited for.

        Raises:
            DataLostError: If it is not stored.
        """
        data: Buffer | None = await read_again(lambda: self._download(session_id, result_id))
        if data is None:
            raise DataLostError(
                f"the data of result {result_id} is gone: the engine says that the result is there "
                f"but has had no data for it for {config.LATE_PATIENCE:.0f} s (its object store "
                "may have been lost)"
            )
        return data

    async def _download(self, session_id: str, result_id: str) -> Buffer | None:
        """The data; None if the engine does not show it yet."""
        request = results_common_pb2.DownloadResultDataRequest(
            session_id=session_id, result_id=result_id
        )

        async def call() -> Buffer:
            return await _collect(line.results.DownloadResultData(request))

        line = await self._lines.take()
        try:
            return await repeat(call, "downloading data", self._transport.caller)
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.NOT_FOUND:
                raise self._transport.refused(error, "downloading data", request) from error
            missing = error
        finally:
            self._lines.give_back(line)
        if await self._status(session_id, result_id) in _TO_COME:
            return None
        raise DataLostError(
            f"the data of result {result_id} is no longer stored: it was deleted, or kept for too "
            "short a time by the cluster"
        ) from missing


async def _chunk(part: DataPart, piece: slice) -> bytes:
    if isinstance(part, FileContent):
        return await asyncio.to_thread(part.__getitem__, piece)
    return bytes(part[piece])


async def _collect(stream: Any) -> Buffer:
    """The chunks of a download, one after the other.

    A bytearray grows in place as far as the system lets it, and large ones it does let: the pages
    are moved, not copied. So the data is held once, whether or not its size is known beforehand.
    """
    data = Spool()
    patience = _Patience(stream)
    try:
        while (reply := await stream.read()) is not grpc.aio.EOF:
            patience.heard()
            if data.in_memory:
                data.write(reply.data_chunk)
            else:
                await asyncio.to_thread(data.write, reply.data_chunk)
    except asyncio.CancelledError:
        if patience.lost:
            raise asyncio.TimeoutError from None
        raise
    finally:
        patience.end()
    return data.content()


class _Patience:
    """Cancels a call that says nothing for long: one timer, where ``wait_for`` takes a task a read.

    Args:
        call: The call.

    Attributes:
        lost: It was cancelled for that.
    """

    def __init__(self, call: Any) -> None:
        self.lost = False
        self._call = call
        self._loop = asyncio.get_running_loop()
        self._heard = self._loop.time()
        self._timer = self._loop.call_later(CALL_DEADLINE, self._look)

    def heard(self) -> None:
        """It has said something."""
        self._heard = self._loop.time()

    def end(self) -> None:
        """It has ended."""
        self._timer.cancel()

    def _look(self) -> None:
        left = self._heard + CALL_DEADLINE - self._loop.time()
        if left > 0:
            self._timer = self._loop.call_later(left, self._look)
        else:
            self.lost = True
            self._call.cancel()


async def _answer(call: Any) -> Any:
    """A call's answer, as ``await`` would give it.

    gRPC cancels a call by itself if it finds the connection broken while it writes, and ``await``
    then looks as if whoever waits had been cancelled. And where an engine ends a call while a write
    is under way, gRPC may cover what it said by a fault of its own: then the first is what counts.

    Raises:
        grpc.RpcError: UNAVAILABLE, if it was cancelled so; what the engine said, if it was covered.
    """
    first: list[grpc.aio.AioRpcError] = []
    call.add_done_callback(lambda ended: first.append(_ended_with(ended)))

    async def wait() -> Any:
        return await call

    waiting = asyncio.ensure_future(wait())
    try:
        await asyncio.wait([waiting])
    except asyncio.CancelledError:
        waiting.cancel()
        raise
    nothing = grpc.aio.Metadata()
    if waiting.cancelled():
        raise grpc.aio.AioRpcError(
            grpc.StatusCode.UNAVAILABLE, nothing, nothing, "the connection broke during an upload"
        )
    error = waiting.exception()
    if isinstance(error, grpc.RpcError) and is_broken(error) and first:
        raise first[0] from error
    return waiting.result()


def _ended_with(call: Any) -> grpc.aio.AioRpcError:
    """What a call that has ended ended with, at this moment: nothing is waited for."""
    nothing = grpc.aio.Metadata()
    return grpc.aio.AioRpcError(_at_once(call.code()), nothing, nothing, _at_once(call.details()))


def _at_once(coroutine: Coroutine[Any, Any, Any]) -> Any:
    try:
        coroutine.send(None)
    except StopIteration as ended:
        return ended.value
    finally:
        coroutine.close()
    raise AssertionError("a call that has ended knows how")
