"""The batch extension: many steps in one frame, on one stream for each client.

The frames are described in :mod:`armoflow.protocol.frames`. Nothing here can do what the standard
services cannot: the commands are the state machine's own, in the order of the standard calls.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import Any

import grpc
import msgpack

from armoflow.codec.clipping import short_error
from armoflow.config import INLINE_DATA_LIMIT, MIB, STATUS_TEXT_LIMIT
from armoflow.engine.core import Engine
from armoflow.engine.faults import StorageError
from armoflow.engine.objects import is_file
from armoflow.engine.options import decode_options
from armoflow.engine.records import (
    Changes,
    NewResult,
    NewTask,
    ResultRecord,
    ResultStatus,
    StateError,
    Stored,
    TaskRecord,
)
from armoflow.engine.services.answers import Answers, status_name
from armoflow.engine.sweeper import SLICE
from armoflow.engine.watchers import ResultChange, Watcher, WatcherOverflowError
from armoflow.errors import MalformedError, OptionError
from armoflow.protocol.frames import (
    OUTPUT_PREFIX,
    REQUESTS,
    SERVICE,
    SESSION_ENDED,
    VERSION,
    WANTED_PREFIX,
    Kind,
    unpack,
)
from armoflow.protocol.shapes import SIZE

logger = logging.getLogger(__name__)

OUTBOX_BYTES = 64 * MIB
"""Bytes that wait for a client that does not read, before its stream is ended."""

ANSWERS_BYTES = 16 * MIB
"""Bytes that wait for a client, before no more of its requests are taken."""

ANSWERS_AT_ONCE = 64
"""Requests whose answers are being read, before no more are taken."""

_NAMES = {int(kind): kind.name for kind in Kind}

SHOWN = 60
"""Characters of a malformed frame that are shown."""


class ExtensionService:
    """Serves the streams."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._connections: set[_Connection] = set()
        self._closing = False

    def register(self, server: Any) -> None:
        """Add the service to a gRPC server."""
        handler = grpc.stream_stream_rpc_method_handler(self.connect)
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(SERVICE, {"Connect": handler}),)
        )

    async def connect(self, requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        """One client's stream."""
        connection = _Connection(self._engine)
        self._connections.add(connection)
        reading = asyncio.create_task(connection.read(requests))
        reading.add_done_callback(lambda _: connection.close())
        try:
            async for message in connection.messages():
                yield message
            if reading.done() and not reading.cancelled():
                reading.result()  # what could not be read ends this stream, with that status
            if self._closing:
                await context.abort(grpc.StatusCode.UNAVAILABLE, "the engine is shutting down")
            if connection.overflowed:
                await context.abort(grpc.StatusCode.UNAVAILABLE, "the client does not read")
        finally:
            self._connections.discard(connection)
            reading.cancel()
            connection.close()
            connection.leave()

    def close(self) -> None:
        """End all streams."""
        self._closing = True
        for connection in list(self._connections):
            connection.close()


class _Connection:
    """One stream: frames in, frames out."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._packer = msgpack.Packer(use_bin_type=True)
        self._outbox: list[bytes] = []
        self._outbox_bytes = 0
        self._available = asyncio.Event()
        self._closed = False
        self.overflowed = False
        self._local = False
        self._answers = Answers(engine)
        self._watchers: dict[str, Watcher[ResultChange]] = {}
        self._held: list[str] = []
        self._running: set[asyncio.Task[None]] = set()
        self._room = asyncio.Event()
        self._room.set()
        self._promised: dict[object, int] = {}
        engine.fault_listeners.add(self._on_fault)
        self._handlers: dict[int, Callable[..., Any]] = {
            Kind.HELLO: self._hello,
            Kind.WATCH: self._watch,
            Kind.SUBMIT: self._submit,
            Kind.FETCH: self._fetch,
            Kind.POLL: self._poll,
            Kind.FAILURES: self._failures,
            Kind.DELETE: self._delete,
            Kind.CANCEL: self._cancel,
        }

    # --- the stream -----------------------------------------------------------------------------

    async def read(self, requests: AsyncIterator[bytes]) -> None:
        """Take the client's frames until it ends the stream."""
        async for message in requests:
            try:
                for frame in unpack(message):
                    if not self._room.is_set():
                        await self._room.wait()
                    self._take(frame)
            except MalformedError as error:
                raise StateError("INVALID_ARGUMENT", str(error)) from error

    async def messages(self) -> AsyncIterator[bytes]:
        """What goes to the client: all frames that have gathered, as one message."""
        while True:
            await self._available.wait()
            if self._outbox:
                message = b"".join(self._outbox)
                self._outbox.clear()
                self._outbox_bytes = 0
                self._make_room()
                yield message
            elif self._closed:
                return
            else:
                self._available.clear()

    def close(self) -> None:
        """End the stream once what waits has been sent."""
        self._closed = True
        self._engine.fault_listeners.discard(self._on_fault)
        watchers, self._watchers = self._watchers, {}
        for watcher in watchers.values():
            watcher.close()
        for task in self._running:
            task.cancel()
        self._available.set()

    def leave(self) -> None:
        """The stream has ended: the leases of its sessions run."""
        held, self._held = self._held, []
        for session_id in held:
            self._engine.leases.release(session_id)

    def _take(self, frame: Any) -> None:
        """Carry out a request; one that is refused, or makes no sense, changes nothing.

        Raises:
            MalformedError: If it has no number to answer it by.
        """
        number: Any = frame[0] if isinstance(frame, list) and frame else None
        if not SIZE.fits(number):
            raise MalformedError(f"a frame does not begin with its number: {repr(frame)[:SHOWN]}")
        kind: Any = frame[1] if len(frame) > 1 else None
        handler = self._handlers.get(kind) if type(kind) is int else None
        if handler is None:
            text = f"request {number} is of an unknown kind, {repr(kind)[:SHOWN]}"
            self._refuse(number, StateError("INVALID_ARGUMENT", text))
            return
        arguments = frame[2:]
        try:
            REQUESTS[kind].check(arguments, _NAMES[kind])
            if kind == Kind.SUBMIT and self._engine.fault is not None:
                self._run(self._take_if_admitted(number, frame))
                return
            handler(number, *arguments)
        except StateError as error:
            self._refuse(number, error)
        except (MalformedError, OptionError) as error:
            self._refuse(number, StateError("INVALID_ARGUMENT", str(error)))
        except Exception as error:
            logger.exception("%s failed", _NAMES[kind])
            text = f"{_NAMES[kind]} failed: {type(error).__name__}: {error}"
            self._refuse(number, StateError("INTERNAL", text))

    async def _take_if_admitted(self, number: int, frame: Any) -> None:
        try:
            await self._engine.admit()
        except StateError as error:
            self._refuse(number, error)
        else:
            self._take(frame)

    def _send(self, frame: Any) -> None:
        if self._closed:
            return  # nobody reads it any more
        data = self._packer.pack(frame)
        self._outbox.append(data)
        self._outbox_bytes += len(data)
        self._available.set()
        if self._outbox_bytes > ANSWERS_BYTES:
            self._room.clear()
        if self._outbox_bytes > OUTBOX_BYTES:
            logger.warning("a client does not read: its stream is ended")
            self._overflow()

    def _overflow(self) -> None:
        """End the stream of a client that does not read; what waits is told again on the next."""
        self.overflowed = True
        self._outbox.clear()
        self._outbox_bytes = 0
        self.close()

    def _reply(self, number: int, value: Any = None) -> None:
        self._send([number, Kind.OK, value])

    def _refuse(self, number: int, error: StateError) -> None:
        ids = list(getattr(error, "result_ids", None) or ())
        self._send([number, Kind.REFUSED, error.code, str(error)[:STATUS_TEXT_LIMIT], ids])

    def _reply_when(self, number: int, committed: asyncio.Future[None], value: Any = None) -> None:
        if self._engine.fault is not None:
            self._refuse(number, self._engine.fault)
            return
        promise = object()  # a client may use a number twice
        self._promised[promise] = number

        def done(future: asyncio.Future[None]) -> None:
            if self._promised.pop(promise, None) is None:
                return
            if future.cancelled() or future.exception() is not None:
                self._refuse(number, StateError("INTERNAL", "the journal could not be written"))
            else:
                self._reply(number, value)

        committed.add_done_callback(done)

    def _on_fault(self, fault: StorageError) -> None:
        """What was promised to be told when it is committed may not be for long: say so."""
        promised, self._promised = self._promised, {}
        for number in promised.values():
            self._refuse(number, fault)

    def _start(self, number: int, work: Any) -> None:
        async def run() -> None:
            try:
                self._reply(number, await work)
            except StateError as error:
                self._refuse(number, error)
            except Exception as error:
                logger.exception("an answer failed")
                text = f"the answer cannot be given: {type(error).__name__}: {error}"
                self._refuse(number, StateError("INTERNAL", text))

        self._run(run())

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._ran)
        if self._is_busy():
            self._room.clear()

    def _ran(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._make_room()

    def _make_room(self) -> None:
        if not self._is_busy() and self._outbox_bytes <= ANSWERS_BYTES:
            self._room.set()

    def _is_busy(self) -> bool:
        return len(self._running) >= ANSWERS_AT_ONCE + len(self._watchers)

    # --- requests -------------------------------------------------------------------------------

    def _hello(self, number: int, version: int, local: bool) -> None:
        if version != VERSION:
            raise StateError(
                "FAILED_PRECONDITION",
                f"this engine speaks version {VERSION} of the extension, not {version}",
            )
        self._local = local
        engine = self._engine
        said: dict[str, Any] = {"frees_payloads": engine.options.delete_payload}
        if local:
            said["staging"] = str(engine.objects.staging)
        self._reply(number, said)

    def _watch(self, number: int, session_id: str) -> None:
        if session_id not in self._engine.state.sessions:
            raise StateError("NOT_FOUND", f"session {session_id!r} does not exist")
        self._check_lease(session_id)
        if session_id not in self._watchers:  # once is enough
            self._held.append(session_id)
            self._engine.leases.hold(session_id)
            watcher = self._watchers[session_id] = self._engine.watch_results(session_id)
            self._run(self._tell(watcher))
        self._reply(number)

    def _submit(  # noqa: PLR0917 - a frame's elements, in order
        self,
        number: int,
        session_id: str,
        results: Sequence[Any],
        options: Sequence[Any],
        tasks: Sequence[Any],
        payloads: Sequence[Any],
    ) -> None:
        self._check_lease(session_id)
        engine = self._engine
        levels = [decode_options(level) for level in options]
        if tasks and max([level for *_, level in tasks]) >= len(levels):
            raise MalformedError(f"SUBMIT.tasks name options beyond the {len(levels)} given")
        new_tasks = [
            NewTask(task_id, payload_id, dependencies, outputs, levels[level])
            for task_id, payload_id, dependencies, outputs, level in tasks
        ]
        queued = bool(tasks)
        stored: list[tuple[str, Stored]] = []
        created = {result_id for result_id, _ in results}
        try:
            for result_id, data in payloads:
                if isinstance(data, bytes):
                    stored.append((result_id, engine.objects.put(data, queued=queued)))
                elif (taken := self._take_over(result_id, data, created)) is not None:
                    stored.append((result_id, taken))
            changes = engine.state.submit_with_data(
                engine.now(),
                session_id,
                # Names are few, and the frame has one for each result.
                [NewResult(result_id, sys.intern(name)) for result_id, name in results],
                new_tasks,
                stored,
            )
        except BaseException:
            engine.objects.delete([data.opaque_id for _, data in stored])
            raise
        # A submission is news to nobody: its commit may wait for that of its first results.
        self._reply_when(number, engine.apply(changes, urgent=not tasks))

    def _check_lease(self, session_id: str) -> None:
        refusal = self._engine.leases.refusal(session_id)
        if refusal is not None:
            raise StateError(SESSION_ENDED, refusal)

    def _take_over(self, result_id: str, file: Sequence[Any], new: set[str]) -> Stored | None:
        """Take over a file that the client has written; None if an earlier try has done so.

        Raises:
            StateError: DATA_LOSS, if it is not there.
        """
        path, size = file
        try:
            return self._engine.objects.take_over(path, size)
        except FileNotFoundError:
            record = self._engine.state.results.get(result_id)
            missing = result_id in new if record is None else record.status is ResultStatus.CREATED
            if missing:
                text = f"the file {path} for result {result_id} is gone: upload the data"
                raise StateError("DATA_LOSS", text) from None
            return None

    def _fetch(self, number: int, result_ids: Sequence[str]) -> None:
        self._start(number, self._answers.fetch(result_ids, local=self._local))

    def _poll(self, number: int, result_ids: Sequence[str]) -> None:
        self._start(number, self._answers.poll(result_ids))

    def _failures(self, number: int, result_ids: Sequence[str]) -> None:
        self._start(number, self._answers.failures(result_ids))

    def _delete(self, number: int, result_ids: Sequence[str]) -> None:
        engine = self._engine
        if len(result_ids) > SLICE:
            self._start(number, self._in_slices(result_ids, engine.state.delete_results))
            return
        changes = engine.state.delete_results(engine.now(), result_ids)
        # Files take room until the commit; the rest may wait for other changes.
        urgent = any(map(is_file, changes.deleted))
        self._reply_when(number, engine.apply(changes, urgent=urgent))

    def _cancel(self, number: int, task_ids: Sequence[str]) -> None:
        engine = self._engine
        if len(task_ids) > SLICE:
            self._start(number, self._in_slices(task_ids, engine.state.cancel_tasks))
            return
        changes = engine.state.cancel_tasks(engine.now(), task_ids)
        self._reply_when(number, engine.apply(changes))

    async def _in_slices(
        self, ids: Sequence[str], command: Callable[[float, Sequence[str]], Changes]
    ) -> None:
        engine = self._engine
        changing = engine.sweeper.in_slices(
            ids, lambda part: command(engine.now(), part), urgent=True
        )
        await engine.promise(changing)

    # --- changes --------------------------------------------------------------------------------

    async def _tell(self, watcher: Watcher[ResultChange]) -> None:
        try:
            async for batch in watcher:
                changes = [
                    self._change(record, status, owner)
                    for record, status, owner in batch
                    if record.name.startswith(OUTPUT_PREFIX)
                ]
                if changes:
                    self._send([0, Kind.CHANGES, watcher.session_id, changes])
        except WatcherOverflowError as error:
            logger.warning("%s", error)
            self._overflow()

    def _change(self, record: ResultRecord, status: int, owner: TaskRecord | None) -> list[Any]:
        data = failure = seconds = None
        if status == ResultStatus.COMPLETED:
            if record.size <= INLINE_DATA_LIMIT and record.name.startswith(WANTED_PREFIX):
                found = self._engine.objects.peek(record.opaque_id)
                data = found if isinstance(found, bytes) else None
            if owner is not None and owner.ended_at and owner.started_at:
                seconds = owner.ended_at - owner.started_at
        elif status == ResultStatus.ABORTED and owner is not None and owner.error:
            failure = [owner.id, status_name(owner), short_error(owner.error)]
        return [record.id, int(status), record.size, data, failure, seconds]
