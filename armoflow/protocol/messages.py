"""Protobuf messages from armoflow's types, and the requests of lists and counts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from armonik.protogen.common import (
    objects_pb2,
    result_status_pb2,
    results_common_pb2,
    results_filters_pb2,
    task_status_pb2,
    tasks_common_pb2,
)
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from armoflow.protocol.filter_fields import RESULTS, TASKS, Test, add_filters, sort_upwards
from armoflow.protocol.frames import CACHED_PREFIX, KEPT_PREFIX, NAME_LIMIT, OUTPUT_PREFIX
from armoflow.protocol.result_handle import ResultState
from armoflow.protocol.submission import NAMESPACE, SERVICE, WireOptions
from armoflow.protocol.transport import TaskState
from armoflow.version import __version__


def output_name(name: str, *, keep: bool, cached: bool = False) -> str:
    """The name of an expected output's result."""
    prefix = CACHED_PREFIX if cached else KEPT_PREFIX if keep else OUTPUT_PREFIX
    return prefix + name[:NAME_LIMIT]


def task_options(options: WireOptions) -> Any:
    """TaskOptions of the API."""
    seconds = int(options.max_duration)
    nanos = int((options.max_duration - seconds) * 1e9)
    return objects_pb2.TaskOptions(
        max_duration=Duration(seconds=seconds, nanos=nanos),
        # Inside a task, 0 means inherit and -1 none.
        max_retries=options.max_retries or -1,
        priority=options.priority,
        partition_id=options.partition,
        options=dict(options.labels),
    )


def session_options(options: WireOptions) -> Any:
    """TaskOptions of a session: max_retries must be at least 1 there; tasks inherit the names."""
    message = task_options(options)
    message.max_retries = max(options.max_retries, 1)
    # A script's name may hold bytes that are no text.
    name = options.application.encode("utf-8", "replace").decode()
    message.application_name = name[:NAME_LIMIT]
    message.application_version = __version__
    message.application_namespace = NAMESPACE
    message.application_service = SERVICE
    return message


def named_filter(prefixes: Iterable[str]) -> Any:
    """Results whose names begin so or so."""
    filters = results_filters_pb2.Filters()
    names: list[list[Test]] = [[("name", "starts with", prefix)] for prefix in prefixes]
    add_filters(filters, RESULTS, names)
    return filters


def list_results(result_ids: Sequence[str]) -> Any:
    """ListResults of these results."""
    request = results_common_pb2.ListResultsRequest(page=0, page_size=len(result_ids))
    add_filters(request.filters, RESULTS, [[("id", "==", id)] for id in result_ids])
    return sort_upwards(request, RESULTS, "id")


def results_in(
    session_id: str,
    status: int,
    size: int,
    prefix: str = "",
    *,
    since: Timestamp | None = None,
    owner: str | None = None,
) -> Any:
    """A page of ListResults: those of a session with a status.

    Args:
        session_id: The session.
        status: Their status.
        size: How many rows a page has.
        prefix: What their names begin with.
        since: When they were created at the earliest.
        owner: The task that is to make them; empty: none was submitted.
    """
    wanted: list[Test] = [("session_id", "==", session_id), ("status", "==", status)]
    if prefix:
        wanted.append(("name", "starts with", prefix))
    if since is not None:
        wanted.append(("created_at", ">=", since))
    if owner is not None:
        wanted.append(("owner_task_id", "==", owner))
    request = results_common_pb2.ListResultsRequest(page=0, page_size=size)
    add_filters(request.filters, RESULTS, [wanted])
    return sort_upwards(request, RESULTS, "id")


def tasks_in(session_id: str, statuses: Iterable[int], size: int, *, by: str = "id") -> Any:
    """A page of ListTasks or ListTasksDetailed: those of a session with one of these statuses.

    Args:
        session_id: The session.
        statuses: The statuses.
        size: How many the page has.
        by: The field that says which come first.
    """
    request = tasks_common_pb2.ListTasksRequest(page=0, page_size=size)
    mine: Test = ("session_id", "==", session_id)
    add_filters(request.filters, TASKS, [[mine, ("status", "==", each)] for each in statuses])
    return sort_upwards(request, TASKS, by)


def list_tasks(task_ids: Sequence[str]) -> Any:
    """ListTasks of these tasks, with their errors."""
    size = len(task_ids)
    request = tasks_common_pb2.ListTasksRequest(page=0, page_size=size, with_errors=True)
    add_filters(request.filters, TASKS, [[("id", "==", id)] for id in task_ids])
    return sort_upwards(request, TASKS, "id")


TASK_STATES = {
    task_status_pb2.TASK_STATUS_CREATING: TaskState.WAITING,
    task_status_pb2.TASK_STATUS_PENDING: TaskState.WAITING,
    task_status_pb2.TASK_STATUS_PAUSED: TaskState.PAUSED,
    task_status_pb2.TASK_STATUS_SUBMITTED: TaskState.QUEUED,
    task_status_pb2.TASK_STATUS_DISPATCHED: TaskState.QUEUED,
    task_status_pb2.TASK_STATUS_PROCESSING: TaskState.RUNNING,
    task_status_pb2.TASK_STATUS_PROCESSED: TaskState.RUNNING,
    task_status_pb2.TASK_STATUS_CANCELLING: TaskState.RUNNING,
    task_status_pb2.TASK_STATUS_RETRIED: TaskState.REPEATED,
}
"""Of the statuses of tasks that have not ended."""

RESULT_STATES = {
    result_status_pb2.RESULT_STATUS_COMPLETED: ResultState.COMPLETED,
    result_status_pb2.RESULT_STATUS_ABORTED: ResultState.ABORTED,
    result_status_pb2.RESULT_STATUS_DELETED: ResultState.DELETED,
}
"""Of the statuses of results that have ended."""


def count_tasks(session_id: str, partition: str) -> Any:
    """CountTasksByStatus of a session's or a partition's tasks, or of both."""
    wanted: list[Test] = []
    if session_id:
        wanted.append(("session_id", "==", session_id))
    if partition:
        wanted.append(("options.partition_id", "==", partition))
    request = tasks_common_pb2.CountTasksByStatusRequest()
    add_filters(request.filters, TASKS, [wanted])
    return request


def duration(task: Any) -> float | None:
    """Seconds that a task was processed, from its summary; None if the engine keeps no times.

    Until it had run, where that is told: its end is when its outputs are stored, too.
    """
    if task.HasField("started_at") and task.HasField("processed_at"):
        return max(_seconds(task.processed_at) - _seconds(task.started_at), 0.0)
    if task.HasField("processing_to_end_duration"):
        return _seconds(task.processing_to_end_duration)
    if task.HasField("started_at") and task.HasField("ended_at"):
        return max(_seconds(task.ended_at) - _seconds(task.started_at), 0.0)
    return None


def _seconds(message: Any) -> float:
    return float(message.seconds + message.nanos / 1e9)
