"""What lists are filtered and sorted by, at both ends of a call: one table.

A field's name is that of the engine's records: the API's own in small letters, but ``id`` for what
a list is of. Options of tasks are ``options.priority`` and so on, generic ones
``options.options.<key>``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from importlib import import_module
from typing import Any, Final, Literal, TypeAlias

FieldKind: TypeAlias = Literal["string", "number", "boolean", "status", "date", "duration", "array"]
Operator: TypeAlias = Literal[
    "==", "!=", "<", "<=", ">", ">=", "contains", "not contains", "starts with", "ends with"
]
Test: TypeAlias = "tuple[str, Operator, Any]"
"""A field, an operator, and a value as the API has it."""

_ORDERED: Final[tuple[Operator, ...]] = ("==", "!=", "<", "<=", ">=", ">")
OPERATORS: Final[Mapping[FieldKind, tuple[Operator, ...]]] = {
    "string": ("==", "!=", "contains", "not contains", "starts with", "ends with"),
    "number": _ORDERED,
    "date": _ORDERED,
    "duration": _ORDERED,
    "status": ("==", "!="),
    "boolean": ("==",),
    "array": ("contains", "not contains"),
}
"""What each kind of value is compared by; the API's number of an operator is its place."""

GENERIC: Final = "options.options."
"""What the names of generic options begin with."""

_ASCENDING: Final = 1
"""The API's number of this direction (sort_direction.proto)."""


class Fields:
    """Fields of one enumeration of the API's.

    Args:
        choice: Which of a message's fields says that it is one of these.
        enum: The enumeration: its module of messages, a dot, and its name.
        prefix: What its names begin with.
        renamed: The API's names of those that are called otherwise here.
        names: The fields, by kind of value, with blanks between.

    Attributes:
        choice: As given.
        kinds: What the value of each field is.
    """

    def __init__(
        self,
        choice: str,
        enum: str,
        prefix: str,
        renamed: Mapping[str, str] | None = None,
        **names: str,
    ) -> None:
        self.choice = choice
        self.kinds: dict[str, Any] = {
            name: kind for kind, some in names.items() for name in some.split()
        }
        self._enum = enum
        self._prefix = prefix
        self._renamed = renamed or {}

    def of_kind(self, kind: FieldKind) -> list[str]:
        """The fields with values of a kind."""
        return [name for name, each in self.kinds.items() if each == kind]

    @cached_property
    def numbers(self) -> dict[str, int]:
        """The API's number of each field; an engine that nobody lists does without its messages."""
        module, _, name = self._enum.partition(".")
        enum = getattr(import_module(f"armonik.protogen.common.{module}"), name)
        return {
            name: enum.Value(
                self._prefix + self._renamed.get(name, name.rpartition(".")[2]).upper()
            )
            for name in self.kinds
        }

    @cached_property
    def names(self) -> dict[int, str]:
        """The name of each number."""
        return {number: name for name, number in self.numbers.items()}


OPTIONS: Final = Fields(
    "task_option_field",
    "tasks_fields_pb2.TaskOptionEnumField",
    "TASK_OPTION_ENUM_FIELD_",
    string="options.partition_id options.application_name options.application_version"
    " options.application_namespace options.application_service options.engine_type",
    number="options.max_retries options.priority",
    duration="options.max_duration",
)
"""Of tasks and of sessions, beside their own."""

SESSIONS: Final = Fields(
    "session_raw_field",
    "sessions_fields_pb2.SessionRawEnumField",
    "SESSION_RAW_ENUM_FIELD_",
    {"id": "session_id"},
    string="id",
    status="status",
    array="partition_ids",
    date="created_at cancelled_at closed_at purged_at deleted_at",
    duration="duration",
    boolean="worker_submission client_submission",
)

TASKS: Final = Fields(
    "task_summary_field",
    "tasks_fields_pb2.TaskSummaryEnumField",
    "TASK_SUMMARY_ENUM_FIELD_",
    {
        "id": "task_id",
        "initial_id": "initial_task_id",
        "creation_to_end": "creation_to_end_duration",
        "processing_to_end": "processing_to_end_duration",
        "received_to_end": "received_to_end_duration",
    },
    string="id session_id owner_pod_id pod_hostname initial_id error payload_id created_by",
    status="status",
    date="created_at submitted_at received_at acquired_at fetched_at started_at processed_at"
    " ended_at pod_ttl",
    duration="creation_to_end processing_to_end received_to_end",
)

RESULTS: Final = Fields(
    "result_raw_field",
    "results_fields_pb2.ResultRawEnumField",
    "RESULT_RAW_ENUM_FIELD_",
    {"id": "result_id"},
    string="id session_id name owner_task_id created_by opaque_id",
    status="status",
    date="created_at completed_at",
    number="size",
    boolean="manual_deletion",
)

PARTITIONS: Final = Fields(
    "partition_raw_field",
    "partitions_fields_pb2.PartitionRawEnumField",
    "PARTITION_RAW_ENUM_FIELD_",
    {"parent_ids": "parent_partition_ids"},
    string="id",
    array="parent_ids",
    number="pod_reserved pod_max preemption_percentage priority",
)


# --- into messages ------------------------------------------------------------------------------


def add_filters(message: Any, fields: Fields, alternatives: Iterable[Sequence[Test]]) -> None:
    """Add an OR of ANDs to a Filters message."""
    for alternative in alternatives:
        conditions = getattr(getattr(message, "or").add(), "and")
        for name, operator, value in alternative:
            condition = conditions.add()
            kind = set_field(condition.field, fields, name)
            test = getattr(condition, f"filter_{kind}")
            if kind in ("date", "duration"):
                test.value.CopyFrom(value)
            else:
                test.value = value
            test.operator = OPERATORS[kind].index(operator)


def set_field(message: Any, fields: Fields, name: str) -> FieldKind:
    """Name a field in a message; returns the kind of its values."""
    if name.startswith(GENERIC):
        message.task_option_generic_field.field = name[len(GENERIC) :]
        return "string"
    chosen = OPTIONS if name in OPTIONS.kinds else fields
    getattr(message, chosen.choice).field = chosen.numbers[name]
    kind: FieldKind = chosen.kinds[name]
    return kind


def sort_upwards(request: Any, fields: Fields, name: str) -> Any:
    """Have a List request sorted by a field, the smallest first; returns the request."""
    set_field(request.sort.field, fields, name)
    request.sort.direction = _ASCENDING
    return request
