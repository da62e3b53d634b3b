"""An engine in the client's process that fails as it is told: a channel without a network."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Coroutine, Generator, Iterable, Iterator
from typing import Any

import grpc
from armonik.protogen.common import (
    result_status_pb2,
    results_common_pb2,
    sessions_common_pb2,
    task_status_pb2,
    tasks_common_pb2,
)

from armoflow.protocol.caller import Caller
from armoflow.protocol.engine_info import EngineInfo
from armoflow.protocol.result_handle import ResultHandle
from armoflow.protocol.settings import ConnectionSettings
from armoflow.protocol.standard import StandardTransport
from armoflow.protocol.standard_submitter import PayloadMode
from armoflow.protocol.submission import Submission, WireOptions

CALLER = Caller(ConnectionSettings("unix:/nowhere"))


def broken(
    code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE, details: str = "Socket closed"
) -> grpc.aio.AioRpcError:
    """What a call raises whose connection was cut."""
    nothing = grpc.aio.Metadata()
    return grpc.aio.AioRpcError(code, nothing, nothing, details)


class Task(Submission):
    """A submission with a payload of its own."""

    def pack(self) -> list[Any]:
        return [self.name.encode()]


def make_tasks(*names: str) -> list[Task]:
    """Tasks without inputs, one output each."""
    return [Task(name, [], [ResultHandle(name)], WireOptions(60.0)) for name in names]


class StreamedCall:
    """A call whose requests are a stream: awaited for its answer."""

    def __init__(self, answer: Coroutine[Any, Any, Any]) -> None:
        self._answer = answer

    def __await__(self) -> Generator[Any, None, Any]:
        return self._answer.__await__()

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        """What it ends with is told once, by its answer."""


class Replies:
    """What a streaming call answers; ``before`` and ``after`` are called around each message."""

    def __init__(self, engine: FakeEngine, name: str, messages: Iterator[Any]) -> None:
        self._engine = engine
        self._name = name
        self._messages = messages

    async def read(self) -> Any:
        self._engine.before(self._name)
        message = next(self._messages, grpc.aio.EOF)
        self._engine.after(self._name)
        return message


class FakeEngine:
    """Keeps results and tasks; ``before`` and ``after`` are called with each call's name.

    What they raise is what the caller gets: before the call has an effect, or after.
    """

    def __init__(self) -> None:
        self.before: Callable[[str], None] = lambda name: None
        self.after: Callable[[str], None] = lambda name: None
        self.calls: list[str] = []
        self.owners: dict[str, str] = {}
        self.data: dict[str, bytes] = {}
        self.statuses: dict[str, int] = {}
        self.tasks: dict[str, int] = {}
        self.errors: dict[str, str] = {}
        self.times: dict[str, dict[str, Any]] = {}
        self.names: dict[str, str] = {}
        self.given: dict[str, tuple[str, list[str]]] = {}  # payload and inputs of tasks that ran
        self.logs: dict[str, str] = {}  # which task left one, with its name
        self.cancelled: list[str] = []
        self.sessions: dict[str, Any] = {}  # the options of those that are open
        self.new_status = task_status_pb2.TASK_STATUS_PENDING
        self.chunk_bytes = 1024
        self._numbers = itertools.count(1)

    def transport(self, payloads: PayloadMode = "delayed") -> StandardTransport:
        """A transport to it."""
        info = EngineInfo("0.40", (), self.chunk_bytes)
        return StandardTransport(self, CALLER, info, payloads)

    # --- what gRPC's channel offers -------------------------------------------------------------

    def unary_unary(self, path: str, *_: Any, **__: Any) -> Any:
        return self._method(path)

    stream_stream = unary_unary

    def stream_unary(self, path: str, *_: Any, **__: Any) -> Any:
        method = self._method(path)
        return lambda *requests, **options: StreamedCall(method(*requests, **options))

    def unary_stream(self, path: str, *_: Any, **__: Any) -> Any:
        name = path.rpartition("/")[2]

        def call(request: Any, **_: Any) -> Any:
            self.calls.append(name)
            return Replies(self, name, iter(getattr(self, name)(request)))

        return call

    def _method(self, path: str) -> Any:
        name = path.rpartition("/")[2]

        async def call(request: Any, timeout: float | None = None) -> Any:
            self.calls.append(name)
            self.before(name)
            if hasattr(request, "__aiter__"):
                request = [message async for message in request]
            reply = getattr(self, name)(request)
            self.after(name)
            return reply

        return call

    # --- calls ----------------------------------------------------------------------------------

    def CreateResultsMetaData(self, request: Any) -> Any:
        reply = results_common_pb2.CreateResultsMetaDataResponse()
        for _ in request.results:
            result_id = f"result-{next(self._numbers)}"
            self.statuses[result_id] = result_status_pb2.RESULT_STATUS_CREATED
            reply.results.add(result_id=result_id)
        return reply

    def CreateResults(self, request: Any) -> Any:
        reply = results_common_pb2.CreateResultsResponse()
        for result in request.results:
            result_id = f"result-{next(self._numbers)}"
            self.data[result_id] = result.data
            self.statuses[result_id] = result_status_pb2.RESULT_STATUS_COMPLETED
            reply.results.add(result_id=result_id)
        return reply

    def UploadResultData(self, messages: list[Any]) -> Any:
        result_id = messages[0].id.result_id
        self.data[result_id] = b"".join(message.data_chunk for message in messages[1:])
        self.statuses[result_id] = result_status_pb2.RESULT_STATUS_COMPLETED
        return results_common_pb2.UploadResultDataResponse()

    def DownloadResultData(self, request: Any) -> Any:
        data = self.data.get(request.result_id)
        if data is None:
            raise broken(grpc.StatusCode.NOT_FOUND, "no data")
        for first in range(0, len(data), self.chunk_bytes):
            chunk = data[first : first + self.chunk_bytes]
            yield results_common_pb2.DownloadResultDataResponse(data_chunk=chunk)

    def SubmitTasks(self, request: Any) -> Any:
        reply = tasks_common_pb2.SubmitTasksResponse()
        for creation in request.task_creations:
            task_id = f"task-{next(self._numbers)}"
            self.tasks[task_id] = self.new_status
            self.owners.update(dict.fromkeys(creation.expected_output_keys, task_id))
            reply.task_infos.add(task_id=task_id)
        return reply

    def ListResults(self, request: Any) -> Any:
        if _begins(request, "items/"):
            return self._list_logs(request)
        reply = results_common_pb2.ListResultsResponse()
        for result_id in _values(request, self.statuses):
            if result_id in self.statuses:
                reply.results.add(
                    result_id=result_id,
                    name=self.names.get(result_id, ""),
                    owner_task_id=self.owners.get(result_id, ""),
                    status=self.statuses[result_id],
                    size=len(self.data.get(result_id, b"")),
                )
        return reply

    def _list_logs(self, request: Any) -> Any:
        reply = results_common_pb2.ListResultsResponse(total=len(self.logs))
        for task_id, name in list(self.logs.items())[: request.page_size]:
            reply.results.add(result_id=f"log of {task_id}", name=name, created_by=task_id)
        return reply

    def ListTasks(self, request: Any) -> Any:
        reply = tasks_common_pb2.ListTasksResponse()
        for task_id in _values(request):
            if task_id in self.tasks:
                times = self.times.get(task_id, {})
                error = self.errors.get(task_id, "")
                reply.tasks.add(id=task_id, status=self.tasks[task_id], error=error, **times)
        return reply

    def ListTasksDetailed(self, request: Any) -> Any:
        """Those with the statuses, or the ids, that are asked for."""
        reply = tasks_common_pb2.ListTasksDetailedResponse()
        conditions = [getattr(one, "and") for one in getattr(request.filters, "or")]
        ids = {both[0].filter_string.value for both in conditions}
        wanted = {both[1].filter_status.value for both in conditions if len(both) == 2}
        for task_id, status in self.tasks.items():
            if status in wanted or task_id in ids:
                task = reply.tasks.add(id=task_id, status=status)
                if task_id in self.given:
                    task.payload_id, inputs = self.given[task_id]
                    task.data_dependencies.extend(inputs)
                    task.started_at.seconds = 1
        return reply

    def CountTasksByStatus(self, request: Any) -> Any:
        reply = tasks_common_pb2.CountTasksByStatusResponse()
        for status, count in Counter(self.tasks.values()).items():
            reply.status.add(status=status, count=count)
        return reply

    def DeleteResultsData(self, request: Any) -> Any:
        for result_id in request.result_id:
            self.data.pop(result_id, None)
            self.statuses[result_id] = result_status_pb2.RESULT_STATUS_DELETED
        return results_common_pb2.DeleteResultsDataResponse()

    def CreateSession(self, request: Any) -> Any:
        session_id = f"session-{next(self._numbers)}"
        self.sessions[session_id] = request.default_task_option
        return sessions_common_pb2.CreateSessionReply(session_id=session_id)

    def ListSessions(self, request: Any) -> Any:
        reply = sessions_common_pb2.ListSessionsResponse()
        for session_id, options in self.sessions.items():
            reply.sessions.add(session_id=session_id, options=options)
        return reply

    def DeleteSession(self, request: Any) -> Any:
        self.sessions.pop(request.session_id, None)
        return sessions_common_pb2.DeleteSessionResponse()

    def CloseSession(self, request: Any) -> Any:
        self.sessions.pop(request.session_id, None)
        return sessions_common_pb2.CloseSessionResponse()

    def CancelSession(self, request: Any) -> Any:
        return sessions_common_pb2.CancelSessionResponse()

    def CancelTasks(self, request: Any) -> Any:
        self.cancelled.extend(request.task_ids)
        return tasks_common_pb2.CancelTasksResponse()


def _begins(request: Any, prefix: str) -> bool:
    """Whether names are asked for that begin so."""
    conditions = [
        condition for one in getattr(request.filters, "or") for condition in getattr(one, "and")
    ]
    return any(condition.filter_string.value == prefix for condition in conditions)


def _values(request: Any, of_session: Iterable[str] = ()) -> list[str]:
    """The ids that are asked for; all, where a session's are."""
    conditions = [getattr(one, "and") for one in getattr(request.filters, "or")]
    if len(conditions) == 1 and len(conditions[0]) == 2:
        return list(of_session)
    return [both[0].filter_string.value for both in conditions]
