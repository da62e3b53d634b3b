"""One stream of the batch extension: requests with numbers, replies, changes; kept alive."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any

import grpc
import msgpack

from armoflow import config
from armoflow.errors import EngineError, EngineUnreachableError, ProtocolError
from armoflow.protocol.frames import METHOD, VERSION, Kind
from armoflow.protocol.repeat import describe, is_ambiguous

logger = logging.getLogger(__name__)


class RefusedError(EngineError):
    """The engine refused a request; ``result_ids`` are those to blame, where it says so."""

    def __init__(self, code: str, message: str, result_ids: Sequence[str]) -> None:
        super().__init__(f"{message} ({code})", code)
        self.result_ids = result_ids


class _Request:
    __slots__ = ("frame", "reply", "sent")

    def __init__(self, frame: bytes, reply: asyncio.Future[Any]) -> None:
        self.frame = frame
        self.reply = reply
        self.sent = False


class Stream:
    """Sends requests over a stream that is opened again when it breaks or falls silent.

    Every request may be repeated, so those without a reply are simply sent again, in order.

    Args:
        channel: The open channel.
        endpoint: Where it leads, for errors.
        changed: Called with the session id and its changes.
        connected: Called after each (re)connection, when requests may be sent.
        local: The client shares the engine's machine and file system.
    """

    def __init__(
        self,
        channel: grpc.aio.Channel,
        endpoint: str,
        changed: Callable[[str, list[Any]], None],
        connected: Callable[[], None],
        local: bool,
    ) -> None:
        self._endpoint = endpoint
        self._changed = changed
        self._connected = connected
        self._local = local
        self._open = channel.stream_stream(METHOD)
        self._packer = msgpack.Packer(use_bin_type=True)
        self._requests: dict[int, _Request] = {}
        self._number = 0
        self._wake = asyncio.Event()
        self._running: asyncio.Task[None] | None = None
        self._greeting: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._greeted = False
        self._last_news = 0.0
        self._silent = False
        self._closing = False
        self._failure: Exception | None = None

    async def start(self) -> Any:
        """Connect; returns what the engine says of itself.

        Raises:
            grpc.RpcError: UNIMPLEMENTED, if the engine does not know the extension.
        """
        self._running = asyncio.create_task(self._run())
        return await self._greeting

    async def request(self, kind: Kind, *arguments: Any) -> Any:
        """Send a request; returns the reply's value.

        Raises:
            RefusedError: If the engine refuses it.
            EngineUnreachableError: If the engine does not come back.
        """
        if self._failure is not None:
            raise self._failure
        self._number += 1
        number = self._number
        reply: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        request = _Request(self._packer.pack([number, kind, *arguments]), reply)
        self._requests[number] = request
        self._wake.set()
        try:
            return await reply
        finally:
            self._requests.pop(number, None)

    async def close(self) -> None:
        """End the stream."""
        self._closing = True
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)
        self._fail(EngineUnreachableError("the connection was closed"))

    async def _run(self) -> None:
        try:
            await self._stay_connected()
        except grpc.RpcError as error:
            self._fail(_lost(self._endpoint, error) if self._greeted else error)
        except Exception as error:
            # Whatever it is: nobody waits for ever for an answer.
            self._fail(error)

    async def _stay_connected(self) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + config.ENGINE_PATIENCE
        pause = 0.05
        while not self._closing:
            greeted = False
            call = self._open()
            try:
                await asyncio.wait_for(self._greet(call), config.SILENCE_BEFORE_RECONNECT)
                greeted = True
                if self._closing:
                    return  # `wait_for` may swallow a cancellation that comes with the result
                await self._serve(call)
            except grpc.RpcError as error:
                if not is_ambiguous(error):
                    raise
                problem: Exception = error
            except (ProtocolError, asyncio.TimeoutError, asyncio.InvalidStateError) as error:
                problem = error  # the last is what gRPC makes of writing to a broken stream
            finally:
                call.cancel()
            if greeted:
                deadline, pause = loop.time() + config.ENGINE_PATIENCE, 0.05
            elif loop.time() > deadline:
                raise _lost(self._endpoint, problem)
            # Said aloud once: whoever waits for values must know what they wait for.
            logger.log(
                logging.WARNING if greeted else logging.INFO,
                "the connection to %s broke, connecting again for %.0f s: %s",
                self._endpoint,
                config.ENGINE_PATIENCE,
                describe(problem),
            )
            await asyncio.sleep(pause)
            pause = min(pause * 2, 2.0)

    async def _greet(self, call: Any) -> None:
        try:
            await call.write(self._packer.pack([0, Kind.HELLO, VERSION, self._local]))
        except grpc.RpcError:
            # Refused before it could be written: what the write says is not the reason.
            await _raise_status(call)
        message = await call.read()
        if message is grpc.aio.EOF:
            await _raise_status(call)
        frames = list(_unpack(message))
        if frames[0][1] != Kind.OK:
            raise EngineError(f"the engine refused the extension: {frames[0][3]}", frames[0][2])
        for request in self._requests.values():
            request.sent = False
        if not self._greeting.done():
            self._greeting.set_result(frames[0][2])
        self._greeted = True
        self._wake.set()
        self._connected()

    async def _serve(self, call: Any) -> None:
        self._last_news = asyncio.get_running_loop().time()
        self._silent = False
        helpers = [
            asyncio.create_task(self._write(call)),
            asyncio.create_task(self._end_if_silent(call)),
        ]
        try:
            while (message := await call.read()) is not grpc.aio.EOF:
                self._last_news = asyncio.get_running_loop().time()
                for frame in _unpack(message):
                    self._take(frame)
        except asyncio.CancelledError:
            if self._silent and not self._closing:
                raise asyncio.TimeoutError from None
            raise
        finally:
            for helper in helpers:
                helper.cancel()
            await asyncio.gather(*helpers, return_exceptions=True)
        await _raise_status(call)

    async def _end_if_silent(self, call: Any) -> None:
        """A connection that died without a word leaves an open, silent call."""
        limit = config.SILENCE_BEFORE_RECONNECT
        while True:
            await asyncio.sleep(limit / 2)
            if not any(request.sent for request in self._requests.values()):
                self._last_news = asyncio.get_running_loop().time()
            elif asyncio.get_running_loop().time() - self._last_news > limit:
                self._silent = True
                call.cancel()
                return

    async def _write(self, call: Any) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            frames = []
            for request in self._requests.values():
                if not request.sent:
                    request.sent = True
                    frames.append(request.frame)
            if frames:
                await call.write(b"".join(frames))
                self._last_news = asyncio.get_running_loop().time()

    def _take(self, frame: Any) -> None:
        number, kind, *rest = frame
        if kind == Kind.CHANGES:
            self._changed(*rest)
            return
        request = self._requests.get(number)
        if request is None or request.reply.done():
            return  # the answer to a request that was repeated, or given up
        if kind == Kind.OK:
            request.reply.set_result(rest[0])
        else:
            request.reply.set_exception(RefusedError(*rest))

    def _fail(self, error: Exception) -> None:
        self._failure = error
        if not self._greeting.done():
            self._greeting.set_exception(error)
        for request in list(self._requests.values()):
            if not request.reply.done():
                request.reply.set_exception(error)


def _unpack(message: bytes) -> msgpack.Unpacker:
    unpacker = msgpack.Unpacker(raw=False, max_buffer_size=len(message) + 1, strict_map_key=False)
    unpacker.feed(message)
    return unpacker


async def _raise_status(call: Any) -> None:
    """A stream's end as an exception."""
    code = await call.code()
    if code is not grpc.StatusCode.OK:
        details = await call.details()
        raise grpc.aio.AioRpcError(
            code, await call.initial_metadata(), await call.trailing_metadata(), details
        )
    raise ProtocolError("the engine ended the stream")


def _lost(endpoint: str, error: Exception) -> EngineUnreachableError:
    return EngineUnreachableError(f"the engine at {endpoint} does not answer any more: {error}")
