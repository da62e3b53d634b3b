"""What goes back to one client of the batch extension, and how much of it may wait."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

import msgpack

from armoflow.config import MIB, STATUS_TEXT_LIMIT
from armoflow.engine.core import Engine
from armoflow.engine.faults import StorageError
from armoflow.engine.records import StateError
from armoflow.protocol.frames import Kind

logger = logging.getLogger(__name__)

OUTBOX_BYTES = 64 * MIB
"""Bytes that wait for a client that does not read, before its stream is ended."""

ANSWERS_BYTES = 16 * MIB
"""Bytes that wait for a client, before no more of its requests are taken."""

ANSWERS_AT_ONCE = 64
"""Requests whose answers are being read, before no more are taken."""


class Replies:
    """The frames of one stream, on their way to the client.

    Args:
        engine: The engine.
        on_frames: Called when there are frames to send, or never will be any more.
        on_room: Called when requests are taken again after they were not.
        on_overflow: Called when too much waits for a client that does not read.

    Attributes:
        closed: No more frames will come.
        overflowed: They were closed because the client does not read.
        has_room: Whether requests are taken.
        waiting_bytes: What is to be sent.
    """

    def __init__(
        self,
        engine: Engine,
        on_frames: Callable[[], None],
        on_room: Callable[[], None],
        on_overflow: Callable[[], None],
    ) -> None:
        self._engine = engine
        self._on_frames = on_frames
        self._on_room = on_room
        self._on_overflow = on_overflow
        self._packer = msgpack.Packer(use_bin_type=True)
        self._frames: list[bytes] = []
        self.waiting_bytes = 0
        self.closed = False
        self.overflowed = False
        self.has_room = True
        self._running: set[asyncio.Task[None]] = set()
        self._first: set[asyncio.Task[None]] = set()
        self._promised: dict[object, int] = {}
        engine.admission.listeners.add(self._on_fault)

    # --- the stream -----------------------------------------------------------------------------

    @property
    def waiting(self) -> bool:
        """Whether there are frames to send."""
        return bool(self._frames)

    def gathered(self) -> list[bytes]:
        """What is to be sent now."""
        frames, self._frames = self._frames, []
        self.waiting_bytes = 0
        self._make_room()
        return frames

    def close(self) -> None:
        """Send what waits, and nothing after it; may be called again."""
        if self.closed:
            return
        self.closed = True
        self._engine.admission.listeners.discard(self._on_fault)
        for task in self._running:
            task.cancel()
        self._on_frames()

    def overflow(self) -> None:
        """The client does not read: what waits goes, and is told again on its next stream."""
        self.overflowed = True
        self._drop()
        self._on_overflow()

    def leave(self) -> None:
        """The client is gone: nothing is sent any more, and nobody told."""
        self._drop()
        self._on_frames = self._on_room = self._on_overflow = tell_nobody

    def _drop(self) -> None:
        self._frames.clear()
        self.waiting_bytes = 0

    # --- frames ---------------------------------------------------------------------------------

    def send(self, frame: Any) -> None:
        """Send a frame soon."""
        if self.closed:
            return  # nobody reads it any more
        data = self._packer.pack(frame)
        self._frames.append(data)
        self.waiting_bytes += len(data)
        self._on_frames()
        if self.waiting_bytes > ANSWERS_BYTES:
            self.has_room = False
        if self.waiting_bytes > OUTBOX_BYTES:
            logger.warning("a client does not read: its stream is ended")
            self.overflow()

    def reply(self, number: int, value: Any = None) -> None:
        """A request was carried out."""
        self.send([number, Kind.OK, value])

    def refuse(self, number: int, error: StateError) -> None:
        """A request was refused."""
        ids = list(getattr(error, "result_ids", None) or ())
        self.send([number, Kind.REFUSED, error.code, str(error)[:STATUS_TEXT_LIMIT], ids])

    def fail(self, number: int, error: Exception) -> None:
        """A request ended in what it should not have: it is answered all the same."""
        logger.error("an answer failed", exc_info=error)
        text = f"the answer cannot be given: {type(error).__name__}: {error}"
        self.refuse(number, StateError("INTERNAL", text))

    def reply_when(self, number: int, committed: asyncio.Future[None], value: Any = None) -> None:
        """A request is carried out once that is committed."""
        if self._engine.admission.fault is not None:
            self.refuse(number, self._engine.admission.fault)
            return
        promise = object()  # a client may use a number twice
        self._promised[promise] = number

        def done(future: asyncio.Future[None]) -> None:
            if self._promised.pop(promise, None) is None:
                return
            if future.cancelled() or future.exception() is not None:
                self.refuse(number, StateError("INTERNAL", "the journal could not be written"))
            else:
                self.reply(number, value)

        committed.add_done_callback(done)

    def _on_fault(self, fault: StorageError) -> None:
        """What was promised to be told when it is committed may not be for long: say so."""
        promised, self._promised = self._promised, {}
        for number in promised.values():
            self.refuse(number, fault)

    # --- work -----------------------------------------------------------------------------------

    def answer(self, number: int, work: Coroutine[Any, Any, Any]) -> None:
        """Reply with what that work returns; others are answered meanwhile."""

        async def run() -> None:
            try:
                self.reply(number, await work)
            except StateError as error:
                self.refuse(number, error)
            except Exception as error:
                self.fail(number, error)

        # Of a stream that ends at once it is not even begun.
        self.run(run()).add_done_callback(lambda _: work.close())

    def run(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Carry out a request beside others; it ends with the stream."""
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._ran)
        if len(self._running) >= ANSWERS_AT_ONCE:
            self.has_room = False
        return task

    def run_first(self, work: Coroutine[Any, Any, None]) -> None:
        """Carry out a request before any other is taken; it does not end with the stream."""
        self.has_room = False
        task = asyncio.create_task(work)
        self._first.add(task)
        task.add_done_callback(self._ran)

    def _ran(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._first.discard(task)
        self._make_room()

    def _make_room(self) -> None:
        if (
            not self.has_room
            and not self._first
            and len(self._running) < ANSWERS_AT_ONCE
            and self.waiting_bytes <= ANSWERS_BYTES
        ):
            self.has_room = True
            self._on_room()


def tell_nobody() -> None:
    """Of a client that has gone."""
