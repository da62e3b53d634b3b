"""The transport over the calls that every ArmoniK serves."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections import Counter, defaultdict
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import Any

import grpc
from armonik.protogen.client import (
    events_service_pb2_grpc,
    results_service_pb2_grpc,
    sessions_service_pb2_grpc,
    tasks_service_pb2_grpc,
)
from armonik.protogen.common import (
    events_common_pb2,
    result_status_pb2,
    results_common_pb2,
    sessions_common_pb2,
    task_status_pb2,
    tasks_common_pb2,
)

from armoflow import config
from armoflow.codec.container import Buffer
from armoflow.errors import EngineError
from armoflow.protocol import messages
from armoflow.protocol.frames import LEASE
from armoflow.protocol.refusals import Caller, refusal
from armoflow.protocol.repeat import describe, is_ambiguous, repeat, unary
from armoflow.protocol.settings import ConnectionSettings
from armoflow.protocol.submission import PayloadMode, StandardSubmitter
from armoflow.protocol.transfers import Transfers
from armoflow.protocol.transport import (
    EngineInfo,
    Failure,
    ResultChange,
    ResultState,
    Submission,
    TaskState,
    WireOptions,
)

logger = logging.getLogger(__name__)

LIST_SIZE = 500
"""Ids in the filter of one List call."""

END_PATIENCE = 5.0
"""Seconds without an answer before ending a session is given up: nobody waits for a value."""

DURATIONS_DEADLINE = 5.0
"""Seconds after which nobody waits any more to hear how long tasks ran."""

_STATES = {
    result_status_pb2.RESULT_STATUS_COMPLETED: ResultState.COMPLETED,
    result_status_pb2.RESULT_STATUS_ABORTED: ResultState.ABORTED,
    result_status_pb2.RESULT_STATUS_DELETED: ResultState.DELETED,
}
_EOF = grpc.aio.EOF
_DONE_ALREADY = (grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.NOT_FOUND)


class StandardTransport:
    """Speaks to an engine over a channel; see :class:`~armoflow.protocol.transport.Transport`.

    Args:
        channel: An open channel.
        endpoint: Where it leads, for errors.
        info: What the engine says of itself (see :mod:`armoflow.protocol.connect`).
        payloads: When payloads go up.
        caller: Who calls, for words about what is refused.
    """

    def __init__(
        self,
        channel: grpc.aio.Channel,
        endpoint: str,
        info: EngineInfo,
        payloads: PayloadMode = "auto",
        caller: Caller | None = None,
    ) -> None:
        self.info = info
        self.endpoint = endpoint
        self._caller = caller or Caller(ConnectionSettings(endpoint))
        self._channel = channel
        self._sessions = sessions_service_pb2_grpc.SessionsStub(channel)
        self._results = results_service_pb2_grpc.ResultsStub(channel)
        self._tasks = tasks_service_pb2_grpc.TasksStub(channel)
        self._events = events_service_pb2_grpc.EventsStub(channel)
        self._begun: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self._watched: dict[str, Any] = {}
        self.transfers = Transfers(self, self._results)
        self._submitter = StandardSubmitter(self, self._results, self._tasks, payloads)

    async def create_session(
        self, options: WireOptions, partitions: Sequence[str], *, leased: bool = False
    ) -> str:
        """Open a session over these partitions; returns its id.

        Args:
            options: Default options of its tasks.
            partitions: Where they may run.
            leased: It may end when this client is gone (only the embedded engine knows that).
        """
        request = sessions_common_pb2.CreateSessionRequest(
            default_task_option=messages.session_options(options), partition_ids=partitions
        )
        create = self._sessions.CreateSession
        if leased:
            create = functools.partial(create, metadata=(LEASE,))
        reply = await self.call(create, request, "creating a session")
        return str(reply.session_id)

    async def submit(
        self, session_id: str, submissions: Sequence[Submission], named: Callable[[], None]
    ) -> None:
        """Create the results, submit the tasks, upload the payloads."""
        await self._submitter.submit(session_id, submissions, named)

    def begun(self, session_id: str) -> None:
        """Tasks were submitted to a session: there is something to watch."""
        self._begun[session_id].set()

    async def store(self, session_id: str, name: str, parts: Sequence[Buffer]) -> str:
        """Store data as a completed result; returns its id."""
        name = messages.CONSTANT_PREFIX + name[: messages.NAME_LIMIT]
        if sum(map(len, parts)) <= config.BATCH_BYTES:
            request = results_common_pb2.CreateResultsRequest(session_id=session_id)
            request.results.add(name=name, data=b"".join(parts))
            reply = await self.call(self._results.CreateResults, request, "storing data")
            return str(reply.results[0].result_id)
        created = results_common_pb2.CreateResultsMetaDataRequest(session_id=session_id)
        created.results.add(name=name)
        reply = await self.call(self._results.CreateResultsMetaData, created, "storing data")
        result_id = str(reply.results[0].result_id)
        await self.transfers.upload(session_id, result_id, parts)
        return result_id

    async def import_data(self, session_id: str, items: Sequence[tuple[str, bytes]]) -> list[str]:
        """Make results of data that the engine stores already: (name, opaque id) pairs."""
        created = results_common_pb2.CreateResultsMetaDataRequest(session_id=session_id)
        for name, _ in items:
            created.results.add(name=name[: messages.NAME_LIMIT])
        reply = await self.call(self._results.CreateResultsMetaData, created, "importing data")
        result_ids = [str(raw.result_id) for raw in reply.results]
        pairs = zip(result_ids, (opaque_id for _, opaque_id in items), strict=True)
        for group in messages.without_repetition(pairs):
            await self._import(session_id, group)
        return result_ids

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
        request = events_common_pb2.EventSubscriptionRequest(
            session_id=session_id,
            results_filters=messages.outputs_filter(),
            returned_events=[events_common_pb2.EVENTS_ENUM_RESULT_STATUS_UPDATE],
        )
        pause = 0.05
        await self._begun[session_id].wait()
        while True:
            stream = self._watched[session_id] = self._events.GetEvents(request)
            try:
                await _headers(stream)
                if not stream.done():
                    yield ()
                while (message := await stream.read()) is not _EOF:
                    pause = 0.05
                    update = message.result_status_update
                    state = _STATES.get(update.status)
                    # Data is deleted when the client asks for it: no news.
                    if state is not None and state is not ResultState.DELETED:
                        yield (ResultChange(update.result_id, state),)
            except grpc.RpcError as error:
                level = logging.INFO if is_ambiguous(error) else logging.WARNING
                logger.log(level, "the event stream ended: %s", describe(error))
            except asyncio.CancelledError:
                # Cancelled is the stream, or who watches.
                if self._watched.get(session_id) is stream:
                    raise
            finally:
                stream.cancel()
                self._watched.pop(session_id, None)
            await asyncio.sleep(pause)
            pause = min(pause * 2, 2.0)

    def watch_again(self, session_id: str) -> None:
        """Changes were missed: subscribe anew."""
        stream = self._watched.pop(session_id, None)
        if stream is not None:
            stream.cancel()

    async def poll(self, session_id: str, result_ids: Sequence[str]) -> Sequence[ResultChange]:
        """The final ones among these results; those that the engine does not know are gone."""
        unknown = dict.fromkeys(result_ids)
        changes = []
        for raw in await self.list_results(session_id, result_ids):
            unknown.pop(raw.result_id, None)
            state = _STATES.get(raw.status)
            if state is not None:
                changes.append(ResultChange(raw.result_id, state, raw.size))
        changes.extend(ResultChange(result_id, ResultState.DELETED) for result_id in unknown)
        return changes

    async def fetch(self, session_id: str, result_ids: Sequence[str]) -> list[Buffer]:
        """Download results, in order."""
        downloads = (self.transfers.download(session_id, result) for result in result_ids)
        return list(await asyncio.gather(*downloads))

    async def failures(self, session_id: str, result_ids: Sequence[str]) -> dict[str, Failure]:
        """Why results were aborted."""
        owners = {
            raw.result_id: raw.owner_task_id
            for raw in await self.list_results(session_id, result_ids)
            if raw.owner_task_id
        }
        tasks: dict[str, Any] = {}
        for ids in messages.chunks(sorted(set(owners.values())), LIST_SIZE):
            reply = await self.call(
                self._tasks.ListTasks, messages.list_tasks(ids), "listing failed tasks"
            )
            tasks.update((task.id, task) for task in reply.tasks)
        failures = {}
        for result_id, owner in owners.items():
            task = tasks.get(owner)
            if task is not None:
                status = task_status_pb2.TaskStatus.Name(task.status)
                status = status.removeprefix("TASK_STATUS_").lower()
                partition = task.options.partition_id
                failures[result_id] = Failure(owner, status, task.error, partition)
        return failures

    async def producer(self, session_id: str, result_id: str) -> tuple[str, str]:
        """The task that made a result, and the partition in which it ran."""
        (raw,) = await self.list_results(session_id, [result_id])
        request = tasks_common_pb2.GetTaskRequest(task_id=raw.owner_task_id)
        reply = await self.call(self._tasks.GetTask, request, "reading a task")
        return str(reply.task.id), str(reply.task.options.partition_id)

    async def task_error(self, task_id: str) -> str:
        """The error of a task, as whole as the engine has it."""
        request = tasks_common_pb2.GetTaskRequest(task_id=task_id)
        reply = await self.call(self._tasks.GetTask, request, "reading a failed task")
        error: str = reply.task.output.error
        return error

    async def durations(self, task_ids: Sequence[str]) -> dict[str, float | None]:
        """How long tasks ran that have completed, as far as the engine says."""
        request = messages.list_tasks(task_ids)
        try:
            reply = await self._tasks.ListTasks(request, timeout=DURATIONS_DEADLINE)
        except grpc.RpcError as error:
            raise self.refused(error, "listing durations", request) from error
        return {
            task.id: messages.duration(task)
            for task in reply.tasks
            if task.status == task_status_pb2.TASK_STATUS_COMPLETED
        }

    async def count_tasks(self, session_id: str, partition: str) -> Mapping[TaskState, int]:
        """How many tasks are in which state."""
        request = messages.count_tasks(session_id, partition)
        try:
            reply = await self._tasks.CountTasksByStatus(request, timeout=DURATIONS_DEADLINE)
        except grpc.RpcError as error:
            raise self.refused(error, "counting tasks", request) from error
        counts: Counter[TaskState] = Counter()
        for entry in reply.status:
            counts[messages.TASK_STATES.get(entry.status, TaskState.ENDED)] += entry.count
        return counts

    async def delete(self, session_id: str, result_ids: Sequence[str]) -> None:
        """Delete the data of results."""
        for ids in messages.chunks(result_ids, LIST_SIZE):
            request = results_common_pb2.DeleteResultsDataRequest(
                session_id=session_id, result_id=ids
            )
            await self.call(self._results.DeleteResultsData, request, "deleting data")

    async def cancel_tasks(self, session_id: str, task_ids: Sequence[str]) -> None:
        """Cancel tasks that have not ended."""
        for ids in messages.chunks(task_ids, LIST_SIZE):
            request = tasks_common_pb2.CancelTasksRequest(task_ids=ids)
            await self.call(self._tasks.CancelTasks, request, "cancelling tasks")

    async def cancel_session(self, session_id: str) -> None:
        """Cancel everything in a session."""
        request = sessions_common_pb2.CancelSessionRequest(session_id=session_id)
        await self._end(self._sessions.CancelSession, request, "cancelling a session")

    async def end_session(self, session_id: str) -> None:
        """Close, purge and delete a session."""
        close = sessions_common_pb2.CloseSessionRequest(session_id=session_id)
        purge = sessions_common_pb2.PurgeSessionRequest(session_id=session_id)
        delete = sessions_common_pb2.DeleteSessionRequest(session_id=session_id)
        await self._end(self._sessions.CloseSession, close, "closing a session")
        await self._end(self._sessions.PurgeSession, purge, "purging a session")
        await self._end(self._sessions.DeleteSession, delete, "deleting a session")

    async def close(self) -> None:
        """Close the connection."""
        await self._channel.close()

    # --- shared with the submitter ---------------------------------------------------------------

    async def call(self, method: Any, request: Any, what: str, **repeating: Any) -> Any:
        """A unary call, repeated while its outcome is unknown.

        Raises:
            EngineError: If the engine refuses it.
            EngineUnreachableError: If nothing answers.
        """
        try:
            return await repeat(lambda: unary(method, request), what, self.endpoint, **repeating)
        except grpc.RpcError as error:
            raise self.refused(error, what, request) from error

    def refused(self, error: grpc.RpcError, what: str, request: Any) -> EngineError:
        """The error for a call that the engine refused; ``request`` may be the message's type."""
        return refusal(error, what, self._caller, request=request)

    async def list_results(self, session_id: str, result_ids: Sequence[str]) -> list[Any]:
        """The ResultRaw messages of these results, in any order."""
        found: list[Any] = []
        for ids in messages.chunks(result_ids, LIST_SIZE):
            request = messages.list_results(session_id, ids)
            reply = await self.call(self._results.ListResults, request, "listing results")
            found.extend(reply.results)
        return found

    async def _end(self, method: Any, request: Any, what: str) -> None:
        patience = min(END_PATIENCE, config.ENGINE_PATIENCE)
        try:
            await repeat(lambda: unary(method, request), what, self.endpoint, patience=patience)
        except grpc.RpcError as error:
            if error.code() not in _DONE_ALREADY:
                raise self.refused(error, what, request) from error


async def _headers(stream: Any) -> None:
    # Headers say that the subscription stands, but not every server sends them before the first
    # event; then the poll that follows may come too early, and the next resync makes up for it.
    try:
        await asyncio.wait_for(
            asyncio.shield(asyncio.ensure_future(stream.initial_metadata())), 1.0
        )
    except asyncio.TimeoutError:
        logger.debug("no headers on the event stream yet")
