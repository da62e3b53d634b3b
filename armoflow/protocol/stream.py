"""One stream of the batch extension: requests with numbers, replies, changes; kept alive."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any

import grpc
import msgpack

from armoflow import config
from armoflow.errors import EngineError, EngineUnreachableError, MalformedError, ProtocolError
from armoflow.protocol.cases import Caller
from armoflow.protocol.frames import CHANGES, METHOD, REFUSAL, REPLIES, VERSION, Kind, unpack
from armoflow.protocol.refusals import refusal
from armoflow.protocol.repeat import describe, is_ambiguous
from armoflow.protocol.shapes import SIZE
from armoflow.protocol.silence import unanswered

logger = logging.getLogger(__name__)

_AGAIN = "connecting again"
"""What a stream does that broke."""


class RefusedError(EngineError):
    """The engine refused a request; ``result_ids`` are those to blame, where it says so."""

    def __init__(self, code: str, message: str, result_ids: Sequence[str]) -> None:
        super().__init__(f"{message} ({code})", code)
        self.result_ids = result_ids


class _Request:
    __slots__ = ("frame", "kind", "reply", "sent")

    def __init__(self, kind: Kind, frame: bytes, reply: asyncio.Future[Any]) -> None:
        self.kind = kind
        self.frame = frame
        self.reply = reply
        self.sent = False


_REPLY_TO = {kind: f"the reply to {kind.name}" for kind in Kind}


class Stream:
    """Sends requests over a stream that is opened again when it breaks or falls silent.

    Every request may be repeated, so those without a reply are simply sent again, in order.

    Args:
        channel: The open channel.
        caller: Who calls, and where: for errors.
        changed: Called with the session id and its changes.
        connected: Called after each (re)connection, when requests may be sent.
    """

    def __init__(
        self,
        channel: grpc.aio.Channel,
        caller: Caller,
        changed: Callable[[str, list[Any]], None],
        connected: Callable[[], None],
    ) -> None:
        self._caller = caller
        self._changed = changed
        self._connected = connected
        # Over a socket it is on this machine, with this file system.
        self._local = bool(caller.settings.path)
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
            MalformedError: If the reply is not what it may be.
            EngineUnreachableError: If the engine does not come back.
        """
        if self._failure is not None:
            # One error for many callers: its traceback is the last one's, and does not grow.
            raise self._failure.with_traceback(None)
        self._number += 1
        number = self._number
        reply: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        request = _Request(kind, self._packer.pack([number, kind, *arguments]), reply)
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
            self._fail(refusal(error, _AGAIN, self._caller) if self._greeted else error)
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
            except MalformedError:
                raise  # it would say the same again
            except (ProtocolError, asyncio.TimeoutError, asyncio.InvalidStateError) as error:
                problem = error  # the last is what gRPC makes of writing to a broken stream
            finally:
                call.cancel()
            if greeted:
                deadline, pause = loop.time() + config.ENGINE_PATIENCE, 0.05
            elif loop.time() > deadline:
                said, patience = describe(problem), config.ENGINE_PATIENCE
                raise await unanswered(_AGAIN, self._caller, patience, problem, said)
            # Said aloud once: whoever waits for values must know what they wait for.
            logger.log(
                logging.WARNING if greeted else logging.INFO,
                "the connection to %s broke, connecting again for %.0f s: %s",
                self._caller.endpoint,
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
        _, kind, *rest = _framed(next(unpack(message), None))
        if kind == Kind.REFUSED:
            REFUSAL.check(rest, "the refusal of the greeting")
            raise EngineError(f"the engine refused the extension: {rest[1]}", rest[0])
        said = _value(Kind.HELLO, rest)
        for request in self._requests.values():
            request.sent = False
        if not self._greeting.done():
            self._greeting.set_result(said)
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
                for frame in unpack(message):
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
            while frames := self._next_frames():
                await call.write(frames)
                self._last_news = asyncio.get_running_loop().time()

    def _next_frames(self) -> bytes:
        """Requests that were not sent, as one message; not all, if it becomes long."""
        frames: list[bytes] = []
        size = 0
        for request in self._requests.values():
            if not request.sent:
                request.sent = True
                frames.append(request.frame)
                size += len(request.frame)
                if size > config.STREAM_MESSAGE:
                    break
        return b"".join(frames)

    def _take(self, frame: Any) -> None:
        number, kind, *rest = _framed(frame)
        if kind == Kind.CHANGES:
            CHANGES.check(rest, "the engine's CHANGES")
            self._changed(*rest)
            return
        request = self._requests.get(number)
        if request is None or request.reply.done():
            return  # the answer to a request that was repeated, or given up
        try:
            if kind == Kind.REFUSED:
                REFUSAL.check(rest, f"the refusal of {request.kind.name}")
                request.reply.set_exception(RefusedError(*rest))
            else:
                request.reply.set_result(_value(request.kind, rest))
        except MalformedError as error:
            request.reply.set_exception(error)

    def _fail(self, error: Exception) -> None:
        self._failure = error
        if not self._greeting.done():
            self._greeting.set_exception(error)
        for request in list(self._requests.values()):
            if not request.reply.done():
                request.reply.set_exception(error)


def _framed(frame: Any) -> list[Any]:
    """A frame of the engine, with its number and its kind.

    Raises:
        MalformedError: If it has none, or none that an engine sends.
    """
    if not isinstance(frame, list) or len(frame) < 2 or not SIZE.fits_all(frame[:2]):
        raise MalformedError("a frame of the engine does not begin with its number and kind")
    if frame[1] > Kind.CHANGES:
        raise MalformedError(
            f"the engine sent a frame of kind {frame[1]}, which is not its to send"
        )
    return frame


def _value(kind: Kind, rest: list[Any]) -> Any:
    """The value of a reply.

    Raises:
        MalformedError: If it is not what the reply to such a request may be.
    """
    if len(rest) != 1:
        raise MalformedError(f"the reply to {kind.name} has {len(rest)} values, not one")
    REPLIES[kind].check(rest[0], _REPLY_TO[kind])
    return rest[0]


async def _raise_status(call: Any) -> None:
    """A stream's end as an exception."""
    code = await call.code()
    if code is not grpc.StatusCode.OK:
        details = await call.details()
        raise grpc.aio.AioRpcError(
            code, await call.initial_metadata(), await call.trailing_metadata(), details
        )
    raise ProtocolError("the engine ended the stream")
