"""The API's filters, sorts and pages in the engine's own terms.

A condition names a record's attribute, an operator and a value of plain Python; lists are answered
by the journal's queries, and event streams test live records with the predicate made of the same
conditions. A result's opaque id, which is bytes, is compared as its hexadecimal digits.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any, NamedTuple, TypedDict

from armonik.protogen.common import (
    applications_fields_pb2,
    partitions_fields_pb2,
    results_fields_pb2,
    sessions_fields_pb2,
    sort_direction_pb2,
    tasks_fields_pb2,
)

from armoflow.engine.filters import MAXIMUM_CONDITIONS, Condition, Filters, Operator
from armoflow.engine.records import StateError
from armoflow.engine.services.convert import get_seconds


class ListArguments(TypedDict):
    """How a query is ordered and cut."""

    sort: str
    descending: bool
    page: int
    page_size: int


class Schema(NamedTuple):
    """The fields of one entity: paths by enum number, and what kind of value each holds."""

    enum_field: str
    paths: Mapping[int, str]
    kinds: Mapping[str, str]
    default_sort: str = "id"


_OPTION_KINDS = {
    "max_duration": "duration",
    "max_retries": "number",
    "priority": "number",
    "partition_id": "string",
    "application_name": "string",
    "application_version": "string",
    "application_namespace": "string",
    "application_service": "string",
    "engine_type": "string",
}

_OPTION_PATHS = {
    number: f"options.{name[len('TASK_OPTION_ENUM_FIELD_') :].lower()}"
    for name, number in tasks_fields_pb2.TaskOptionEnumField.items()
    if number
}


def _paths(
    enum: Any, prefix: str, names: Mapping[str, str], without: Container[str] = ()
) -> dict[int, str]:
    """Attribute paths by enum number: the enum's own name, lowered, unless ``names`` says other."""
    lowered = {number: name[len(prefix) :].lower() for name, number in enum.items() if number}
    return {
        number: names.get(name, name) for number, name in lowered.items() if name not in without
    }


SESSIONS = Schema(
    "session_raw_field",
    _paths(
        sessions_fields_pb2.SessionRawEnumField,
        "SESSION_RAW_ENUM_FIELD_",
        {"session_id": "id"},
        without=("options",),
    ),
    {
        "id": "string",
        "status": "status",
        "partition_ids": "array",
        "created_at": "date",
        "cancelled_at": "date",
        "closed_at": "date",
        "purged_at": "date",
        "deleted_at": "date",
        "duration": "duration",
        "worker_submission": "boolean",
        "client_submission": "boolean",
    },
)

TASKS = Schema(
    "task_summary_field",
    _paths(
        tasks_fields_pb2.TaskSummaryEnumField,
        "TASK_SUMMARY_ENUM_FIELD_",
        {
            "task_id": "id",
            "initial_task_id": "initial_id",
            "creation_to_end_duration": "creation_to_end",
            "processing_to_end_duration": "processing_to_end",
            "received_to_end_duration": "received_to_end",
        },
    ),
    {
        "id": "string",
        "session_id": "string",
        "owner_pod_id": "string",
        "pod_hostname": "string",
        "initial_id": "string",
        "status": "status",
        "created_at": "date",
        "submitted_at": "date",
        "received_at": "date",
        "acquired_at": "date",
        "fetched_at": "date",
        "started_at": "date",
        "processed_at": "date",
        "ended_at": "date",
        "pod_ttl": "date",
        "creation_to_end": "duration",
        "processing_to_end": "duration",
        "received_to_end": "duration",
        "error": "string",
        "payload_id": "string",
        "created_by": "string",
    },
)

RESULTS = Schema(
    "result_raw_field",
    _paths(results_fields_pb2.ResultRawEnumField, "RESULT_RAW_ENUM_FIELD_", {"result_id": "id"}),
    {
        "id": "string",
        "session_id": "string",
        "name": "string",
        "owner_task_id": "string",
        "status": "status",
        "created_at": "date",
        "completed_at": "date",
        "size": "number",
        "created_by": "string",
        "opaque_id": "string",
        "manual_deletion": "boolean",
    },
)

PARTITIONS = Schema(
    "partition_raw_field",
    _paths(
        partitions_fields_pb2.PartitionRawEnumField,
        "PARTITION_RAW_ENUM_FIELD_",
        {"parent_partition_ids": "parent_ids"},
    ),
    {
        "id": "string",
        "parent_ids": "array",
        "pod_reserved": "number",
        "pod_max": "number",
        "preemption_percentage": "number",
        "priority": "number",
    },
)

APPLICATIONS = Schema(
    "application_field",
    _paths(
        applications_fields_pb2.ApplicationRawEnumField,
        "APPLICATION_RAW_ENUM_FIELD_",
        {
            "name": "options.application_name",
            "version": "options.application_version",
            "namespace": "options.application_namespace",
            "service": "options.application_service",
        },
    ),
    {},
    default_sort="options.application_name",
)

_NO_KEY = "options.options."
"""The path of an option without a name, which can be asked for but not sorted by (strict)."""

_STRING: tuple[Operator, ...] = ("==", "!=", "contains", "not contains", "starts with", "ends with")
_ORDERED: tuple[Operator, ...] = ("==", "!=", "<", "<=", ">=", ">")
_OPERATORS: dict[str, tuple[Operator, ...]] = {
    "string": _STRING,
    "number": _ORDERED,
    "date": _ORDERED,
    "duration": _ORDERED,
    "status": ("==", "!="),
    "boolean": ("==",),
    "array": ("contains", "not contains"),
}


# --- from the wire ------------------------------------------------------------------------------


def parse_list(
    request: Any, schema: Schema, *, strict: bool = False
) -> tuple[Filters, ListArguments]:
    """Validate and translate a List request that sorts by one field.

    Args:
        request: Any of the API's List requests but that of applications.
        schema: The entity's fields.
        strict: Refuse absent filters and sorts, as the reference engine does.

    Returns:
        The filters, and the other arguments of the query.

    Raises:
        StateError: With the code that the caller gets.
    """
    check_page(request, strict=strict)
    fields = [request.sort.field] if request.sort.HasField("field") else []
    paths, descending = parse_sort(request.sort, fields, schema, strict=strict)
    return parse_filters(request.filters, schema, strict=strict), ListArguments(
        sort=paths[0], descending=descending, page=request.page, page_size=request.page_size
    )


def check_page(request: Any, *, strict: bool = False) -> None:
    """Refuse a List request whose page is impossible."""
    if request.page < 0 or request.page_size < 0:
        raise StateError("INVALID_ARGUMENT", "page and page_size must not be negative")
    if strict and not request.HasField("filters"):
        raise StateError("INVALID_ARGUMENT", "filters must be given, even if empty")


def parse_filters(filters: Any, schema: Schema, *, strict: bool = False) -> Filters:
    """Translate an API ``Filters`` message.

    Raises:
        StateError: If a condition has no field or value, or one that does not fit the other
            (INVALID_ARGUMENT; UNKNOWN if ``strict``, as the reference engine says).
    """
    count = sum(len(getattr(both, "and")) for both in getattr(filters, "or"))
    if count > MAXIMUM_CONDITIONS:
        raise StateError("INVALID_ARGUMENT", f"filter: more than {MAXIMUM_CONDITIONS} conditions")
    return tuple(
        tuple(_parse_condition(condition, schema, strict) for condition in getattr(both, "and"))
        for both in getattr(filters, "or")
    )


def parse_sort(
    sort: Any, fields: list[Any], schema: Schema, *, strict: bool = False
) -> tuple[tuple[str, ...], bool]:
    """The paths to sort by, and whether the order is descending."""
    unspecified = sort.direction == sort_direction_pb2.SORT_DIRECTION_UNSPECIFIED
    if strict and (unspecified or not fields):
        raise StateError("INVALID_ARGUMENT", "a sort needs a field and a direction")
    paths = tuple(dict.fromkeys(_parse_field(field, schema, strict)[0] for field in fields))
    if strict and _NO_KEY in paths:
        raise StateError("UNKNOWN", "sort: the key of an option is empty")
    descending = sort.direction == sort_direction_pb2.SORT_DIRECTION_DESC
    return paths or (schema.default_sort,), descending


def _parse_condition(condition: Any, schema: Schema, strict: bool) -> Condition:
    path, kind = _parse_field(condition.field, schema, strict)
    value_name = condition.WhichOneof("value_condition")
    if value_name is None:
        raise _bad_filter(f"the condition on {path!r} has no value", strict)
    value_kind = value_name[len("filter_") :]
    # A status is a number to the reference engine, too.
    if value_kind != kind and (kind, value_kind) != ("status", "number"):
        raise _bad_filter(f"{path!r} is a {kind}, not a {value_kind}", strict)
    message = getattr(condition, value_name)
    signs = _OPERATORS[value_kind]
    if not 0 <= message.operator < len(signs):
        raise _bad_filter(f"unknown operator {message.operator} for {path!r}", strict)
    sign = signs[message.operator]
    value = message.value
    if kind in ("date", "duration"):
        value = get_seconds(value) if message.HasField("value") else None
        if value is None and sign not in ("==", "!="):
            raise _bad_filter(f"{path!r} {sign} needs a value", strict)
        if value is None and strict and kind == "date" and schema is SESSIONS:
            raise _bad_filter(f"the condition on {path!r} has no date", strict)
    elif path == "opaque_id":
        if strict:
            raise _bad_filter("opaque_id is not compared", strict)
        value = value.lower()
    return Condition(path, sign, value)


def _parse_field(field: Any, schema: Schema, strict: bool) -> tuple[str, str]:
    """The attribute's path and the kind of its values."""
    name = field.WhichOneof("field")
    if name == "task_option_generic_field":
        return f"options.options.{field.task_option_generic_field.field}", "string"
    if name == "task_option_field":
        path = _OPTION_PATHS.get(field.task_option_field.field)
        if path is not None:
            return path, _OPTION_KINDS[path[len("options.") :]]
    elif name == schema.enum_field:
        path = schema.paths.get(getattr(field, name).field)
        if path is not None:
            return path, schema.kinds.get(path, "string")
    raise _bad_filter("a field is missing or unspecified", strict)


def _bad_filter(message: str, strict: bool) -> StateError:
    return StateError("UNKNOWN" if strict else "INVALID_ARGUMENT", f"filter: {message}")
