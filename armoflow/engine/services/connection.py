"""One client's batch stream: frames in, frames out, whatever carries them.

The frames are described in :mod:`armoflow.protocol.frames`. Nothing here can do what the standard
services cannot: the commands are the state machine's own, in the order of the standard calls.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from armoflow.agent.passages import Passage
from armoflow.codec.clipping import short_error
from armoflow.config import INLINE_DATA_LIMIT, OUTPUT_WAITING
from armoflow.engine.core import Engine
from armoflow.engine.data_files import unlink
from armoflow.engine.engine_options import decode_options
from armoflow.engine.objects import is_file
from armoflow.engine.records import (
    Changes,
    Event,
    NewResult,
    NewTask,
    ResultRecord,
    ResultStatus,
    StateError,
    Stored,
    make_tuple,
)
from armoflow.engine.services.answers import Answers, status_name
from armoflow.engine.services.call_log import CallLog
from armoflow.engine.services.replies import Replies, tell_nobody
from armoflow.engine.services.session_requests import SessionRequests
from armoflow.engine.sweeper import SLICE
from armoflow.engine.uploads import places_of_much
from armoflow.engine.watchers import Listener
from armoflow.errors import MalformedError, OptionError
from armoflow.protocol.frames import (
    CACHED_PREFIX,
    OUTPUT,
    REQUESTS,
    SESSION_ENDED,
    VERSION,
    WANTED_PREFIXES,
    Kind,
)
from armoflow.protocol.shapes import SIZE

logger = logging.getLogger(__name__)

_NAMES = {int(kind): kind.name for kind in Kind}
_SUBMISSIONS = (Kind.SUBMIT, Kind.FENCED)

ENDING = "the engine is shutting down"
NOT_READING = "the client does not read"
"""Why streams are ended."""

TURN = 0.005
"""Seconds for which one stream's requests are taken before others have their turn."""

SHOWN = 60
"""Characters of a malformed frame that are shown."""


class _Written(NamedTuple):
    """Large data of a request, in a file of its own."""

    path: Path
    size: int


class Connection:
    """One stream.

    Args:
        engine: The engine.
        on_frames: Called when there are frames to send, or never will be any more.
        on_room: Called when requests are taken again after some were left.
        calls: Counts what is asked for instead of by calls; None: that is not taken here.

    Attributes:
        replies: What goes back to the client.
    """

    def __init__(
        self,
        engine: Engine,
        on_frames: Callable[[], None],
        on_room: Callable[[], None],
        calls: CallLog | None = None,
    ) -> None:
        self._engine = engine
        self._on_room = on_room
        self.replies = Replies(engine, on_frames, on_room, self.close)
        self._local = False
        self._answers = Answers(engine)
        self._listeners: dict[str, Listener] = {}
        self._outputs: dict[str, Callable[[], None]] = {}
        self._untold = 0
        self._held: list[str] = []
        self._handlers: dict[int, Callable[..., Any]] = {
            Kind.HELLO: self._hello,
            Kind.WATCH: self._watch,
            Kind.SUBMIT: self._submit,
            Kind.FETCH: self._fetch,
            Kind.POLL: self._poll,
            Kind.FAILURES: self._failures,
            Kind.DELETE: self._delete,
            Kind.CANCEL: self._cancel,
            Kind.LISTEN: self._listen,
            Kind.FENCED: self._submit_fenced,
        }
        if calls is not None:
            self._handlers |= SessionRequests(engine, calls, self.replies).handlers

    # --- the stream -----------------------------------------------------------------------------

    def take(self, frames: Iterator[Any]) -> bool:
        """Take requests as far as there is room, and it is not others' turn.

        Returns:
            False if some may be left: it is told when these are taken.

        Raises:
            MalformedError: When it comes to what cannot be answered.
        """
        if not self.replies.has_room:
            return False
        until = time.monotonic() + TURN
        for frame in frames:
            self._take(frame)
            if not self.replies.has_room:
                return False
            if time.monotonic() > until:
                asyncio.get_running_loop().call_soon(self._on_room)
                return False
        return True

    def close(self) -> None:
        """End the stream once what waits has been sent."""
        self.replies.close()
        listeners, self._listeners = self._listeners, {}
        for listener in listeners.values():
            listener.close()
        for end in self._outputs.values():
            end()
        self._outputs.clear()

    def leave(self) -> None:
        """The stream has ended: the leases of its sessions run.

        What it held is let go at once: nothing leads from its parts in a circle any more.
        """
        self.replies.leave()
        self._on_room = tell_nobody
        self._handlers.clear()
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
            self.replies.refuse(number, StateError("INVALID_ARGUMENT", text))
            return
        self._carry_out(number, frame, handler, checked=False)

    def _carry_out(
        self, number: int, frame: Any, handler: Callable[..., Any], *, checked: bool
    ) -> None:
        kind, arguments = frame[1], frame[2:]
        try:
            if not checked:
                REQUESTS[kind].check(arguments, _NAMES[kind])
                if kind in _SUBMISSIONS and not self._engine.admission.is_open:
                    self.replies.run(self._take_if_admitted(number, frame))
                    return
                if kind in _SUBMISSIONS and (
                    large := places_of_much([data for _, data in arguments[-1]])
                ):
                    self._write_first(number, frame, handler, large)
                    return
            handler(number, *arguments)
        except StateError as error:
            self.replies.refuse(number, error)
        except (MalformedError, OptionError) as error:
            self.replies.refuse(number, StateError("INVALID_ARGUMENT", str(error)))
        except Exception as error:
            logger.exception("%s failed", _NAMES[kind])
            text = f"{_NAMES[kind]} failed: {type(error).__name__}: {error}"
            self.replies.refuse(number, StateError("INTERNAL", text))

    def _write_first(
        self, number: int, frame: Any, handler: Callable[..., Any], large: Sequence[int]
    ) -> None:
        """Carry out a submission once a thread has written what is large; others wait behind."""
        payloads, written = frame[-1], list[Path]()

        def write() -> None:
            for place in large:
                result_id, data = payloads[place]
                path = self._engine.objects.write_staged(data)
                written.append(path)
                payloads[place] = (result_id, _Written(path, len(data)))

        async def write_and_submit() -> None:
            try:
                await asyncio.to_thread(write)
                if not self.replies.closed:
                    self._carry_out(number, frame, handler, checked=True)
            except StateError as error:
                self.replies.refuse(number, error)
            except Exception as error:
                self.replies.fail(number, error)
            finally:
                unlink(written)  # those that were adopted are elsewhere

        self.replies.run_first(write_and_submit())

    async def _take_if_admitted(self, number: int, frame: Any) -> None:
        try:
            await self._engine.admission.admit()
        except StateError as error:
            self.replies.refuse(number, error)
        else:
            self._take(frame)

    # --- requests -------------------------------------------------------------------------------

    def _hello(self, number: int, version: int, local: bool) -> None:
        if version != VERSION:
            raise StateError(
                "FAILED_PRECONDITION",
                f"this engine speaks version {VERSION} of the extension, not {version}",
            )
        self._local = local
        engine = self._engine
        said: dict[str, Any] = {
            "fences": True,
            "frees_payloads": engine.options.delete_payload,
            "shares_payloads": not engine.options.strict,
        }
        if local:
            said["staging"] = str(engine.objects.staging)
        self.replies.reply(number, said)

    def _watch(self, number: int, session_id: str) -> None:
        if session_id not in self._engine.state.sessions:
            raise StateError("NOT_FOUND", f"session {session_id!r} does not exist")
        self._check_lease(session_id)
        if session_id not in self._listeners:  # once is enough
            self._held.append(session_id)
            self._engine.leases.hold(session_id)
            self._listeners[session_id] = self._engine.listen(session_id, self._tell)
        self.replies.reply(number)

    def _submit(  # noqa: PLR0917 - a frame's elements, in order
        self,
        number: int,
        session_id: str,
        results: Sequence[Any],
        options: Sequence[Any],
        tasks: Sequence[Any],
        payloads: Sequence[Any],
        unless: str = "",
    ) -> None:
        self._check_lease(session_id)
        engine = self._engine
        levels = [decode_options(level) for level in options]
        if tasks and max([task[-1] for task in tasks]) >= len(levels):
            raise MalformedError(f"SUBMIT.tasks name options beyond the {len(levels)} given")
        new_tasks = [
            make_tuple(NewTask, (task_id, payload_id, dependencies, outputs, levels[level]))
            for task_id, payload_id, dependencies, outputs, level in tasks
        ]
        # Names are few, and the frame has one for each result.
        named = {
            name: (sys.intern(name), name.startswith(CACHED_PREFIX))
            for name in {name for _, name in results}
        }
        new_results = [
            make_tuple(NewResult, (result_id, *named[name], None)) for result_id, name in results
        ]
        queued = bool(tasks)
        stored: list[tuple[str, Stored]] = []
        try:
            for result_id, data in payloads:
                if isinstance(data, bytes):
                    stored.append((result_id, engine.objects.put(data, queued=queued)))
                elif isinstance(data, _Written):
                    stored.append((result_id, engine.objects.adopt(data.path, data.size)))
                elif (taken := self._take_over(result_id, data, results)) is not None:
                    stored.append((result_id, taken))
            changes = engine.state.submit_with_data(
                engine.now(), session_id, new_results, new_tasks, stored, unless=unless
            )
        except BaseException:
            engine.objects.delete([data.opaque_id for _, data in stored])
            raise
        # A submission is news to nobody: its commit may wait for that of its first results.
        self.replies.reply_when(number, engine.apply(changes, urgent=not tasks))

    def _submit_fenced(self, number: int, session_id: str, name: str, *submitted: Any) -> None:
        results, options, tasks, payloads = submitted
        self._submit(number, session_id, results, options, tasks, payloads, name)

    def _check_lease(self, session_id: str) -> None:
        refusal = self._engine.leases.refusal(session_id)
        if refusal is not None:
            raise StateError(SESSION_ENDED, refusal)

    def _take_over(self, result_id: str, file: Sequence[Any], new: Sequence[Any]) -> Stored | None:
        """Take over a file that the client has written; None if an earlier try has done so.

        Raises:
            StateError: DATA_LOSS, if it is not there.
        """
        path, size = file
        try:
            return self._engine.objects.take_over(path, size)
        except FileNotFoundError:
            record = self._engine.state.results.get(result_id)
            is_new = any(result_id == new_id for new_id, _ in new)
            if is_new if record is None else record.status is ResultStatus.CREATED:
                text = f"the file {path} for result {result_id} is gone: upload the data"
                raise StateError("DATA_LOSS", text) from None
            return None

    def _fetch(self, number: int, result_ids: Sequence[str]) -> None:
        self.replies.answer(number, self._answers.fetch(result_ids, local=self._local))

    def _poll(self, number: int, result_ids: Sequence[str]) -> None:
        self.replies.answer(number, self._answers.poll(result_ids))

    def _failures(self, number: int, result_ids: Sequence[str]) -> None:
        self.replies.answer(number, self._answers.failures(result_ids))

    def _delete(self, number: int, result_ids: Sequence[str]) -> None:
        engine = self._engine
        if len(result_ids) > SLICE or engine.kept_data.spares:
            self.replies.answer(number, self._delete_going(result_ids))
            return
        changes = engine.state.delete_results(engine.now(), result_ids)
        # Files take room until the commit; the rest may wait for other changes.
        urgent = any(map(is_file, changes.deleted))
        self.replies.reply_when(number, engine.apply(changes, urgent=urgent))

    async def _delete_going(self, result_ids: Sequence[str]) -> None:
        going = await self._engine.kept_data.going(result_ids)
        await self._in_slices(going, self._engine.state.delete_results)

    def _cancel(self, number: int, task_ids: Sequence[str]) -> None:
        engine = self._engine
        if len(task_ids) > SLICE:
            self.replies.answer(number, self._in_slices(task_ids, engine.state.cancel_tasks))
            return
        changes = engine.state.cancel_tasks(engine.now(), task_ids)
        self.replies.reply_when(number, engine.apply(changes))

    async def _in_slices(
        self, ids: Sequence[str], command: Callable[[float, Sequence[str]], Changes]
    ) -> None:
        engine = self._engine
        changing = engine.sweeper.in_slices(
            ids, lambda part: command(engine.now(), part), urgent=True
        )
        await engine.admission.promise(changing)

    def _listen(self, number: int, session_id: str) -> None:
        if session_id not in self._engine.state.sessions:
            raise StateError("NOT_FOUND", f"session {session_id!r} does not exist")
        if session_id not in self._outputs:
            tell = partial(self._tell_output, session_id)
            self._outputs[session_id] = self._engine.task_output.listen(session_id, tell)
        self.replies.reply(number)

    def _tell_output(self, session_id: str, passages: Sequence[Passage]) -> None:
        """Tell what tasks have written, unless the client is behind already."""
        if self.replies.waiting_bytes > OUTPUT_WAITING:
            self._untold += sum(one.text.count("\n") + 1 for one in passages)
            return
        told: list[list[Any]] = [
            [writer.task_id, writer.name, level, logger, text]
            for writer, level, logger, text in passages
        ]
        if self._untold:
            text = f"[{self._untold:,} lines left out: the client reads too slowly]"
            told.insert(0, ["", "", logging.WARNING, "armoflow", text])
            self._untold = 0
        self.replies.send([0, Kind.PASSAGES, session_id, told])

    # --- changes --------------------------------------------------------------------------------

    def _tell(self, session_id: str, batch: Sequence[Event]) -> None:
        try:
            changes = [
                self._change(record, status)
                for _, record, status in batch
                if isinstance(record, ResultRecord) and record.name.startswith(OUTPUT)
            ]
            if changes:
                self.replies.send([0, Kind.CHANGES, session_id, changes])
        except Exception:  # that is no fault of the commit that is told of: the client asks again
            logger.exception("changes could not be told: the stream is ended")
            self.replies.overflow()

    def _change(self, record: ResultRecord, status: int) -> list[Any]:
        data = failure = seconds = None
        if status == ResultStatus.DELETED:
            return [record.id, int(status), record.size, None, None, None]
        owner = self._engine.state.tasks.get(record.owner_task_id)
        if status == ResultStatus.COMPLETED:
            if record.size <= INLINE_DATA_LIMIT and record.name.startswith(WANTED_PREFIXES):
                found = self._engine.objects.peek(record.opaque_id)
                data = found if isinstance(found, bytes) else None
            # A child that was handed the output has run a part of it only.
            if owner is not None and owner.ended_at and owner.started_at and not owner.created_by:
                seconds = owner.ended_at - owner.started_at
        elif status == ResultStatus.ABORTED and owner is not None and owner.error:
            failure = [owner.id, status_name(owner), short_error(owner.error)]
        return [record.id, int(status), record.size, data, failure, seconds]
