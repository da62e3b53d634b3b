"""Records as rows of the journal, and back."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from armoflow.engine.records import (
    ApiOptions,
    ResultRecord,
    ResultStatus,
    SessionRecord,
    SessionStatus,
    TaskRecord,
    TaskStatus,
)
from armoflow.engine.schema import OPTIONS_COLUMNS

# --- records as rows ----------------------------------------------------------------------------

_join = "\n".join


def task_values(tasks: Iterable[TaskRecord], options_ids: Mapping[int, int]) -> list[Any]:
    """The rows of tasks, one after the other; ``options_ids`` by identity of the options."""
    values: list[Any] = []
    extend = values.extend
    options, options_id = None, 0
    for task in tasks:
        if task.options is not options:  # many tasks share them
            options = task.options
            options_id = options_ids[id(options)]
        extend(
            (
                task.id,
                task.session_id,
                task.status._value_,
                options_id,
                task.payload_id,
                task.initial_id,
                task.created_by,
                _join(task.dependencies) if task.dependencies else "",
                _join(task.outputs),
                task.depth,
                _join(task.retry_of) if task.retry_of else "",
                task.order,
                task.owner,
                1 if task.success else 0,
                task.error,
                task.created_at,
                task.submitted_at or 0.0,
                task.received_at or 0.0,
                task.acquired_at or 0.0,
                task.fetched_at or 0.0,
                task.started_at or 0.0,
                task.processed_at or 0.0,
                task.ended_at or 0.0,
                task.pod_ttl or 0.0,
                task.not_before,
            )
        )
    return values


def result_values(results: Iterable[ResultRecord]) -> list[Any]:
    """The rows of results, one after the other."""
    values: list[Any] = []
    extend = values.extend
    for result in results:
        extend(
            (
                result.id,
                result.session_id,
                result.name,
                result.status._value_,
                result.created_by,
                result.owner_task_id,
                result.created_at,
                result.completed_at or 0.0,
                result.size,
                result.opaque_id.hex(),
                1 if result.manual_deletion else 0,
            )
        )
    return values


def session_values(sessions: Iterable[SessionRecord], options_ids: Mapping[int, int]) -> list[Any]:
    """The rows of sessions, one after the other."""
    values: list[Any] = []
    for session in sessions:
        values += (
            session.id,
            int(session.status),
            options_ids[id(session.options)],
            json.dumps(session.partition_ids),
            int(session.client_submission),
            int(session.worker_submission),
            session.created_at,
            session.cancelled_at or 0.0,
            session.closed_at or 0.0,
            session.purged_at or 0.0,
            session.deleted_at or 0.0,
            session.duration or 0.0,
            int(session.leased),
            int(session.sweeping),
        )
    return values


def options_values(options: ApiOptions, row: int) -> list[Any]:
    """The row of options."""
    return [
        row,
        float(options.max_duration),
        options.max_retries,
        options.priority,
        options.partition_id,
        options.application_name,
        options.application_version,
        options.application_namespace,
        options.application_service,
        options.engine_type,
        json.dumps(dict(options.options)),
    ]


# --- rows as records ----------------------------------------------------------------------------

# Calling an enumeration costs as much as making the record.
_TASK_STATUSES = {int(status): status for status in TaskStatus}
_RESULT_STATUSES = {int(status): status for status in ResultStatus}


def split_ids(text: str) -> tuple[str, ...]:
    """The ids in a column that holds several."""
    return tuple(text.split("\n")) if text else ()


def make_task(row: Sequence[Any], options: Mapping[int, ApiOptions]) -> TaskRecord:
    """The task of a row.

    Its fields are given by their places: by their names it takes twice as long, and an engine that
    starts may have millions to make.
    """
    return TaskRecord(
        row[0],  # id
        row[1],  # session_id
        row[4],  # payload_id
        split_ids(row[7]),  # dependencies
        split_ids(row[8]),  # outputs
        options[row[3]],
        row[15],  # created_at
        row[5],  # initial_id
        row[9],  # depth
        row[6],  # created_by
        split_ids(row[10]),  # retry_of
        _TASK_STATUSES[row[2]],
        0,  # remaining, which is counted where it matters
        row[11],  # order
        row[12],  # owner
        row[13] != 0,  # success
        row[14],  # error
        row[16] or None,  # submitted_at
        row[17] or None,  # received_at
        row[18] or None,  # acquired_at
        row[19] or None,  # fetched_at
        row[20] or None,  # started_at
        row[21] or None,  # processed_at
        row[22] or None,  # ended_at
        row[23] or None,  # pod_ttl
        row[24] or 0.0,  # not_before: one object for all
    )


def make_result(row: Sequence[Any]) -> ResultRecord:
    """The result of a row; see :func:`make_task`."""
    return ResultRecord(
        row[0],  # id
        row[1],  # session_id
        row[2],  # name
        row[6],  # created_at
        _RESULT_STATUSES[row[3]],
        row[4],  # created_by
        row[5],  # owner_task_id
        row[7] or None,  # completed_at
        row[8],  # size
        bytes.fromhex(row[9]),  # opaque_id
        row[10] != 0,  # manual_deletion
    )


def make_session(row: Sequence[Any], options: Mapping[int, ApiOptions]) -> SessionRecord:
    """The session of a row."""
    closed_at = row[8] or None
    return SessionRecord(
        id=row[0],
        status=SessionStatus(row[1]),
        options=options[row[2]],
        partition_ids=tuple(json.loads(row[3])),
        client_submission=bool(row[4]),
        worker_submission=bool(row[5]),
        created_at=row[6],
        cancelled_at=row[7] or None,
        closed_at=closed_at,
        purged_at=row[9] or None,
        deleted_at=row[10] or None,
        duration=row[11] if closed_at is not None else None,
        leased=bool(row[12]),
        sweeping=bool(row[13]),
    )


def make_options(row: Sequence[Any]) -> ApiOptions:
    """The options of a row, its id left out."""
    values = dict(zip(OPTIONS_COLUMNS[1:], row, strict=True))
    values["options"] = json.loads(values["options"])
    return ApiOptions(**values)
