"""What list calls ask for: filters, as SQL over the journal and as a predicate over records."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from armoflow.engine.pods import ADDRESS_SQL, NAME_SQL, pod_of
from armoflow.engine.records import StateError, TaskStatus
from armoflow.protocol.filter_fields import (
    GENERIC,
    OPERATORS,
    OPTIONS,
    PARTITIONS,
    RESULTS,
    SESSIONS,
    TASKS,
    FieldKind,
    Fields,
    Operator,
)

EntityKind: TypeAlias = Literal["sessions", "tasks", "results", "partitions"]


class Condition(NamedTuple):
    """One test of a field.

    Attributes:
        field: A field of the entity's record, see :mod:`armoflow.protocol.filter_fields`.
        operator: One that the field's kind knows; a status is a number.
        value: What the field is compared with: dates in seconds since the epoch, durations in
            seconds; None with equality: not set. A field that is not set passes no other test,
            neither ``!=`` nor ``not contains``, as in SQL.
    """

    field: str
    operator: Operator
    value: Any


Filters: TypeAlias = Sequence[Sequence[Condition]]
"""An OR of ANDs; empty: everything."""


class Field(NamedTuple):
    """How a field is read: its kind, as SQL (with parameters), and from a record.

    ``nullable``: it may be unset, which is NULL and None.
    """

    kind: FieldKind
    sql: str
    parameters: tuple[Any, ...]
    get: Callable[[Any], Any]
    nullable: bool = False

    @property
    def of_options(self) -> bool:
        """Whether it is one of the options ``o``, not of the row ``e``."""
        return "o." in self.sql

    def order(self, *, descending: bool) -> str:
        """An ORDER BY term: unset values are last going up and first going down."""
        if not self.nullable:  # said of others, it would cost them their index
            return f"{self.sql} {'DESC' if descending else 'ASC'}"
        return f"{self.sql} {'DESC NULLS FIRST' if descending else 'ASC NULLS LAST'}"

    @property
    def never_null(self) -> str:
        """The field, and where it is unset something greater than all values of its kind."""
        if not self.nullable:
            return self.sql
        unset_is_0 = re.fullmatch(r"NULLIF\((.+),0\.0\)", self.sql)
        if unset_is_0:  # as a CASE it is no call of a function, for each row
            return f"(CASE {unset_is_0[1]} WHEN 0.0 THEN 9e999 ELSE {unset_is_0[1]} END)"
        return f"ifnull({self.sql},{'''x'' ''' if self.kind == 'string' else '9e999'})"


_TESTS: Mapping[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "contains": operator.contains,
    "starts with": str.startswith,
    "ends with": str.endswith,
}
_NUMBER: Final[tuple[type, ...]] = (int, float)
_VALUES: Mapping[FieldKind, tuple[type, ...]] = {
    "string": (str,),
    "boolean": (bool,),
    "array": (str,),
}
MAXIMUM_CONDITIONS: Final = 16_000
"""Conditions in one list call: what SQLite takes as parameters, halved."""

MAXIMUM_PARAMETERS: Final = 32_000
"""Parameters of one query, of which SQLite takes a few more."""


# --- fields -------------------------------------------------------------------------------------


def _columns(fields: Fields, table: str = "e") -> dict[str, Field]:
    """Each field as the column of its name; dates are 0 until they are set, but for the first."""
    found = {}
    for name, kind in fields.kinds.items():
        column, get = f"{table}.{name.rpartition('.')[2]}", operator.attrgetter(name)
        is_set = kind != "date" or name == "created_at"
        found[name] = Field(kind, column, (), get) if is_set else _unset_is_0(kind, column, get)
    return found


def _unset_is_0(kind: FieldKind, column: str, get: Callable[[Any], Any]) -> Field:
    return Field(kind, f"NULLIF({column},0.0)", (), get, nullable=True)


_STOPPED = (
    f"e.status={int(TaskStatus.CANCELLING)} OR "
    f"(e.status={int(TaskStatus.CANCELLED)} AND (e.success OR e.owner<>''))"
)
"""Tasks without durations, see :attr:`~armoflow.engine.records.TaskRecord.has_durations`."""


def _span(start: str) -> Field:
    def get(task: Any) -> float | None:
        begin = getattr(task, start)
        return None if begin is None or not task.has_durations else task.ended_at - begin

    unset = f"e.ended_at=0.0 OR e.{start}=0.0 OR {_STOPPED}"
    sql = f"(CASE WHEN {unset} THEN NULL ELSE e.ended_at-e.{start} END)"
    return Field("duration", sql, (), get, nullable=True)


_OPTIONS = _columns(OPTIONS, "o")
_FIELDS: Mapping[EntityKind, dict[str, Field]] = {
    "sessions": {
        **_columns(SESSIONS),
        "duration": _unset_is_0("duration", "e.duration", operator.attrgetter("duration")),
        **_OPTIONS,
    },
    "tasks": {
        **_columns(TASKS),
        "owner_pod_id": Field("string", ADDRESS_SQL, (), lambda task: pod_of(task.owner).address),
        "pod_hostname": Field("string", NAME_SQL, (), lambda task: pod_of(task.owner).name),
        "creation_to_end": _span("created_at"),
        "processing_to_end": _span("started_at"),
        "received_to_end": _span("received_at"),
        **_OPTIONS,
    },
    "results": {
        **_columns(RESULTS),
        "opaque_id": Field("string", "e.opaque_id", (), lambda result: result.opaque_id.hex()),
    },
    "partitions": _columns(PARTITIONS),
}


def find_field(entity: EntityKind, name: str) -> Field:
    """A field by name.

    Raises:
        StateError: INVALID_ARGUMENT, if the entity has none of that name.
    """
    field = _FIELDS[entity].get(name)
    if field is not None:
        return field
    if name.startswith(GENERIC) and entity in ("sessions", "tasks"):
        key = name[len(GENERIC) :]
        sql = "(SELECT value FROM json_each(o.options) WHERE key=?)"
        get = lambda record: record.options.options.get(key)  # noqa: E731
        return Field("string", sql, (key,), get, nullable=True)
    raise StateError("INVALID_ARGUMENT", f"{entity} have no field {name!r}")


def fields_of_rows(entity: EntityKind) -> dict[str, Field]:
    """The fields of an entity that its rows have themselves, and that have an order."""
    return {
        name: field
        for name, field in _FIELDS[entity].items()
        if not field.of_options and field.kind != "array"
    }


def _check(entity: EntityKind, condition: Condition) -> Field:
    field = find_field(entity, condition.field)
    operators = OPERATORS["number" if field.kind == "status" else field.kind]
    if condition.operator not in operators:
        raise StateError(
            "INVALID_ARGUMENT",
            f"{condition.operator!r} does not apply to {condition.field} of {entity}; "
            f"what does: {', '.join(operators)}",
        )
    value = condition.value
    if value is None and condition.operator in ("==", "!="):
        return field
    if not isinstance(value, _VALUES.get(field.kind, _NUMBER)):
        raise StateError(
            "INVALID_ARGUMENT",
            f"{condition.field} of {entity} is compared with a {field.kind}, not {value!r}",
        )
    return field


# --- as SQL -------------------------------------------------------------------------------------


class Clause(NamedTuple):
    """A condition in SQL, with its parameters.

    ``of_options``: it is one on the options ``o`` alone, not on rows ``e``.
    """

    sql: str
    parameters: list[Any]
    of_options: bool = False

    @property
    def of_rows(self) -> Clause:
        """The condition on rows. Options are few: which of them match is found once."""
        if not self.of_options:
            return self
        matching = f"SELECT o.id FROM options o WHERE {self.sql}"
        return Clause(f"e.options_id IN ({matching})", self.parameters)


def make_clause(entity: EntityKind, filters: Filters) -> Clause:
    """The WHERE clause of filters on rows ``e``.

    Raises:
        StateError: INVALID_ARGUMENT, for an unknown field or an operator that it has not.
    """
    if not filters or not all(filters):
        for alternative in filters:
            for condition in alternative:
                _check(entity, condition)
        return Clause("1", [])
    if sum(map(len, filters)) > MAXIMUM_CONDITIONS:
        raise StateError("INVALID_ARGUMENT", f"more than {MAXIMUM_CONDITIONS} conditions")
    clause = _membership(entity, filters) or _tree(
        "OR", [_all_of(entity, alternative) for alternative in filters]
    )
    if len(clause.parameters) > MAXIMUM_PARAMETERS:
        raise StateError("INVALID_ARGUMENT", "the conditions are too many: ask in several calls")
    return clause.of_rows


def _membership(entity: EntityKind, filters: Filters) -> Clause | None:
    """``common AND field IN (...)``, for alternatives that only differ in one equality.

    Clients ask so for many results at once; as an OR it would not use the index on ids.
    """
    if len(filters) == 1:
        return None
    common = set(filters[0]).intersection(*filters[1:])
    rest = [[c for c in alternative if c not in common] for alternative in filters]
    if any(len(conditions) != 1 for conditions in rest):
        return None
    names = {conditions[0][:2] for conditions in rest}
    _, sign = names.pop()
    if names or sign != "==" or any(conditions[0].value is None for conditions in rest):
        return None
    field = [_check(entity, conditions[0]) for conditions in rest][-1]
    values = [conditions[0].value for conditions in rest]
    sql = f"{field.sql} IN ({','.join('?' * len(values))})"
    clause = Clause(sql, [*field.parameters, *values], field.of_options)
    if not common:
        return clause
    others = _all_of(entity, sorted(common, key=repr)).of_rows
    clause = clause.of_rows
    return Clause(f"{clause.sql} AND {others.sql}", [*clause.parameters, *others.parameters])


def _tree(word: str, clauses: list[Clause]) -> Clause:
    # A balanced tree: SQLite refuses expressions that are more than 1,000 deep.
    if len(clauses) == 1:
        return clauses[0]
    middle = len(clauses) // 2
    left, right = _tree(word, clauses[:middle]), _tree(word, clauses[middle:])
    of_options = left.of_options and right.of_options
    if not of_options:
        left, right = left.of_rows, right.of_rows
    parameters = left.parameters + right.parameters
    return Clause(f"({left.sql} {word} {right.sql})", parameters, of_options)


def _all_of(entity: EntityKind, conditions: Sequence[Condition]) -> Clause:
    # Numbers first: a row that does not match is left after the first test, and these are quick.
    in_turn = sorted(conditions, key=lambda c: find_field(entity, c.field).kind == "string")
    clauses = [_condition_clause(entity, condition) for condition in in_turn]
    if len(clauses) == 1:
        (clause,) = clauses
        return Clause(f"({clause.sql})", clause.parameters, clause.of_options)
    return _tree("AND", clauses)


def _condition_clause(entity: EntityKind, condition: Condition) -> Clause:
    field = _check(entity, condition)
    sql = field.sql
    value: Any = condition.value
    if field.kind == "boolean" and value is not None:
        value = int(value)
    match condition.operator:
        case "==":
            clause = Clause(f"{sql} IS ?", [value])
        case "!=":
            clause = Clause(f"{sql} {'IS NOT' if value is None else '<>'} ?", [value])
        case "contains" | "not contains" if field.kind == "array":
            negation = "NOT " if condition.operator == "not contains" else ""
            clause = Clause(
                f"{negation}EXISTS(SELECT 1 FROM json_each({sql}) WHERE value=?)", [value]
            )
        case "contains":
            clause = Clause(f"instr({sql},?)>0", [value])
        case "not contains":
            clause = Clause(f"instr({sql},?)=0", [value])
        case "starts with":
            clause = Clause(f"substr({sql},1,?)=?", [len(value), value])
        case "ends with":
            clause = Clause(f"substr({sql},max(1,length({sql})-?+1))=?", [len(value), value])
            parameters = [*field.parameters * 2, *clause.parameters]
            return Clause(clause.sql, parameters, field.of_options)
        case order:
            clause = Clause(f"{sql}{order}?", [value])
    return Clause(clause.sql, [*field.parameters, *clause.parameters], field.of_options)


def condition_on_options(condition: Condition) -> Clause:
    """A condition on an option of tasks, as SQL over the options ``o`` alone."""
    return _condition_clause("tasks", condition)


# --- as a predicate -----------------------------------------------------------------------------


def make_predicate(entity: EntityKind, filters: Filters) -> Callable[[Any], bool]:
    """A test of records in memory, for events.

    Raises:
        StateError: INVALID_ARGUMENT, for an unknown field or an operator that it has not.

    Example:
        >>> test = make_predicate("partitions", [[Condition("id", "starts with", "gpu")]])
        >>> from armoflow.engine.records import Partition
        >>> test(Partition("gpu-large")), test(Partition("cpu"))
        (True, False)
    """
    alternatives = [
        [_make_test(_check(entity, condition), condition) for condition in alternative]
        for alternative in filters
    ]
    if not alternatives:
        return lambda record: True
    return lambda record: any(all(test(record) for test in tests) for tests in alternatives)


def _make_test(field: Field, condition: Condition) -> Callable[[Any], bool]:
    get, test = field.get, make_value_test(condition)
    return lambda record: test(get(record))


def make_value_test(condition: Condition) -> Callable[[Any], bool]:
    """A test of a field's values; None: it is not set.

    Example:
        >>> is_late = make_value_test(Condition("ended_at", ">", 10.0))
        >>> is_late(11.0), is_late(None)
        (True, False)
    """
    value, sign = condition.value, condition.operator
    if sign == "==":
        return lambda found: bool(found == value)
    if sign == "!=":
        return lambda found: found is not None and bool(found != value)
    if sign == "not contains":
        return lambda found: found is not None and value not in found
    test = _TESTS[sign]
    return lambda found: found is not None and bool(test(found, value))
