"""The transport over the embedded engine's batch extension.

Most is frames of one stream; large data goes through files where client and engine share a machine.
All else, and elsewhere large data and sessions, takes the standard calls: where the engine listens
at a socket, gRPC is imported when the first of them is made.
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import itertools
import secrets
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from armoflow import config
from armoflow.codec.container import Buffer
from armoflow.content import DataPart
from armoflow.errors import (
    DataLostError,
    MalformedError,
)
from armoflow.protocol.bundling import bundled, lay_out, results_of
from armoflow.protocol.caller import Caller
from armoflow.protocol.engine_info import EngineInfo
from armoflow.protocol.frames import (
    CONSTANT_PREFIX,
    NAME_LIMIT,
    TAKEN_OVER,
    Kind,
)
from armoflow.protocol.portions import chunks
from armoflow.protocol.result_handle import Failure, ResultChange, ResultState
from armoflow.protocol.settings import PayloadMode
from armoflow.protocol.shared_files import map_file, remove_file, write_parts
from armoflow.protocol.stream import RefusedError
from armoflow.protocol.stream_sessions import StreamSessions, encode_options
from armoflow.protocol.stream_watch import StreamWatch, read_change
from armoflow.protocol.submission import InputsAbortedError, Note, Submission, WireOptions
from armoflow.protocol.transport import EndedTasks, SharedSessions, TaskState, TaskUnderWay

if TYPE_CHECKING:
    from armoflow.protocol.standard import StandardTransport


class BatchTransport:
    """Speaks the batch extension; see :class:`~armoflow.protocol.transport.Transport`.

    Args:
        caller: Who calls, and where.
        payloads: When payloads go up, on the standard calls.
        standard: The same engine over these; None: that opens when it is needed first, and the
            stream itself tells what the engine is.
    """

    looks: Sequence[float] = (0.0,)
    batches = config.BATCHES_IN_FLIGHT
    collecting = 0.0
    round_trip = 0.0
    """What has ended before the engine knew that it is watched."""

    def __init__(
        self,
        caller: Caller,
        payloads: PayloadMode,
        standard: StandardTransport | None = None,
    ) -> None:
        self.info = EngineInfo("", (), config.CHUNK_BYTES) if standard is None else standard.info
        self.traffic = caller.traffic
        self._caller = caller
        self._payloads = payloads
        self._opened = standard
        self._said = self.info
        self._joined = standard is None
        self._ids = map((_random_prefix() + "{:012x}").format, itertools.count(1))
        self._staging: str | None = None
        self._watch = StreamWatch(lambda: self._standard.channel, caller)
        self._stream = self._watch.stream
        self._ask = self._watch.ask
        self._sessions = StreamSessions(self._stream)

    async def find_socket(self) -> bool:
        """Whether the engine can be reached at a socket, without any call."""
        return await self._stream.find_socket()

    async def start(self) -> None:
        """Connect.

        Raises:
            grpc.RpcError: UNIMPLEMENTED, if the engine does not know the extension.
            RefusedError: If it should say what it is on the stream, and does not.
        """
        said = await self._stream.start()
        if self._joined:
            self._said = await self._sessions.introduce()
        self._staging = said.get("staging")
        known = ("fences", "frees_payloads", "shares_payloads")
        said_too = {name.replace("_", "-") for name in known if said.get(name)}
        self.info = dataclasses.replace(self._said, extensions=frozenset({"batch", *said_too}))

    @property
    def shared(self) -> SharedSessions:
        """Sessions that others come back to."""
        return self._standard.shared

    @property
    def _standard(self) -> StandardTransport:
        if self._opened is None:
            # Imported here: they take longer than all that a first result takes besides.
            from armoflow.protocol.channel import open_channel
            from armoflow.protocol.credentials import Credentials
            from armoflow.protocol.standard import StandardTransport

            channel = open_channel(self._caller.settings, Credentials())
            self._opened = StandardTransport(channel, self._caller, self._said, self._payloads)
        return self._opened

    @property
    def _whole(self) -> bool:
        """Whether the stream takes what else is a call: it does at a socket."""
        return self._joined and not self._stream.calls

    async def create_session(self, options: WireOptions, partitions: Sequence[str]) -> str:
        """Open a session over these partitions; returns its id."""
        if self._whole:
            return await self._sessions.open(options, partitions)
        return await self._standard.create_session(options, partitions, leased=True)

    async def submit(
        self,
        session_id: str,
        submissions: Sequence[Submission],
        named: Callable[[], None],
        note: Note | None = None,
    ) -> None:
        """Create the results, submit the tasks, send the payloads."""
        first_try = not submissions[0].task_id
        # Whoever goes on with a run reads the payload of each of its tasks.
        bundles = self._give_ids(submissions, share=self.info.shares_payloads and note is None)
        results = results_of(bundles)
        if first_try:
            named()
        payloads, large = lay_out(bundles)
        if note is not None:
            await self._add_note(session_id, note, results, payloads)
        options: dict[WireOptions, int] = {}
        tasks = [
            (
                task.task_id,
                task.payload_id,
                list(dict.fromkeys([handle.id for handle in task.inputs])),
                [handle.id for handle in task.outputs],
                options.setdefault(task.options, len(options)),
            )
            for task in submissions
        ]
        levels = [encode_options(option) for option in options]
        submit = functools.partial(self._ask, Kind.SUBMIT, session_id)
        if note is not None:
            if self.info.fences:
                submit = functools.partial(self._ask, Kind.FENCED, session_id, note.fence)
            else:
                await note.confirm()
        if len(results) > config.RESULTS_AT_ONCE:
            results = await self._create_others(session_id, results, submissions)
        try:
            await submit(results, levels, tasks, payloads)
        except RefusedError as error:
            if error.result_ids:
                raise InputsAbortedError(error.result_ids) from error
            if note is not None and error.code == TAKEN_OVER:
                await note.confirm(anew=True)
            raise
        await asyncio.gather(
            *(self._upload(session_id, payload_id, parts) for payload_id, parts in large)
        )
        if self.info.frees_payloads:
            for task in submissions:
                task.payload_id = ""

    async def _create_others(
        self,
        session_id: str,
        results: Sequence[tuple[str, str]],
        submissions: Sequence[Submission],
    ) -> list[tuple[str, str]]:
        """Create all outputs of tasks but the first of each; returns the results that are left.

        By the first ones the engine knows a submission that is repeated.
        """
        others = {handle.id for task in submissions for handle in task.outputs[1:]}
        first = [result for result in results if result[0] in others]
        for some in chunks(first, config.RESULTS_AT_ONCE):
            await self._ask(Kind.SUBMIT, session_id, some, [], [], [])
        return [result for result in results if result[0] not in others]

    def _give_ids(
        self, submissions: Sequence[Submission], *, share: bool
    ) -> list[Sequence[Submission]]:
        """Give tasks, outputs and payloads their ids; returns the tasks by payload.

        A batch that was refused, because of its inputs or an earlier batch's, keeps its ids: what
        others submitted meanwhile names them. Payloads are named by nobody else.
        """
        for task in submissions:
            if not task.task_id:
                for handle in task.outputs:
                    handle.id = next(self._ids)
                    handle.state = ResultState.CREATED
                task.task_id = next(self._ids)
            elif task.sharers > 1:
                task.payload_id, task.sharers = "", 1
        if not share:
            bundles: list[Sequence[Submission]] = [[task] for task in submissions]
        else:
            bundles = list(bundled(submissions))
        for bundle in bundles:
            payload_id, count = bundle[0].payload_id or next(self._ids), len(bundle)
            for task in bundle:
                task.payload_id, task.sharers = payload_id, count
        return bundles

    async def lay_out(self, session_id: str, submissions: Sequence[Submission], note: Note) -> None:
        """Store what tasks would need, and do not submit them."""
        for task in submissions:  # the engine does not know ids of a batch that it refused
            task.payload_id = ""
            for handle in task.outputs:
                handle.id = ""
        await self._standard.lay_out(session_id, submissions, note)

    async def _add_note(
        self,
        session_id: str,
        note: Note,
        results: list[tuple[str, str]],
        payloads: list[tuple[str, bytes]],
    ) -> None:
        """Let a note go with its tasks; what is too large of it for that goes before them."""
        for name, data in note.lay_out():
            if len(data) > config.BATCH_BYTES:
                await self.store(session_id, name, [data])
            else:
                note_id = next(self._ids)
                results.append((note_id, CONSTANT_PREFIX + name))
                payloads.append((note_id, bytes(data)))

    async def store(
        self, session_id: str, name: str, parts: Sequence[DataPart], *, lasting: bool = False
    ) -> str:
        """Store data as a completed result; returns its id."""
        if lasting:
            return await self._standard.store(session_id, name, parts, lasting=True)
        result_id = next(self._ids)
        results = [(result_id, CONSTANT_PREFIX + name[:NAME_LIMIT])]
        if sum(map(len, parts)) > config.BATCH_BYTES:
            if await self._hand_over(session_id, result_id, parts, results):
                return result_id
            return await self._standard.store(session_id, name, parts)
        payloads = [(result_id, b"".join([part[:] for part in parts]))]
        await self._ask(Kind.SUBMIT, session_id, results, [], [], payloads)
        return result_id

    async def _upload(self, session_id: str, result_id: str, parts: Sequence[DataPart]) -> None:
        if not await self._hand_over(session_id, result_id, parts, ()):
            await self._standard.transfers.upload(session_id, result_id, parts)

    async def _hand_over(
        self,
        session_id: str,
        result_id: str,
        parts: Sequence[DataPart],
        results: Sequence[tuple[str, str]],
    ) -> bool:
        """Complete a result with a file that the engine takes over; False if that cannot be done.

        Then nothing has happened: it is on another machine, or has lost the file in a restart.
        """
        if self._staging is None:
            return False
        path = f"{self._staging}/client-{secrets.token_hex(8)}"
        try:
            with self.traffic.uploading(sum(map(len, parts))):
                size = await asyncio.to_thread(write_parts, path, parts)
        except OSError:  # not for this user to write to, or no room
            self._staging = None
            remove_file(path)
            return False
        payloads = [(result_id, [path, size])]
        try:
            await self._ask(Kind.SUBMIT, session_id, results, [], [], payloads)
        except RefusedError as error:
            remove_file(path)
            if error.code != "DATA_LOSS":
                raise
            return False
        return True

    async def import_data(
        self, session_id: str, items: Sequence[tuple[str, bytes]], *, lasting: bool = False
    ) -> list[str]:
        """Make results of data that the engine stores already: (name, opaque id) pairs."""
        return await self._standard.import_data(session_id, items, lasting=lasting)

    async def located(
        self, session_id: str, result_ids: Sequence[str]
    ) -> dict[str, tuple[bytes, int]]:
        """Opaque id and size of the data of completed results, by result id."""
        return await self._standard.located(session_id, result_ids)

    def watch(self, session_id: str) -> AsyncGenerator[Sequence[ResultChange], None]:
        """Changes of outputs, for ever; an empty batch says: (re)connected, poll what is open."""
        return self._watch.watch(session_id)

    def listen(self, hear: Callable[[list[Any]], None], stored: int | None) -> None:
        """Have it told what the tasks of all sessions write, from the next session on."""
        self._watch.listening = True
        self._stream.heard = hear

    async def under_way(self, session_id: str) -> Sequence[TaskUnderWay]:
        """The tasks that run, and those that were lost and taken up again; not all of very many."""
        return await self._standard.under_way(session_id)

    async def longest_running(self, session_id: str) -> Sequence[str]:
        """The ids of the tasks that run: of very many, of those that have run for longest."""
        return await self._standard.longest_running(session_id)

    async def repeated(self, session_id: str) -> Mapping[str, int]:
        """How often items were tried again in tasks that have ended, by their names."""
        return await self._standard.repeated(session_id)

    async def catch_up(self, session_id: str) -> None:
        """Nothing to do: it is told before the tasks' ends."""

    def watch_again(self, session_id: str) -> None:
        """Nothing to do: the stream notices by itself when it is dead."""

    async def poll(self, session_id: str, result_ids: Sequence[str]) -> Sequence[ResultChange]:
        """The final ones among these results."""
        changes: list[ResultChange] = []
        for ids in chunks(result_ids, config.FRAME_ASKED):
            changes.extend(map(read_change, await self._stream.request(Kind.POLL, ids)))
        return changes

    async def fetch(
        self, session_id: str, result_ids: Sequence[str]
    ) -> list[Buffer | DataLostError]:
        """Fetch results, in order; files of the same machine are mapped."""
        answers = await self._stream.request(Kind.FETCH, list(result_ids))
        if len(answers) != len(result_ids):
            raise MalformedError(f"{len(answers)} answers for {len(result_ids)} results")
        return [
            await self._content(session_id, result_id, answer)
            for result_id, answer in zip(result_ids, answers, strict=True)
        ]

    async def failures(self, session_id: str, result_ids: Sequence[str]) -> dict[str, Failure]:
        """Why results were aborted."""
        failures: dict[str, Failure] = {}
        for ids in chunks(result_ids, config.BATCH_TASKS):
            answers = await self._stream.request(Kind.FAILURES, ids)
            failures.update((result_id, Failure(*rest)) for result_id, *rest in answers)
        return failures

    async def producer(self, session_id: str, result_id: str) -> tuple[str, str]:
        """The task that made a result, and the partition in which it ran."""
        return await self._standard.producer(session_id, result_id)

    async def task_error(self, task_id: str) -> str:
        """The error of a task, as whole as the engine has it."""
        return await self._standard.task_error(task_id)

    async def ended_tasks(self, session_id: str, tasks: Mapping[str, Sequence[str]]) -> EndedTasks:
        """All of them: a task ends with its results."""
        return EndedTasks(set(tasks), {})

    async def durations(self, task_ids: Sequence[str]) -> dict[str, float | None]:
        """Nothing: changes say how long tasks ran."""
        return {}

    async def count_tasks(self, session_id: str, partition: str) -> Mapping[TaskState, int]:
        """How many tasks are in which state."""
        return await self._standard.count_tasks(session_id, partition)

    async def delete(self, session_id: str, result_ids: Sequence[str]) -> None:
        """Delete the data of results."""
        for ids in chunks(result_ids, config.FRAME_ASKED):
            await self._stream.request(Kind.DELETE, ids)

    async def cancel_tasks(self, session_id: str, task_ids: Sequence[str]) -> None:
        """Cancel tasks that have not ended."""
        for ids in chunks(task_ids, config.FRAME_ASKED):
            await self._stream.request(Kind.CANCEL, ids)

    async def cancel_session(self, session_id: str) -> None:
        """Cancel everything in a session."""
        if self._whole:
            await self._sessions.cancel(session_id)
        else:
            await self._standard.cancel_session(session_id)

    async def end_session(self, session_id: str) -> None:
        """Close a session, and delete the data that need not stay."""
        if self._whole:
            await self._sessions.close(session_id)
        else:
            await self._standard.end_session(session_id, tidied=True)

    async def close(self) -> None:
        """Close the connection."""
        self._watch.stop()
        await self._stream.close()
        if self._opened is not None:
            await self._opened.close()

    async def _content(
        self, session_id: str, result_id: str, answer: Any
    ) -> Buffer | DataLostError:
        if isinstance(answer, bytes):
            return answer
        if answer is None:
            return DataLostError(f"the data of result {result_id} is no longer stored")
        if answer:
            try:
                return map_file(answer[0], answer[1])
            except OSError:  # not the same file system after all
                pass
        (content,) = await self._standard.fetch(session_id, [result_id])
        return content


def _random_prefix() -> str:
    digits = secrets.token_hex(10)
    return f"{digits[:8]}-{digits[8:12]}-4{digits[12:15]}-8{digits[15:18]}-"
