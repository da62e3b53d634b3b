"""What list calls ask for: filters, as SQL over the journal and as a predicate over records."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

Operator: TypeAlias = Literal[
    "==", "!=", "<", "<=", ">", ">=", "contains", "not contains", "starts with", "ends with"
]

Entity: TypeAlias = Literal["sessions", "tasks", "results", "partitions"]


class Condition(NamedTuple):
    """One test of a field.

    Attributes:
        field: A field of the entity's record (``TaskRecord.created_at``...); task options as
            ``options.partition_id``, generic options as ``options.options.<key>``; of tasks also
            ``creation_to_end``, ``processing_to_end`` and ``received_to_end``.
        operator: Text knows all but the orders; numbers, dates (seconds since the epoch) and
            durations (seconds) know equality and orders; status (a number) and booleans equality;
            lists ``contains`` and ``not contains`` (an element).
        value: What the field is compared with; None with equality: not set.
    """

    field: str
    operator: Operator
    value: Any


Filters: TypeAlias = Sequence[Sequence[Condition]]
"""An OR of ANDs; empty: everything."""


def make_predicate(entity: Entity, filters: Filters) -> Callable[[Any], bool]:
    """A test of records in memory, for events.

    Raises:
        StateError: INVALID_ARGUMENT, for an unknown field or an operator that it has not.
    """
    raise NotImplementedError
