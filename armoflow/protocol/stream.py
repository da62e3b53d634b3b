"""One stream of the batch extension: requests with numbers, replies, changes; kept alive."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import msgpack

from armoflow import config
from armoflow.errors import EngineError, EngineUnreachableError, MalformedError, ProtocolError
from armoflow.protocol.caller import Caller
from armoflow.protocol.frames import CHANGES, PASSAGES, REFUSAL, REPLIES, VERSION, Kind, unpack
from armoflow.protocol.rpc_errors import describe, is_ambiguous, is_rpc_error
from armoflow.protocol.shapes import SIZE
from armoflow.protocol.wires import Hear, SocketWire, Wire, open_socket, refuse

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
        channel: Opens the channel, or gives the open one; called where there is no socket.
        caller: Who calls, and where: for errors.
        changed: Called with the session id and its changes.
        connected: Called after each (re)connection, when requests may be sent.

    Attributes:
        heard: Called with what tasks have written.
        calls: Whether it goes by gRPC now.
    """

    def __init__(
        self,
        channel: Callable[[], Any],
        caller: Caller,
        changed: Callable[[str, list[Any]], None],
        connected: Callable[[], None],
    ) -> None:
        self._caller = caller
        self.heard: Callable[[list[Any]], None] = lambda _: None
        self._changed = changed
        self._connected = connected
        # Over a socket it is on this machine, with this file system.
        self._local = bool(caller.settings.path)
        self._channel = channel
        self._packer = msgpack.Packer(use_bin_type=True)
        self._requests: dict[int, _Request] = {}
        self._number = 0
        self._unsent: deque[_Request] = deque()
        self._flushing = False
        self._found: Wire | None = None
        self._wire: Wire | None = None
        self.calls = False
        self._hello: asyncio.Future[Any] | None = None
        self._running: asyncio.Task[None] | None = None
        self._loop = asyncio.get_running_loop()
        self._greeting: asyncio.Future[Any] = self._loop.create_future()
        self._greeted = False
        self._last_news = 0.0
        self._closing = False
        self._failure: Exception | None = None

    async def find_socket(self) -> bool:
        """Whether there is a socket beside the engine's, which it is connected to."""
        self._found = await open_socket(self._caller.settings.path, self._hear, self._flush)
        return self._found is not None

    async def start(self) -> Any:
        """Connect; returns what the engine says of itself.

        Raises:
            grpc.RpcError: UNIMPLEMENTED, if the engine does not know the extension; INTERNAL, if
                something before it does not.
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
        reply: asyncio.Future[Any] = self._loop.create_future()
        request = _Request(kind, self._packer.pack([number, kind, *arguments]), reply)
        self._requests[number] = request
        self._unsent.append(request)
        if not self._flushing:  # what is asked in the same moment goes together
            self._flushing = True
            self._loop.call_soon(self._flush)
        try:
            return await reply
        finally:
            self._requests.pop(number, None)

    async def close(self) -> None:
        """End the stream."""
        self._closing = True
        if self._found is not None:
            self._found.close()
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)
        self._fail(EngineUnreachableError("the connection was closed"))

    async def _run(self) -> None:
        try:
            await self._stay_connected()
        except Exception as error:
            # Whatever it is: nobody waits for ever for an answer.
            self._fail(self._explained(error))
        finally:
            self._caller.traffic.answered(self)

    def _explained(self, error: Exception) -> Exception:
        """An error for the user; of an engine that has not greeted, what gRPC says of it."""
        if not (self._greeted and is_rpc_error(error)):
            return error
        # Imported here: it has the messages of all services with it.
        from armoflow.protocol.refusals import refusal

        return refusal(error, _AGAIN, self._caller)

    async def _stay_connected(self) -> None:
        loop = self._loop
        deadline = loop.time() + config.ENGINE_PATIENCE
        pause = 0.05
        while not self._closing:
            greeted = False
            wire, self._found = self._found or await self._open_wire(), None
            try:
                await asyncio.wait_for(self._greet(wire), config.SILENCE_BEFORE_RECONNECT)
                greeted = True
                if self._closing:
                    return  # `wait_for` may swallow a cancellation that comes with the result
                await self._serve(wire)
            except MalformedError:
                raise  # it would say the same again
            except (ProtocolError, asyncio.TimeoutError, asyncio.InvalidStateError) as error:
                # The last is what gRPC makes of writing to a broken stream.
                problem: Exception = error
            except Exception as error:
                if self._is_final(error):
                    raise
                problem = error
            finally:
                self._wire = None
                wire.close()
            if greeted:
                deadline, pause = loop.time() + config.ENGINE_PATIENCE, 0.05
            elif loop.time() > deadline:
                # Imported here: it has the messages of all services with it.
                from armoflow.protocol.silence import unanswered

                said, patience = describe(problem), config.ENGINE_PATIENCE
                raise await unanswered(_AGAIN, self._caller, patience, problem, said)
            self._caller.traffic.unanswered(self, describe(problem))
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

    async def _open_wire(self) -> Wire:
        wire = await open_wire(self._channel, self._caller.settings.path, self._hear, self._flush)
        self.calls = not isinstance(wire, SocketWire)
        return wire

    def _is_final(self, error: Any) -> bool:
        """Whether what has happened would happen again."""
        if not is_rpc_error(error):
            return True
        # An ingress that passes ArmoniK's calls only breaks a stream that it does not know.
        stopped = not self._greeted and error.code().name == "INTERNAL"
        return stopped or not is_ambiguous(error)

    async def _greet(self, wire: Wire) -> None:
        self._hello = hello = self._loop.create_future()
        wire.send(self._packer.pack([0, Kind.HELLO, VERSION, self._local]))
        await asyncio.wait([hello, wire.ended], return_when=asyncio.FIRST_COMPLETED)
        if not hello.done():
            wire.ended.result()
        _, kind, *rest = _framed(hello.result())
        if kind == Kind.REFUSED:
            REFUSAL.check(rest, "the refusal of the greeting")
            raise EngineError(f"the engine refused the extension: {rest[1]}", rest[0])
        said = _value(Kind.HELLO, rest)
        for request in self._requests.values():
            request.sent = False
        self._unsent = deque(self._requests.values())
        self._wire = wire
        self._caller.traffic.answered(self)
        if not self._greeting.done():
            self._greeting.set_result(said)
        self._greeted = True
        self._flush()
        self._connected()

    async def _serve(self, wire: Wire) -> None:
        self._last_news = self._loop.time()
        watching = asyncio.create_task(self._end_if_silent(wire))
        try:
            # Not awaited itself, or it would be cancelled with this.
            await asyncio.wait([wire.ended])
            wire.ended.result()
        finally:
            watching.cancel()

    async def _end_if_silent(self, wire: Wire) -> None:
        """A connection that died without a word leaves an open, silent call."""
        limit = config.SILENCE_BEFORE_RECONNECT
        while True:
            await asyncio.sleep(limit / 2)
            if not any(request.sent for request in self._requests.values()):
                self._last_news = self._loop.time()
            elif self._loop.time() - self._last_news > limit:
                wire.end(asyncio.TimeoutError())
                return

    def _flush(self) -> None:
        """Send what was not sent, as far as it is taken."""
        self._flushing = False
        wire = self._wire
        while wire is not None and wire.ready and (frames := self._next_frames()):
            wire.send(frames)
            self._last_news = self._loop.time()

    def _next_frames(self) -> bytes:
        """Requests that were not sent, as one message; not all, if it becomes long."""
        frames: list[bytes] = []
        size = 0
        while self._unsent and size <= config.STREAM_MESSAGE:
            request = self._unsent.popleft()
            if not request.reply.done():  # else it was given up meanwhile
                request.sent = True
                frames.append(request.frame)
                size += len(request.frame)
        return b"".join(frames)

    def _hear(self, message: bytes) -> None:
        self._last_news = self._loop.time()
        for frame in unpack(message):
            if self._hello is not None:
                self._hello.set_result(frame)
                self._hello = None
            else:
                self._take(frame)

    def _take(self, frame: Any) -> None:
        number, kind, *rest = _framed(frame)
        if kind == Kind.PASSAGES:
            PASSAGES.check(rest, "the engine's PASSAGES")
            self.heard(rest[1])
            return
        if kind == Kind.CHANGES:
            CHANGES.check(rest, "the engine's CHANGES")
            self._changed(*rest)
            return
        if number == 0 and kind == Kind.REFUSED:
            REFUSAL.check(rest, "the end of the stream")
            raise refuse(rest[0], rest[1])
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


async def open_wire(
    channel: Callable[[], Any], path: str, hear: Hear, go_on: Callable[[], None]
) -> Wire:
    """The best wire to an engine that there is.

    Args:
        channel: Opens the way to it, or gives the open one.
        path: Of its socket; empty, if it listens elsewhere.
        hear: See :class:`~armoflow.protocol.wires.Wire`.
        go_on: See :class:`~armoflow.protocol.wires.Wire`.
    """
    found = await open_socket(path, hear, go_on)
    if found is not None:
        return found
    # Imported here: gRPC takes longer to import than an engine on this machine to start.
    from armoflow.protocol.call_wire import CallWire

    return CallWire(channel(), hear, go_on)


def _framed(frame: Any) -> list[Any]:
    """A frame of the engine, with its number and its kind.

    Raises:
        MalformedError: If it has none, or none that an engine sends.
    """
    if not isinstance(frame, list) or len(frame) < 2 or not SIZE.fits_all(frame[:2]):
        raise MalformedError("a frame of the engine does not begin with its number and kind")
    if frame[1] > Kind.CHANGES and frame[1] != Kind.PASSAGES:
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
