"""The API's filters, sorts and pages in the engine's own terms.

A condition names a record's attribute, an operator and a value of plain Python; lists are answered
by the journal's queries, and event streams test live records with the predicate made of the same
conditions. A result's opaque id, which is bytes, is compared as its hexadecimal digits.
"""

from __future__ import annotations

from typing import Any, Final

from armonik.protogen.common import sort_direction_pb2

from armoflow.engine.filters import MAXIMUM_CONDITIONS, Condition, Filters
from armoflow.engine.queries import Order
from armoflow.engine.records import StateError
from armoflow.engine.services.convert import get_seconds
from armoflow.protocol.filter_fields import (
    GENERIC,
    OPERATORS,
    OPTIONS,
    SESSIONS,
    FieldKind,
    Fields,
)

APPLICATIONS: Final = Fields(
    "application_field",
    "applications_fields_pb2.ApplicationRawEnumField",
    "APPLICATION_RAW_ENUM_FIELD_",
    {f"options.application_{name}": name for name in ("name", "version", "namespace", "service")},
    string="options.application_name options.application_version options.application_namespace"
    " options.application_service",
)

_NO_KEY: Final = GENERIC
"""The path of an option without a name, which can be asked for but not sorted by (strict)."""

# --- from the wire ------------------------------------------------------------------------------


def parse_list(request: Any, fields: Fields, *, strict: bool = False) -> tuple[Filters, Order]:
    """Validate and translate a List request that sorts by one field.

    Args:
        request: Any of the API's List requests but that of applications.
        fields: The entity's.
        strict: Refuse absent filters and sorts, as the reference engine does.

    Returns:
        The filters, and the order.

    Raises:
        StateError: With the code that the caller gets.
    """
    check_page(request, strict=strict)
    named = [request.sort.field] if request.sort.HasField("field") else []
    paths, descending = parse_sort(request.sort, named, fields, strict=strict)
    return parse_filters(request.filters, fields, strict=strict), Order(
        sort=paths[0], descending=descending, page=request.page, page_size=request.page_size
    )


def check_page(request: Any, *, strict: bool = False) -> None:
    """Refuse a List request whose page is impossible."""
    if request.page < 0 or request.page_size < 0:
        raise StateError("INVALID_ARGUMENT", "page and page_size must not be negative")
    if strict and not request.HasField("filters"):
        raise StateError("INVALID_ARGUMENT", "filters must be given, even if empty")


def parse_filters(filters: Any, fields: Fields, *, strict: bool = False) -> Filters:
    """Translate an API ``Filters`` message.

    Raises:
        StateError: If a condition has no field or value, or one that does not fit the other
            (INVALID_ARGUMENT; UNKNOWN if ``strict``, as the reference engine says).
    """
    groups = getattr(filters, "or")  # those without a condition are to be gone through, too
    count = len(groups)
    if count <= MAXIMUM_CONDITIONS:
        count = sum(len(getattr(both, "and")) or 1 for both in groups)
    if count > MAXIMUM_CONDITIONS:
        raise StateError("INVALID_ARGUMENT", f"filter: more than {MAXIMUM_CONDITIONS} conditions")
    return tuple(
        tuple(_parse_condition(condition, fields, strict) for condition in getattr(both, "and"))
        for both in getattr(filters, "or")
    )


def parse_sort(
    sort: Any, named: list[Any], fields: Fields, *, strict: bool = False
) -> tuple[tuple[str, ...], bool]:
    """The paths to sort by, and whether the order is descending."""
    unspecified = sort.direction == sort_direction_pb2.SORT_DIRECTION_UNSPECIFIED
    if strict and (unspecified or not named):
        raise StateError("INVALID_ARGUMENT", "a sort needs a field and a direction")
    if len(named) > MAXIMUM_CONDITIONS:
        raise StateError("INVALID_ARGUMENT", f"sort: more than {MAXIMUM_CONDITIONS} fields")
    known = [_parse_field(field, fields, strict, "sort") for field in named]
    paths = tuple(dict.fromkeys(path for path, _ in known))
    if strict and _NO_KEY in paths:
        raise StateError("UNKNOWN", "sort: the key of an option is empty")
    descending = sort.direction == sort_direction_pb2.SORT_DIRECTION_DESC
    default = "id" if "id" in fields.numbers else next(iter(fields.numbers))
    return paths or (default,), descending


def _parse_condition(condition: Any, fields: Fields, strict: bool) -> Condition:
    path, kind = _parse_field(condition.field, fields, strict)
    value_name = condition.WhichOneof("value_condition")
    if value_name is None:
        raise _bad_filter(f"the condition on {path!r} has no value", strict)
    value_kind = value_name[len("filter_") :]
    # A status is a number to the reference engine, too.
    if value_kind != kind and (kind, value_kind) != ("status", "number"):
        raise _bad_filter(f"{path!r} is a {kind}, not a {value_kind}", strict)
    message = getattr(condition, value_name)
    signs = OPERATORS[value_kind]
    if not 0 <= message.operator < len(signs):
        raise _bad_filter(f"unknown operator {message.operator} for {path!r}", strict)
    sign = signs[message.operator]
    value = message.value
    if kind in ("date", "duration"):
        value = get_seconds(value) if message.HasField("value") else None
        if value is None and sign not in ("==", "!="):
            raise _bad_filter(f"{path!r} {sign} needs a value", strict)
        if value is None and strict and kind == "date" and fields is SESSIONS:
            raise _bad_filter(f"the condition on {path!r} has no date", strict)
    elif path == "opaque_id":
        if strict:
            raise _bad_filter("opaque_id is not compared", strict)
        value = value.lower()
    return Condition(path, sign, value)


def _parse_field(
    field: Any, fields: Fields, strict: bool, where: str = "filter"
) -> tuple[str, FieldKind]:
    """A field's name, and the kind of its values."""
    choice = field.WhichOneof("field")
    if choice == "task_option_generic_field":
        return GENERIC + field.task_option_generic_field.field, "string"
    for known in (OPTIONS, fields):
        if choice == known.choice:
            name = known.names.get(getattr(field, choice).field)
            if name is not None:
                return name, known.kinds[name]
    raise _bad(where, "a field is missing or unspecified", strict)


def _bad_filter(message: str, strict: bool) -> StateError:
    return _bad("filter", message, strict)


def _bad(where: str, message: str, strict: bool) -> StateError:
    return StateError("UNKNOWN" if strict else "INVALID_ARGUMENT", f"{where}: {message}")
