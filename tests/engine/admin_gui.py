"""The requests of ArmoniK's web interface (ArmoniK.Admin.GUI), as its pages make them.

Written as it writes them, in the JSON form of the API's messages: lists with each of its sorts and
filters, counts, single objects, the events of its graph, and the figures of its histograms.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from armonik.protogen.common import (
    applications_fields_pb2,
    partitions_fields_pb2,
    results_fields_pb2,
    sessions_fields_pb2,
    tasks_fields_pb2,
)
from google.protobuf import json_format, message_factory

from armoflow.protocol.permissions import methods

METHODS = {f"{one.containing_service.name}/{one.name}": one for one, _ in methods()}

EVERY_OPERATOR: Mapping[str, range] = {
    "filterString": range(6),
    "filterNumber": range(6),
    "filterDate": range(6),
    "filterDuration": range(6),
    "filterStatus": range(2),
    "filterArray": range(2),
    "filterBoolean": range(1),
}

PAGE_SIZE = 10


class Call(NamedTuple):
    """A request of the interface.

    Attributes:
        page: Where it makes it, and for what.
        method: Such as ``Tasks/ListTasks``.
        request: The message, as JSON.
        most: Messages after which it is ended; 0: by the engine.
    """

    page: str
    method: str
    request: Mapping[str, Any] = {}
    most: int = 0

    @property
    def path(self) -> str:
        method = METHODS[self.method]
        return f"/{method.containing_service.full_name}/{method.name}"

    @property
    def body(self) -> bytes:
        kind = message_factory.GetMessageClass(METHODS[self.method].input_type)
        data: bytes = json_format.ParseDict(dict(self.request), kind()).SerializeToString()
        return data

    def read(self, data: bytes) -> Any:
        """A reply."""
        kind = message_factory.GetMessageClass(METHODS[self.method].output_type)
        return kind.FromString(data)


class Table(NamedTuple):
    """A page with a list: its method, how it names a field, what it sorts and filters by."""

    method: str
    field: str
    sorts: Sequence[int]
    filters: Sequence[tuple[int, str, Any]]
    options: bool


def numbers(enum: Any, *without: str) -> list[int]:
    return [n for name, n in enum.items() if n and not name.endswith(without or ("\0",))]


def named(enum: Any, **kinds: Any) -> list[tuple[int, str, Any]]:
    """Fields with the kind of their filter and a value for it."""
    values = {value_name.rpartition("FIELD_")[2].lower(): n for value_name, n in enum.items()}
    return [(values[name], *both) for name, both in kinds.items()]


TEXT, NUMBER, STATUS = ("filterString", "a"), ("filterNumber", "1"), ("filterStatus", 1)
DATE, LIST, FLAG = (
    ("filterDate", "2026-01-01T00:00:00Z"),
    ("filterArray", "default"),
    ("filterBoolean", True),
)

TABLES = {
    "applications": Table(
        "Applications/ListApplications",
        "applicationField",
        numbers(applications_fields_pb2.ApplicationRawEnumField),
        named(
            applications_fields_pb2.ApplicationRawEnumField,
            **dict.fromkeys(("name", "namespace", "service", "version"), TEXT),
        ),
        options=False,
    ),
    "partitions": Table(
        "Partitions/ListPartitions",
        "partitionRawField",
        numbers(partitions_fields_pb2.PartitionRawEnumField),
        named(
            partitions_fields_pb2.PartitionRawEnumField,
            id=TEXT,
            priority=NUMBER,
            pod_max=NUMBER,
            pod_reserved=NUMBER,
            preemption_percentage=NUMBER,
            parent_partition_ids=LIST,
        ),
        options=False,
    ),
    "sessions": Table(
        "Sessions/ListSessions",
        "sessionRawField",
        numbers(sessions_fields_pb2.SessionRawEnumField, "OPTIONS"),  # no column of its table
        named(
            sessions_fields_pb2.SessionRawEnumField,
            session_id=TEXT,
            partition_ids=LIST,
            status=STATUS,
            created_at=DATE,
            cancelled_at=DATE,
            closed_at=DATE,
            purged_at=DATE,
            deleted_at=DATE,
            client_submission=FLAG,
            worker_submission=FLAG,
        ),
        options=True,
    ),
    "tasks": Table(
        "Tasks/ListTasks",
        "taskSummaryField",
        numbers(tasks_fields_pb2.TaskSummaryEnumField),
        named(
            tasks_fields_pb2.TaskSummaryEnumField,
            task_id=TEXT,
            session_id=TEXT,
            initial_task_id=TEXT,
            payload_id=TEXT,
            created_by=TEXT,
            pod_hostname=TEXT,
            error=TEXT,
            status=STATUS,
            created_at=DATE,
            submitted_at=DATE,
            received_at=DATE,
            acquired_at=DATE,
            fetched_at=DATE,
            started_at=DATE,
            processed_at=DATE,
            ended_at=DATE,
        ),
        options=True,
    ),
    "results": Table(
        "Results/ListResults",
        "resultRawField",
        numbers(results_fields_pb2.ResultRawEnumField),
        named(
            results_fields_pb2.ResultRawEnumField,
            name=TEXT,
            session_id=TEXT,
            result_id=TEXT,
            owner_task_id=TEXT,
            created_by=TEXT,
            status=STATUS,
            created_at=DATE,
            completed_at=DATE,
            size=NUMBER,
        ),  # manual_deletion, too, for which the API has no filter
        options=False,
    ),
}


def condition(field: Mapping[str, Any], kind: str, value: Any, sign: int) -> dict[str, Any]:
    return {"field": field, kind: {"value": value, "operator": sign}}


def one_of(*conditions: Mapping[str, Any]) -> dict[str, Any]:
    """Its filters are an OR of ANDs; here each AND has one condition."""
    return {"or": [{"and": [each]} for each in conditions]}


def all_of(*conditions: Mapping[str, Any]) -> dict[str, Any]:
    return {"or": [{"and": list(conditions)}]}


def listing(table: Table, field: Any, filters: Any, *, descending: bool, page: int = 0) -> Any:
    sort: dict[str, Any] = {"direction": 2 if descending else 1}
    sort |= {"fields": [field]} if table.method.startswith("Applications") else {"field": field}
    return {"page": page, "pageSize": PAGE_SIZE, "sort": sort, "filters": filters}


def _fields(table: Table) -> Iterator[tuple[Mapping[str, Any], str, Any]]:
    """What the table filters by, with kinds and values."""
    for number, kind, value in table.filters:
        yield {table.field: {"field": number}}, kind, value
    if table.options:
        for name, number in tasks_fields_pb2.TaskOptionEnumField.items():
            kind, value = NUMBER if name.endswith(("PRIORITY", "RETRIES")) else TEXT
            if number and not name.endswith("DURATION"):
                yield {"taskOptionField": {"field": number}}, kind, value
        yield {"taskOptionGenericField": {"field": "key"}}, *TEXT


def lists() -> Iterator[Call]:
    """Each table, by each of its columns both ways, and with each filter and operator."""
    for page, table in TABLES.items():
        sorts = [{table.field: {"field": number}} for number in table.sorts]
        if table.options:
            sorts += [{"taskOptionField": {"field": number}} for number in range(1, 10)]
            sorts.append({"taskOptionGenericField": {"field": "key"}})
        for field in sorts:
            for descending in (False, True):
                request = listing(table, field, {}, descending=descending)
                yield Call(f"{page}, sorted", table.method, request)
        yield Call(f"{page}, sorted", table.method, listing(table, sorts[0], {}, descending=True))
        for field, kind, value in _fields(table):
            wanted = one_of(*(condition(field, kind, value, n) for n in EVERY_OPERATOR[kind]))
            request = listing(table, sorts[0], wanted, descending=False)
            yield Call(f"{page}, filtered", table.method, request)


def start() -> Iterator[Call]:
    """What it asks before it shows anything."""
    yield Call("start", "Versions/ListVersions")
    yield Call("start", "Authentication/GetCurrentUser")
    yield Call("start", "HealthChecksService/CheckHealth")


def of_session(session: str, table: str = "tasks") -> dict[str, Any]:
    """The condition that tasks, or results, are of a session."""
    prefix = "TASK_SUMMARY" if table == "tasks" else "RESULT_RAW"
    field = {TABLES[table].field: {"field": f"{prefix}_ENUM_FIELD_SESSION_ID"}}
    return condition(field, "filterString", session, 0)


def about_session(session: str) -> Iterator[Call]:
    """A session's page, its row (counts, when it began and ended), its tasks and results."""
    yield Call("session", "Sessions/GetSession", {"sessionId": session})
    filters = all_of(of_session(session))
    yield Call("session, counts", "Tasks/CountTasksByStatus", {"filters": filters})
    for name, descending in (("CREATED_AT", False), ("ENDED_AT", True)):
        field = {"taskSummaryField": {"field": f"TASK_SUMMARY_ENUM_FIELD_{name}"}}
        request = listing(TABLES["tasks"], field, filters, descending=descending)
        yield Call(f"session, {name}", "Tasks/ListTasks", {**request, "pageSize": 1})
    for table in ("tasks", "results"):
        number = TABLES[table].sorts[0]
        field = {TABLES[table].field: {"field": number}}
        wanted = all_of(of_session(session, table))
        for page in range(3):
            request = listing(TABLES[table], field, wanted, descending=False, page=page)
            yield Call(f"session, {table}", TABLES[table].method, request)


def histogram(
    session: str, table: str, name: str, kind: str, bounds: Sequence[str]
) -> Iterator[Call]:
    """How many are in each part of a range: the outer parts have one bound only."""
    field = {TABLES[table].field: {"field": name}}
    below, from_on, above = 2, 4, 5
    zero = "0s" if kind == "filterDuration" else "1970-01-01T00:00:00Z"
    guard = condition(field, kind, zero, above)
    parts = [
        [guard, condition(field, kind, bounds[0], below)],
        *(
            [condition(field, kind, low, from_on), condition(field, kind, high, below)]
            for low, high in pairwise(bounds)
        ),
        [condition(field, kind, bounds[-1], from_on)],
    ]
    for tests in ([guard], *parts):
        wanted = all_of(of_session(session, table), *tests)
        request = listing(TABLES[table], field, wanted, descending=False)
        yield Call(f"histogram, {name}", TABLES[table].method, {**request, "pageSize": 0})
