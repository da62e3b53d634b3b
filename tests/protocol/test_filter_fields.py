"""Fields and operators of lists: what one end writes the other reads, as armonik's client does."""

from __future__ import annotations

from typing import Any

import pytest
from armonik.common import Result, ResultStatus, Session, Task, TaskStatus
from armonik.protogen.common import (
    partitions_fields_pb2,
    partitions_filters_pb2,
    results_fields_pb2,
    results_filters_pb2,
    sessions_fields_pb2,
    sessions_filters_pb2,
    tasks_fields_pb2,
    tasks_filters_pb2,
)
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from armoflow.engine.filters import Condition, find_field
from armoflow.engine.services.filter_messages import parse_filters
from armoflow.protocol import filter_fields as table
from armoflow.protocol.filter_fields import OPERATORS, Fields, add_filters

LISTS: dict[str, tuple[Fields, Any, Any]] = {
    "sessions": (table.SESSIONS, sessions_filters_pb2, sessions_fields_pb2.SessionRawEnumField),
    "tasks": (table.TASKS, tasks_filters_pb2, tasks_fields_pb2.TaskSummaryEnumField),
    "results": (table.RESULTS, results_filters_pb2, results_fields_pb2.ResultRawEnumField),
    "partitions": (
        table.PARTITIONS,
        partitions_filters_pb2,
        partitions_fields_pb2.PartitionRawEnumField,
    ),
}
VALUES: dict[str, tuple[Any, Any]] = {
    "string": ("text", "text"),
    "number": (5, 5),
    "status": (4, 4),
    "boolean": (True, True),
    "array": ("element", "element"),
    "date": (Timestamp(seconds=5, nanos=500_000_000), 5.5),
    "duration": (Duration(seconds=7), 7.0),
}


@pytest.mark.parametrize("entity", LISTS)
def test_what_one_end_writes_the_other_reads(entity: Any) -> None:
    fields, messages, _ = LISTS[entity]
    kinds = dict(fields.kinds)
    if entity in ("sessions", "tasks"):
        kinds |= {**table.OPTIONS.kinds, table.GENERIC + "key": "string"}
    for name, kind in kinds.items():
        assert find_field(entity, name).kind == kind
        if f"filter_{kind}" not in messages.FilterField.DESCRIPTOR.fields_by_name:
            assert name == "manual_deletion"  # the API sorts by it, and has no test of it
            continue
        value, read = VALUES[kind]
        for operator in OPERATORS[kind]:
            filters = messages.Filters()
            add_filters(filters, fields, [[(name, operator, value)]])
            assert parse_filters(filters, fields) == ((Condition(name, operator, read),),)


@pytest.mark.parametrize("entity", LISTS)
def test_no_field_of_the_api_is_forgotten(entity: str) -> None:
    fields, _, enum = LISTS[entity]
    missing = {name for name, number in enum.items() if number and number not in fields.names}
    assert missing == ({"SESSION_RAW_ENUM_FIELD_OPTIONS"} if entity == "sessions" else set())


@pytest.mark.parametrize(
    ("entity", "alternatives", "theirs"),
    [
        (
            "results",
            [[("session_id", "==", "s"), ("status", "==", 2)], [("name", "starts with", "a/")]],
            ((Result.session_id == "s") & (Result.status == ResultStatus.COMPLETED))
            | Result.name.startswith("a/"),
        ),
        (
            "tasks",
            [[("options.partition_id", "==", "gpu"), ("status", "!=", 4)]],
            (Task.options.partition_id == "gpu") & (Task.status != TaskStatus.COMPLETED),
        ),
        ("sessions", [[("options.options.k", "==", "v")]], Session.options["k"] == "v"),
    ],
)
def test_it_is_what_armoniks_own_client_writes(entity: str, alternatives: Any, theirs: Any) -> None:
    fields, messages, _ = LISTS[entity]
    filters = messages.Filters()
    add_filters(filters, fields, alternatives)
    assert filters == theirs.to_disjunction().to_message()
