"""Protobuf messages from armoflow's types, and filters for the List and Events calls."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from armonik.protogen.common import (
    filters_common_pb2,
    objects_pb2,
    results_common_pb2,
    results_fields_pb2,
    results_filters_pb2,
    sort_direction_pb2,
    task_status_pb2,
    tasks_common_pb2,
    tasks_fields_pb2,
    tasks_filters_pb2,
)
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from armoflow.protocol.frames import KEPT_PREFIX, OUTPUT_PREFIX
from armoflow.protocol.transport import TaskState, WireOptions
from armoflow.version import __version__

NAMESPACE = "armoflow"
SERVICE = "python"
"""What ArmoniK's tools show of armoflow's sessions, beside the application's name and version."""

NAME_LIMIT = 200


def output_name(name: str, keep: bool) -> str:
    """The name of an expected output's result."""
    return (KEPT_PREFIX if keep else OUTPUT_PREFIX) + name[:NAME_LIMIT]


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


def chunks(items: Sequence[Any], size: int) -> Iterable[Sequence[Any]]:
    """The items in lists of at most ``size``."""
    for first in range(0, len(items), size):
        yield items[first : first + size]


def without_repetition(pairs: Iterable[tuple[str, bytes]]) -> Iterable[list[tuple[str, bytes]]]:
    """The pairs in as few groups as possible, none of which names an opaque id twice.

    Example:
        >>> list(without_repetition([("a", b"1"), ("b", b"1"), ("c", b"2")]))
        [[('a', b'1'), ('c', b'2')], [('b', b'1')]]
    """
    groups: list[list[tuple[str, bytes]]] = []
    counts: dict[bytes, int] = {}
    for result_id, opaque_id in pairs:
        number = counts[opaque_id] = counts.get(opaque_id, -1) + 1
        if number == len(groups):
            groups.append([])
        groups[number].append((result_id, opaque_id))
    return groups


def _result_field(field: int) -> Any:
    return results_fields_pb2.ResultField(
        result_raw_field=results_fields_pb2.ResultRawField(field=field)
    )


def _string(value: str, operator: int) -> Any:
    return filters_common_pb2.FilterString(value=value, operator=operator)


def result_filters(alternatives: Iterable[Sequence[tuple[int, str, int]]]) -> Any:
    """Filters on results: an OR of ANDs of (field, value, operator)."""
    filters = results_filters_pb2.Filters()
    for alternative in alternatives:
        conditions = getattr(filters, "or").add()
        for field, value, operator in alternative:
            condition = getattr(conditions, "and").add()
            condition.field.CopyFrom(_result_field(field))
            condition.filter_string.CopyFrom(_string(value, operator))
    return filters


def named_filter(prefixes: Iterable[str]) -> Any:
    """Results whose names begin so or so."""
    name = results_fields_pb2.RESULT_RAW_ENUM_FIELD_NAME
    begins = filters_common_pb2.FILTER_STRING_OPERATOR_STARTS_WITH
    return result_filters([[(name, prefix, begins)] for prefix in prefixes])


def list_results(session_id: str, result_ids: Sequence[str]) -> Any:
    """ListResults of these results."""
    equal = filters_common_pb2.FILTER_STRING_OPERATOR_EQUAL
    identifier = results_fields_pb2.RESULT_RAW_ENUM_FIELD_RESULT_ID
    return results_common_pb2.ListResultsRequest(
        page=0,
        page_size=len(result_ids),
        filters=result_filters([[(identifier, result, equal)] for result in result_ids]),
        sort=results_common_pb2.ListResultsRequest.Sort(
            field=_result_field(identifier), direction=sort_direction_pb2.SORT_DIRECTION_ASC
        ),
    )


def results_in(
    session_id: str, status: int, size: int, prefix: str = "", since: Timestamp | None = None
) -> Any:
    """A page of ListResults: those of a session with a status.

    Args:
        session_id: The session.
        status: Their status.
        size: How many rows a page has.
        prefix: What their names begin with.
        since: When they were created at the earliest.
    """
    equal = filters_common_pb2.FILTER_STRING_OPERATOR_EQUAL
    session = results_fields_pb2.RESULT_RAW_ENUM_FIELD_SESSION_ID
    filters = result_filters([[(session, session_id, equal)]])
    condition = getattr(getattr(filters, "or")[0], "and").add()
    condition.field.CopyFrom(_result_field(results_fields_pb2.RESULT_RAW_ENUM_FIELD_STATUS))
    condition.filter_status.CopyFrom(
        results_filters_pb2.FilterStatus(
            value=status, operator=filters_common_pb2.FILTER_STATUS_OPERATOR_EQUAL
        )
    )
    if prefix:
        condition = getattr(getattr(filters, "or")[0], "and").add()
        condition.field.CopyFrom(_result_field(results_fields_pb2.RESULT_RAW_ENUM_FIELD_NAME))
        begins = filters_common_pb2.FILTER_STRING_OPERATOR_STARTS_WITH
        condition.filter_string.CopyFrom(_string(prefix, begins))
    if since is not None:
        condition = getattr(getattr(filters, "or")[0], "and").add()
        condition.field.CopyFrom(_result_field(results_fields_pb2.RESULT_RAW_ENUM_FIELD_CREATED_AT))
        condition.filter_date.CopyFrom(
            filters_common_pb2.FilterDate(
                value=since, operator=filters_common_pb2.FILTER_DATE_OPERATOR_AFTER_OR_EQUAL
            )
        )
    return results_common_pb2.ListResultsRequest(
        page=0,
        page_size=size,
        filters=filters,
        sort=results_common_pb2.ListResultsRequest.Sort(
            field=_result_field(results_fields_pb2.RESULT_RAW_ENUM_FIELD_RESULT_ID),
            direction=sort_direction_pb2.SORT_DIRECTION_ASC,
        ),
    )


def tasks_in(session_id: str, statuses: Iterable[int], size: int) -> Any:
    """A page of ListTasks or ListTasksDetailed: those of a session with one of these statuses."""
    filters = tasks_filters_pb2.Filters()
    for status in statuses:
        conditions = getattr(filters, "or").add()
        _equal(
            conditions, _task_field(tasks_fields_pb2.TASK_SUMMARY_ENUM_FIELD_SESSION_ID), session_id
        )
        condition = getattr(conditions, "and").add()
        condition.field.CopyFrom(_task_field(tasks_fields_pb2.TASK_SUMMARY_ENUM_FIELD_STATUS))
        condition.filter_status.CopyFrom(
            tasks_filters_pb2.FilterStatus(
                value=status, operator=filters_common_pb2.FILTER_STATUS_OPERATOR_EQUAL
            )
        )
    return tasks_common_pb2.ListTasksRequest(
        page=0,
        page_size=size,
        filters=filters,
        sort=tasks_common_pb2.ListTasksRequest.Sort(
            field=_task_field(tasks_fields_pb2.TASK_SUMMARY_ENUM_FIELD_TASK_ID),
            direction=sort_direction_pb2.SORT_DIRECTION_ASC,
        ),
    )


def _task_field(field: int) -> Any:
    return tasks_fields_pb2.TaskField(
        task_summary_field=tasks_fields_pb2.TaskSummaryField(field=field)
    )


def list_tasks(task_ids: Sequence[str]) -> Any:
    """ListTasks of these tasks, with their errors."""
    field = _task_field(tasks_fields_pb2.TASK_SUMMARY_ENUM_FIELD_TASK_ID)
    filters = tasks_filters_pb2.Filters()
    for task_id in task_ids:
        _equal(getattr(filters, "or").add(), field, task_id)
    return tasks_common_pb2.ListTasksRequest(
        page=0,
        page_size=len(task_ids),
        filters=filters,
        sort=tasks_common_pb2.ListTasksRequest.Sort(
            field=field, direction=sort_direction_pb2.SORT_DIRECTION_ASC
        ),
        with_errors=True,
    )


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


def count_tasks(session_id: str, partition: str) -> Any:
    """CountTasksByStatus of a session's or a partition's tasks, or of both."""
    filters = tasks_filters_pb2.Filters()
    conditions = getattr(filters, "or").add()
    if session_id:
        field = _task_field(tasks_fields_pb2.TASK_SUMMARY_ENUM_FIELD_SESSION_ID)
        _equal(conditions, field, session_id)
    if partition:
        option = tasks_fields_pb2.TaskOptionField(
            field=tasks_fields_pb2.TASK_OPTION_ENUM_FIELD_PARTITION_ID
        )
        _equal(conditions, tasks_fields_pb2.TaskField(task_option_field=option), partition)
    return tasks_common_pb2.CountTasksByStatusRequest(filters=filters)


def _equal(conditions: Any, field: Any, value: str) -> None:
    condition = getattr(conditions, "and").add()
    condition.field.CopyFrom(field)
    condition.filter_string.CopyFrom(
        _string(value, filters_common_pb2.FILTER_STRING_OPERATOR_EQUAL)
    )


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
