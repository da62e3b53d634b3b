"""The transport over the calls that every ArmoniK serves."""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import grpc
from armonik.protogen.client import (
    events_service_pb2_grpc,
    results_service_pb2_grpc,
    sessions_service_pb2_grpc,
    tasks_service_pb2_grpc,
)
from armonik.protogen.common import (
    result_status_pb2,
    results_common_pb2,
    sessions_common_pb2,
    tasks_common_pb2,
)

from armoflow import config
from armoflow.codec.container import Buffer
from armoflow.codec.written import PREFIX as WRITTEN_PREFIX
from armoflow.content import DataPart
from armoflow.errors import DataLostError, EngineError
from armoflow.protocol import messages
from armoflow.protocol.caller import Caller
from armoflow.protocol.deleting import FAULTS, Deletions
from armoflow.protocol.ended_results import EndedResults
from armoflow.protocol.endings import Endings
from armoflow.protocol.engine_info import EngineInfo
from armoflow.protocol.frames import CONSTANT_PREFIX, LEASE, NAME_LIMIT, OUTPUT, TIDY
from armoflow.protocol.item_logs import RepeatedItems
from armoflow.protocol.openings import Openings
from armoflow.protocol.portions import LIST_SIZE, chunks, without_repetition
from armoflow.protocol.refusals import refusal
from armoflow.protocol.remains import Remains
from armoflow.protocol.repeat import repeat, unary
from armoflow.protocol.result_events import ResultEvents
from armoflow.protocol.result_handle import Failure, ResultChange, ResultState
from armoflow.protocol.rpc_errors import DONE_ALREADY
from armoflow.protocol.settings import PayloadMode
from armoflow.protocol.shared_sessions import StandardSharedSessions
from armoflow.protocol.standard_submitter import StandardSubmitter
from armoflow.protocol.submission import Note, Submission, WireOptions, labelled
from armoflow.protocol.transfers import Transfers
from armoflow.protocol.transport import EndedTasks, SharedSessions, TaskState, TaskUnderWay

if TYPE_CHECKING:
    from armoflow.protocol.written_results import WrittenOutput

logger = logging.getLogger(__name__)


class StandardTransport:
    """Speaks to an engine over a channel; see :class:`~armoflow.protocol.transport.Transport`.

    Args:
        channel: An open channel.
        caller: Who calls, and where: for words about what goes wrong.
        info: What the engine says of itself (see :mod:`armoflow.protocol.connect`).
        payloads: When payloads go up.
        another: Opens another channel to the same engine, for data; None: there is only that one.

    Attributes:
        channel: The channel.
    """

    looks: Sequence[float] = config.LOOKS
    batches = config.CALLS_IN_FLIGHT
    collecting = config.COLLECTING
    round_trip = 0.0

    def __init__(
        self,
        channel: grpc.aio.Channel,
        caller: Caller,
        info: EngineInfo,
        payloads: PayloadMode = "auto",
        another: Callable[[], grpc.aio.Channel] | None = None,
    ) -> None:
        self.info = info
        self.caller = caller
        self.traffic = caller.traffic
        self.channel = channel
        self._sessions = sessions_service_pb2_grpc.SessionsStub(channel)
        self._results = results_service_pb2_grpc.ResultsStub(channel)
        self._tasks = tasks_service_pb2_grpc.TasksStub(channel)
        self._openings = Openings(self, self._sessions)
        self._endings = Endings(self, self._tasks)
        self._remains = Remains(self, self._results, self._tasks)
        self._ended_results = EndedResults(self, self._results)
        self._repeated = RepeatedItems(self, self._results)
        self._events = ResultEvents(self, events_service_pb2_grpc.EventsStub(channel))
        self._deletions = Deletions(self, self._results)
        self.shared: SharedSessions = StandardSharedSessions(self, self._sessions, self._results)
        self.transfers = Transfers(self, self._results, another)
        self._submitter = StandardSubmitter(self, self._results, self._tasks, payloads)
        self._output: WrittenOutput | None = None

    async def create_session(
        self, options: WireOptions, partitions: Sequence[str], *, leased: bool = False
    ) -> str:
        """Open a session over these partitions; returns its id.

        Args:
            options: Default options of its tasks.
            partitions: Where they may run.
            leased: It may end when this client is gone (only the embedded engine knows that).
        """
        if self._output is not None:
            options = labelled(options, (self._output.label,))
        request = sessions_common_pb2.CreateSessionRequest(
            default_task_option=messages.session_options(options), partition_ids=partitions
        )
        if not leased:
            return await self._openings.open(request)
        create = functools.partial(self._sessions.CreateSession, metadata=(LEASE,))
        reply = await self.call(create, request, "creating a session")
        return str(reply.session_id)

    async def submit(
        self,
        session_id: str,
        submissions: Sequence[Submission],
        named: Callable[[], None],
        note: Note | None = None,
    ) -> None:
        """Create the results, submit the tasks, upload the payloads."""
        await self._submitter.submit(session_id, submissions, named, note)

    async def lay_out(self, session_id: str, submissions: Sequence[Submission], note: Note) -> None:
        """Store what tasks would need, and do not submit them."""
        await self._submitter.lay_out(session_id, submissions, note)

    def begun(self, session_id: str) -> None:
        """Tasks were submitted to a session: there is something to watch."""
        self._events.begun(session_id)

    async def store(
        self, session_id: str, name: str, parts: Sequence[DataPart], *, lasting: bool = False
    ) -> str:
        """Store data as a completed result; returns its id."""
        name = CONSTANT_PREFIX + name[:NAME_LIMIT]
        if sum(map(len, parts)) <= config.BATCH_BYTES:
            request = results_common_pb2.CreateResultsRequest(session_id=session_id)
            request.results.add(
                name=name, data=b"".join([part[:] for part in parts]), manual_deletion=lasting
            )
            reply = await self.call(self._results.CreateResults, request, "storing data")
            return str(reply.results[0].result_id)
        created = results_common_pb2.CreateResultsMetaDataRequest(session_id=session_id)
        created.results.add(name=name)
        reply = await self.call(self._results.CreateResultsMetaData, created, "storing data")
        result_id = str(reply.results[0].result_id)
        await self.transfers.upload(session_id, result_id, parts)
        return result_id

    async def import_data(
        self, session_id: str, items: Sequence[tuple[str, bytes]], *, lasting: bool = False
    ) -> list[str]:
        """Make results of data that the engine stores already: (name, opaque id) pairs."""
        created = results_common_pb2.CreateResultsMetaDataRequest(session_id=session_id)
        for name, _ in items:
            created.results.add(name=name[:NAME_LIMIT], manual_deletion=lasting)
        reply = await self.call(self._results.CreateResultsMetaData, created, "importing data")
        result_ids = [str(raw.result_id) for raw in reply.results]
        pairs = zip(result_ids, (opaque_id for _, opaque_id in items), strict=True)
        for group in without_repetition(pairs):
            await self._import(session_id, group)
        return result_ids

    async def located(
        self, session_id: str, result_ids: Sequence[str]
    ) -> dict[str, tuple[bytes, int]]:
        """Opaque id and size of the data of completed results, by result id."""
        raws = await self.list_results(session_id, result_ids)
        return {
            raw.result_id: (raw.opaque_id, raw.size)
            for raw in raws
            if messages.RESULT_STATES.get(raw.status) is ResultState.COMPLETED and raw.opaque_id
        }

    async def _import(self, session_id: str, items: Sequence[tuple[str, bytes]]) -> None:
        request = results_common_pb2.ImportResultsDataRequest(session_id=session_id)
        for result_id, opaque_id in items:
            request.results.add(result_id=result_id, opaque_id=opaque_id)

        async def settled() -> bool | None:
            raws = await self.list_results(session_id, [items[0][0]])
            done = raws and raws[0].status == result_status_pb2.RESULT_STATUS_COMPLETED
            return True if done else None

        await self.call(self._results.ImportResultsData, request, "importing data", settled=settled)

    async def watch(self, session_id: str) -> AsyncGenerator[Sequence[ResultChange], None]:
        """Changes of outputs, for ever; an empty batch says: (re)connected, poll what is open."""
        prefixes = [OUTPUT] if self._output is None else [OUTPUT, WRITTEN_PREFIX]
        async with aclosing(self._events.watch(session_id, prefixes)) as events:
            async for changes in events:
                if changes:
                    self._ended(session_id)
                yield changes

    def watch_again(self, session_id: str) -> None:
        """Changes were missed: subscribe anew."""
        self._events.watch_again(session_id)

    def _ended(self, session_id: str) -> None:
        if self._output is not None:
            self._output.news(session_id)

    def listen(self, hear: Callable[[list[Any]], None], stored: int | None) -> None:
        """Have what is stored of what tasks write read and told, if it is stored."""
        if stored is not None:
            from armoflow.protocol.written_results import WrittenOutput  # few clients ask for it

            self._output = WrittenOutput(self, self._results, hear, stored)

    async def under_way(self, session_id: str) -> Sequence[TaskUnderWay]:
        """The tasks that run, and those that were lost and taken up again; not all of very many."""
        return await self._endings.under_way(session_id)

    async def longest_running(self, session_id: str) -> Sequence[str]:
        """The ids of the tasks that run: of very many, of those that have run for longest."""
        return await self._endings.longest_running(session_id)

    async def repeated(self, session_id: str) -> Mapping[str, int]:
        """How often items were tried again in tasks that have ended, by their names."""
        return await self._repeated.counts(session_id)

    async def catch_up(self, session_id: str) -> None:
        """Tell what tasks that have ended wrote, as far as it is stored and can be read now."""
        if self._output is not None:
            await self._output.catch_up(session_id)

    async def poll(self, session_id: str, result_ids: Sequence[str]) -> Sequence[ResultChange]:
        """The final ones among these results; those that the engine does not know are gone."""
        unknown = dict.fromkeys(result_ids)
        changes = []
        ended: list[Any] | None = None
        try:
            ended = await self._ended_results.rows(session_id, result_ids)
            raws = await self.list_results(session_id, result_ids) if ended is None else ended
        except EngineError as error:
            if session_id not in self._events.refused or error.code != "PERMISSION_DENIED":
                raise
            text = f"what ends cannot be noticed, neither by events nor by lists: {error}"
            raise EngineError(text) from error
        for raw in raws:
            asked = raw.result_id in unknown
            unknown.pop(raw.result_id, None)
            state = messages.RESULT_STATES.get(raw.status)
            if state is not None and asked:
                changes.append(ResultChange(raw.result_id, state, raw.size))
        if ended is not None:
            unknown.clear()  # the others are to come
        changes.extend(ResultChange(result_id, ResultState.DELETED) for result_id in unknown)
        if changes:
            self._ended(session_id)
        return changes

    async def fetch(
        self, session_id: str, result_ids: Sequence[str]
    ) -> list[Buffer | DataLostError]:
        """Download results, in order."""

        async def download(result_id: str) -> Buffer | DataLostError:
            try:
                return await self.transfers.download(session_id, result_id)
            except DataLostError as error:
                return error

        if len(result_ids) == 1:
            return [await download(result_ids[0])]
        return list(await asyncio.gather(*map(download, result_ids)))

    async def failures(self, session_id: str, result_ids: Sequence[str]) -> dict[str, Failure]:
        """Why results were aborted."""
        return await self._endings.failures(session_id, result_ids)

    async def ended_tasks(self, session_id: str, tasks: Mapping[str, Sequence[str]]) -> EndedTasks:
        """Which of these tasks are over for good."""
        return await self._endings.ended_tasks(session_id, tasks)

    async def producer(self, session_id: str, result_id: str) -> tuple[str, str]:
        """The task that made a result, and the partition in which it ran."""
        return await self._endings.producer(session_id, result_id)

    async def task_error(self, task_id: str) -> str:
        """The error of a task, as whole as the engine has it."""
        return await self._endings.error(task_id)

    async def durations(self, task_ids: Sequence[str]) -> dict[str, float | None]:
        """How long tasks ran that have completed, as far as the engine says."""
        return await self._endings.durations(task_ids)

    async def count_tasks(self, session_id: str, partition: str) -> Mapping[TaskState, int]:
        """How many tasks are in which state."""
        return await self._endings.count(session_id, partition)

    async def delete(self, session_id: str, result_ids: Sequence[str]) -> None:
        """Delete the data of results that nobody needs; what the engine fails to delete is let go.

        What tasks with failed items were given stays all the same.
        """
        going = await self._remains.going(session_id, result_ids)
        await self._deletions.delete(session_id, going)

    async def cancel_tasks(self, session_id: str, task_ids: Sequence[str]) -> None:
        """Cancel tasks that have not ended."""
        for ids in chunks(task_ids, LIST_SIZE):
            request = tasks_common_pb2.CancelTasksRequest(task_ids=ids)
            await self.call(self._tasks.CancelTasks, request, "cancelling tasks")

    async def cancel_session(self, session_id: str) -> None:
        """Cancel everything in a session."""
        request = sessions_common_pb2.CancelSessionRequest(session_id=session_id)
        await self._end(self._sessions.CancelSession, request, "cancelling a session")

    async def end_session(self, session_id: str, *, tidied: bool = False) -> None:
        """Close a session, delete the data that need not stay, and what was opened for nobody.

        Args:
            session_id: Which.
            tidied: The engine sees to the data itself (only the embedded engine does).
        """
        await self.catch_up(session_id)
        if not self.info.commits_at_once and not await self._endings.drained(session_id):
            logger.info("tasks of session %s are not over: they are cancelled", session_id)
            await self.cancel_session(session_id)
        close: Any = self._sessions.CloseSession
        if tidied:
            close = functools.partial(close, metadata=(TIDY,))
        request = sessions_common_pb2.CloseSessionRequest(session_id=session_id)
        await self._end(close, request, "closing a session")
        try:
            if not tidied:
                unneeded = await self._remains.unneeded(session_id)
                await self._deletions.delete(session_id, unneeded)
        except EngineError as error:
            if error.code not in FAULTS:
                raise
            logger.info("session %s has ended, with data that stays: %s", session_id, error)
        finally:
            await self._openings.end_strays(session_id, self._remove_session)

    async def _remove_session(self, session_id: str) -> None:
        """Remove a session that nobody has used."""
        close = sessions_common_pb2.CloseSessionRequest(session_id=session_id)
        delete = sessions_common_pb2.DeleteSessionRequest(session_id=session_id)
        await self._end(self._sessions.CloseSession, close, "closing a session")
        await self._end(self._sessions.DeleteSession, delete, "deleting a session")

    async def close(self) -> None:
        """Close the connection."""
        if self._output is not None:
            self._output.close()
        await self.transfers.close()
        await self.channel.close()

    # --- shared with the submitter ---------------------------------------------------------------

    async def call(self, method: Any, request: Any, what: str, **repeating: Any) -> Any:
        """A unary call, repeated while its outcome is unknown.

        Raises:
            EngineError: If the engine refuses it.
            EngineUnreachableError: If nothing answers.
        """

        async def call() -> Any:
            begin = time.monotonic()
            reply = await unary(method, request, repeating.get("patience"))
            took = time.monotonic() - begin
            self.round_trip = min(self.round_trip or took, took)
            return reply

        try:
            return await repeat(call, what, self.caller, **repeating)
        except grpc.RpcError as error:
            raise self.refused(error, what, request) from error

    def refused(self, error: grpc.RpcError, what: str, request: Any) -> EngineError:
        """The error for a call that the engine refused; ``request`` may be the message's type."""
        return refusal(error, what, self.caller, request=request)

    async def list_results(self, session_id: str, result_ids: Sequence[str]) -> list[Any]:
        """The ResultRaw messages of these results, in any order."""
        found: list[Any] = []
        for ids in chunks(result_ids, LIST_SIZE):
            request = messages.list_results(ids)
            reply = await self.call(self._results.ListResults, request, "listing results")
            found.extend(reply.results)
        return found

    async def _end(self, method: Any, request: Any, what: str) -> None:
        patience = min(config.END_PATIENCE, config.ENGINE_PATIENCE)
        try:
            await self.call(method, request, what, patience=patience)
        except EngineError as error:
            if error.code not in DONE_ALREADY:
                raise
