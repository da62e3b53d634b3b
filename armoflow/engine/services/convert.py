"""Records to API messages and back.

The generated messages carry no types, so that everything here is ``Any`` towards the wire and
typed towards the engine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from armonik.protogen.common import (
    events_common_pb2,
    objects_pb2,
    partitions_common_pb2,
    results_common_pb2,
    sessions_common_pb2,
    tasks_common_pb2,
)

from armoflow.codec.clipping import short_error
from armoflow.config import DURATION_LIMIT, FRAME_ENTRIES
from armoflow.engine.engine_options import encode_options
from armoflow.engine.pods import pod_of
from armoflow.engine.records import (
    ApiOptions,
    Event,
    EventKind,
    Partition,
    ResultRecord,
    SessionRecord,
    StateError,
    TaskRecord,
)
from armoflow.protocol import filter_fields
from armoflow.protocol.frames import OPTIONS

NANOSECONDS = 1_000_000_000

_OPTION_FIELDS = [
    name.removeprefix("options.")
    for name, kind in filter_fields.OPTIONS.kinds.items()
    if kind != "duration"
]
_TASK_DATES = filter_fields.TASKS.of_kind("date")
_SESSION_DATES = filter_fields.SESSIONS.of_kind("date")


def set_seconds(message: Any, seconds: float | None) -> None:
    """Write seconds into a Timestamp or Duration; None leaves it unset."""
    if seconds is None:
        return
    seconds = min(max(seconds, -DURATION_LIMIT), DURATION_LIMIT)
    whole = int(seconds // 1)
    nanoseconds = round((seconds - whole) * NANOSECONDS)
    if nanoseconds == NANOSECONDS:
        whole, nanoseconds = whole + 1, 0
    if whole < 0 < nanoseconds:  # a negative Duration has both parts negative
        whole, nanoseconds = whole + 1, nanoseconds - NANOSECONDS
    message.seconds = whole
    message.nanos = nanoseconds
    message.SetInParent()  # the epoch itself, or no duration at all, is a value too


def get_seconds(message: Any) -> float:
    """Seconds of a Timestamp or Duration."""
    return float(message.seconds + message.nanos / NANOSECONDS)


def options_from_message(message: Any) -> ApiOptions:
    """Task options as they came; an absent ``max_duration`` is 0: inherit.

    Raises:
        MalformedError: If they could not be kept or shown again.
    """
    options = ApiOptions(
        max_duration=get_seconds(message.max_duration),
        options=dict(message.options),
        **{name: getattr(message, name) for name in _OPTION_FIELDS},
    )
    OPTIONS.check(encode_options(options), "task_options")
    return options


def optional_options(request: Any) -> ApiOptions | None:
    """The ``task_options`` of a request or of one of its tasks, None if absent."""
    return options_from_message(request.task_options) if request.HasField("task_options") else None


def check_count(request: Any) -> None:
    """Refuse a submission of more tasks than others wait for.

    Raises:
        StateError: INVALID_ARGUMENT.
    """
    count = len(request.task_creations)
    if count > FRAME_ENTRIES:
        raise StateError(
            "INVALID_ARGUMENT",
            f"task_creations has {count:,} entries: at most {FRAME_ENTRIES:,} are taken at once",
        )


def check_durations(request: Any) -> None:
    """Refuse a submission whose options have no ``max_duration``, as the reference engine does.

    Raises:
        StateError: UNKNOWN.
    """
    for holder in (request, *request.task_creations):
        if holder.HasField("task_options") and not holder.task_options.HasField("max_duration"):
            raise StateError("UNKNOWN", "task_options need a max_duration")


def options_to_message(options: ApiOptions) -> Any:
    """Task options as the API shows them."""
    message = objects_pb2.TaskOptions(
        options=options.options, **{name: getattr(options, name) for name in _OPTION_FIELDS}
    )
    set_seconds(message.max_duration, options.max_duration)
    return message


def session_to_message(session: SessionRecord) -> Any:
    """A SessionRaw."""
    message = sessions_common_pb2.SessionRaw(
        session_id=session.id,
        status=int(session.status),
        client_submission=session.client_submission,
        worker_submission=session.worker_submission,
        partition_ids=session.partition_ids,
        options=options_to_message(session.options),
    )
    _set_dates(message, session, _SESSION_DATES)
    set_seconds(message.duration, session.duration)
    return message


def result_to_message(result: ResultRecord) -> Any:
    """A ResultRaw."""
    message = results_common_pb2.ResultRaw(
        session_id=result.session_id,
        name=result.name,
        owner_task_id=result.owner_task_id,
        status=int(result.status),
        result_id=result.id,
        size=result.size,
        created_by=result.created_by,
        opaque_id=result.opaque_id,
        manual_deletion=result.manual_deletion,
    )
    set_seconds(message.created_at, result.created_at)
    set_seconds(message.completed_at, result.completed_at)
    return message


def task_to_summary(task: TaskRecord) -> Any:
    """A TaskSummary: counts where the detailed form has lists."""
    message = tasks_common_pb2.TaskSummary(
        count_parent_task_ids=task.depth,
        count_data_dependencies=len(task.dependencies),
        count_expected_output_ids=len(task.outputs),
        count_retry_of_ids=len(task.retry_of),
        error=short_error(task.error),
        **_task_fields(task),
    )
    _set_task_dates(message, task)
    return message


def task_to_detailed(
    task: TaskRecord, parent_ids: Sequence[str] = (), *, whole: bool = False
) -> Any:
    """A TaskDetailed.

    Args:
        task: The task.
        parent_ids: The session and all tasks above it.
        whole: Show its whole error text, which may be long: where it is alone.
    """
    error = task.error if whole else short_error(task.error)
    message = tasks_common_pb2.TaskDetailed(
        parent_task_ids=parent_ids,
        data_dependencies=task.dependencies,
        expected_output_ids=task.outputs,
        retry_of_ids=task.retry_of,
        output=tasks_common_pb2.TaskDetailed.Output(success=task.success, error=error),
        **_task_fields(task),
    )
    _set_task_dates(message, task)
    return message


def partition_to_message(partition: Partition) -> Any:
    """A PartitionRaw."""
    return partitions_common_pb2.PartitionRaw(
        id=partition.id,
        parent_partition_ids=partition.parent_ids,
        pod_reserved=partition.pod_reserved,
        pod_max=partition.pod_max,
        preemption_percentage=partition.preemption_percentage,
        priority=partition.priority,
        pod_configuration=partition.configuration,
    )


def event_to_message(event: Event, parent_ids: Sequence[str] = ()) -> Any:
    """An EventSubscriptionResponse with the status that the event carries.

    ``parent_ids`` are those of a new task.
    """
    record = event.record
    reply = events_common_pb2.EventSubscriptionResponse(session_id=record.session_id)
    if event.kind is EventKind.RESULT_STATUS_UPDATE:
        reply.result_status_update.result_id = record.id
        reply.result_status_update.status = event.status
    elif event.kind is EventKind.TASK_STATUS_UPDATE:
        reply.task_status_update.task_id = record.id
        reply.task_status_update.status = event.status
    elif isinstance(record, TaskRecord):
        _fill_new_task(reply.new_task, record, event.status, parent_ids)
    elif event.kind is EventKind.NEW_RESULT:
        reply.new_result.result_id = record.id
        reply.new_result.owner_id = record.owner_task_id
        reply.new_result.status = event.status
    else:
        # The reference engine never fills previous_owner_id either.
        reply.result_owner_update.result_id = record.id
        reply.result_owner_update.current_owner_id = record.owner_task_id
    return reply


def _fill_new_task(message: Any, task: TaskRecord, status: int, parent_ids: Sequence[str]) -> None:
    message.task_id = task.id
    message.payload_id = task.payload_id
    message.origin_task_id = task.initial_id
    message.status = status
    message.expected_output_keys.extend(task.outputs)
    message.data_dependencies.extend(task.dependencies)
    message.retry_of_ids.extend(task.retry_of)
    message.parent_task_ids.extend(parent_ids)


def _task_fields(task: TaskRecord) -> Mapping[str, Any]:
    pod = pod_of(task.owner)
    return {
        "id": task.id,
        "session_id": task.session_id,
        "owner_pod_id": pod.address,
        "pod_hostname": pod.name,
        "initial_task_id": task.initial_id,
        "status": int(task.status),
        "options": options_to_message(task.options),
        "payload_id": task.payload_id,
        "created_by": task.created_by,
    }


def _set_task_dates(message: Any, task: TaskRecord) -> None:
    _set_dates(message, task, _TASK_DATES)
    if task.ended_at is None or not task.has_durations:
        return
    set_seconds(message.creation_to_end_duration, task.ended_at - task.created_at)
    if task.started_at is not None:
        set_seconds(message.processing_to_end_duration, task.ended_at - task.started_at)
    if task.received_at is not None:
        set_seconds(message.received_to_end_duration, task.ended_at - task.received_at)


def _set_dates(message: Any, record: SessionRecord | TaskRecord, names: Sequence[str]) -> None:
    for name in names:
        set_seconds(getattr(message, name), getattr(record, name))
