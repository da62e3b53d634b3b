"""The calls of a client, short, and what they say of an engine as a whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
from armonik.protogen.client.results_service_pb2_grpc import ResultsStub
from armonik.protogen.client.sessions_service_pb2_grpc import SessionsStub
from armonik.protogen.client.tasks_service_pb2_grpc import TasksStub
from armonik.protogen.common import (
    objects_pb2,
    results_common_pb2,
    results_fields_pb2,
    results_filters_pb2,
    sessions_common_pb2,
    sessions_fields_pb2,
    sessions_filters_pb2,
    sort_direction_pb2,
    tasks_common_pb2,
    tasks_fields_pb2,
    tasks_filters_pb2,
)

from armoflow.engine.records import ResultStatus, SessionStatus, TaskStatus

PATIENCE = 60.0
MANY = 10_000
CHUNK = 40_000

REFUSALS = {
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.INVALID_ARGUMENT,
}
ASCENDING = sort_direction_pb2.SORT_DIRECTION_ASC


@dataclass(frozen=True)
class Snapshot:
    """All sessions, tasks and results that an engine shows."""

    sessions: Mapping[str, SessionStatus]
    tasks: Mapping[str, Any]
    results: Mapping[str, Any]


@dataclass(frozen=True)
class Submission:
    """A task to be submitted."""

    payload: str
    needs: Sequence[str]
    outputs: Sequence[str]


class Calls:
    """A client's calls; what the engine refuses gives None.

    Args:
        target: The engine.
        strict: It may say UNKNOWN for a refusal, too.
    """

    def __init__(self, target: str, *, strict: bool) -> None:
        self._channel = grpc.insecure_channel(
            target,
            options=(
                ("grpc.use_local_subchannel_pool", 1),
                ("grpc.initial_reconnect_backoff_ms", 20),
                ("grpc.min_reconnect_backoff_ms", 20),
                ("grpc.max_reconnect_backoff_ms", 100),
            ),
        )
        self._refusals = REFUSALS | ({grpc.StatusCode.UNKNOWN} if strict else set())
        self.sessions = SessionsStub(self._channel)
        self.results = ResultsStub(self._channel)
        self.tasks = TasksStub(self._channel)

    def close(self) -> None:
        """Close the channel."""
        self._channel.close()

    def ask(self, method: Callable[..., Any], request: Any) -> Any:
        """The answer, or None if it is refused."""
        try:
            return method(request, timeout=PATIENCE, wait_for_ready=True)
        except grpc.RpcError as error:
            if error.code() not in self._refusals:
                raise
            return None

    def create_session(self) -> str:
        options = objects_pb2.TaskOptions(max_retries=2, priority=1)
        options.max_duration.seconds = 3600
        request = sessions_common_pb2.CreateSessionRequest(default_task_option=options)
        return str(self.ask(self.sessions.CreateSession, request).session_id)

    def on_session(self, verb: str, session_id: str, **values: bool) -> bool:
        """Pause, Resume, Cancel, Close, Purge, Delete or (what) StopSubmission."""
        name = verb if verb == "StopSubmission" else f"{verb}Session"
        request = getattr(sessions_common_pb2, f"{name}Request")(session_id=session_id, **values)
        return self.ask(getattr(self.sessions, name), request) is not None

    def create(self, session_id: str, count: int, *, manual: bool = False) -> list[str]:
        """Results without data; none if they are refused."""
        messages = results_common_pb2.CreateResultsMetaDataRequest
        one = messages.ResultCreate(name="a result", manual_deletion=manual)
        reply = self.ask(
            self.results.CreateResultsMetaData,
            messages(session_id=session_id, results=[one] * count),
        )
        return [] if reply is None else [result.result_id for result in reply.results]

    def store(self, session_id: str, data: bytes, *, manual: bool = False) -> str:
        """A result with data; empty if it is refused."""
        messages = results_common_pb2.CreateResultsRequest
        one = messages.ResultCreate(name="data", data=data, manual_deletion=manual)
        reply = self.ask(self.results.CreateResults, messages(session_id=session_id, results=[one]))
        return "" if reply is None else str(reply.results[0].result_id)

    def upload(self, session_id: str, result_id: str, data: bytes) -> bool:
        messages = results_common_pb2.UploadResultDataRequest
        target = messages.ResultIdentifier(session_id=session_id, result_id=result_id)

        def parts() -> Iterator[Any]:
            yield messages(id=target)
            for begin in range(0, len(data), CHUNK):
                yield messages(data_chunk=data[begin : begin + CHUNK])

        return self.ask(self.results.UploadResultData, parts()) is not None

    def take_over(self, session_id: str, result_id: str, opaque_id: bytes) -> bool:
        """Import data."""
        messages = results_common_pb2.ImportResultsDataRequest
        one = messages.ResultOpaqueId(result_id=result_id, opaque_id=opaque_id)
        request = messages(session_id=session_id, results=[one])
        return self.ask(self.results.ImportResultsData, request) is not None

    def download(self, session_id: str, result_id: str) -> bytes | None:
        request = results_common_pb2.DownloadResultDataRequest(
            session_id=session_id, result_id=result_id
        )
        return self.ask(
            lambda request, **how: b"".join(
                reply.data_chunk for reply in self.results.DownloadResultData(request, **how)
            ),
            request,
        )

    def delete(self, session_id: str, *ids: str) -> bool:
        request = results_common_pb2.DeleteResultsDataRequest(session_id=session_id, result_id=ids)
        return self.ask(self.results.DeleteResultsData, request) is not None

    def submit(self, session_id: str, tasks: Sequence[Submission]) -> list[str]:
        """Their ids; none if they are refused."""
        one = tasks_common_pb2.SubmitTasksRequest.TaskCreation
        request = tasks_common_pb2.SubmitTasksRequest(
            session_id=session_id,
            task_creations=[
                one(
                    payload_id=task.payload,
                    data_dependencies=task.needs,
                    expected_output_keys=task.outputs,
                )
                for task in tasks
            ],
        )
        reply = self.ask(self.tasks.SubmitTasks, request)
        return [] if reply is None else [info.task_id for info in reply.task_infos]

    def cancel(self, *ids: str) -> bool:
        request = tasks_common_pb2.CancelTasksRequest(task_ids=ids)
        return self.ask(self.tasks.CancelTasks, request) is not None

    def look(self) -> Snapshot:
        """All that there is."""
        sessions = self.sessions.ListSessions(SESSIONS, timeout=PATIENCE, wait_for_ready=True)
        tasks = self.tasks.ListTasksDetailed(TASKS, timeout=PATIENCE)
        results = self.results.ListResults(RESULTS, timeout=PATIENCE)
        assert tasks.total <= MANY and results.total <= MANY
        return Snapshot(
            {one.session_id: SessionStatus(one.status) for one in sessions.sessions},
            {one.id: one for one in tasks.tasks},
            {one.result_id: one for one in results.results},
        )


SESSIONS = sessions_common_pb2.ListSessionsRequest(
    page_size=MANY,
    filters=sessions_filters_pb2.Filters(),
    sort=sessions_common_pb2.ListSessionsRequest.Sort(
        field=sessions_fields_pb2.SessionField(
            session_raw_field=sessions_fields_pb2.SessionRawField(
                field=sessions_fields_pb2.SESSION_RAW_ENUM_FIELD_CREATED_AT
            )
        ),
        direction=ASCENDING,
    ),
)
TASKS = tasks_common_pb2.ListTasksRequest(
    page_size=MANY,
    filters=tasks_filters_pb2.Filters(),
    sort=tasks_common_pb2.ListTasksRequest.Sort(
        field=tasks_fields_pb2.TaskField(
            task_summary_field=tasks_fields_pb2.TaskSummaryField(
                field=tasks_fields_pb2.TASK_SUMMARY_ENUM_FIELD_CREATED_AT
            )
        ),
        direction=ASCENDING,
    ),
)
RESULTS = results_common_pb2.ListResultsRequest(
    page_size=MANY,
    filters=results_filters_pb2.Filters(),
    sort=results_common_pb2.ListResultsRequest.Sort(
        field=results_fields_pb2.ResultField(
            result_raw_field=results_fields_pb2.ResultRawField(
                field=results_fields_pb2.RESULT_RAW_ENUM_FIELD_CREATED_AT
            )
        ),
        direction=ASCENDING,
    ),
)

__all__ = ["Calls", "ResultStatus", "SessionStatus", "Snapshot", "Submission", "TaskStatus"]
