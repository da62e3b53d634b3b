"""The Events service."""

# ruff: noqa: N802 (the API names the methods)

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import Any, cast

from armonik.protogen.client.events_service_pb2_grpc import EventsServicer

from armoflow.engine.core import Engine
from armoflow.engine.filters import Condition, EntityKind, Filters, make_predicate
from armoflow.engine.records import Event, EventKind, StateError, TaskRecord
from armoflow.engine.services.common import Service
from armoflow.engine.services.convert import event_to_message
from armoflow.engine.services.filter_messages import parse_filters
from armoflow.engine.watchers import Watcher, WatcherOverflowError
from armoflow.protocol.filter_fields import RESULTS, TASKS

SNAPSHOT_PAGE = 5_000
"""Records read at once for the snapshot that a stream begins with."""

EVENTS_AT_ONCE = 50
"""Events for which the parents of new tasks are read at once: each list may be a long one."""


class EventsService(Service, EventsServicer):  # type: ignore[misc]
    """Streams what happens in a session.

    A stream subscribes first and then sends what exists already, so that nothing is missed and
    some of it may come twice. It never ends by itself, not even with its session: it ends when its
    caller goes, or with UNAVAILABLE when the engine stops.
    """

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self._watchers: set[Watcher] = set()

    def close(self) -> None:
        """End all streams with UNAVAILABLE."""
        for watcher in list(self._watchers):
            watcher.close()

    async def GetEvents(self, request: Any, context: Any) -> None:
        """Stream a session's events."""
        subscription = Subscription(request, strict=self._engine.options.strict)
        watcher = self._engine.watch(request.session_id)
        self._watchers.add(watcher)
        try:
            # Some clients wait for the headers before they do anything else.
            await context.send_initial_metadata(())
            # What was changed before is not told: it has to be in the snapshot.
            await asyncio.wait([self._engine.committed()])
            async for events in subscription.snapshot(self._engine):
                await self._write(context, events)
            async for batch in watcher:
                await self._write(context, subscription.choose(batch))
        except WatcherOverflowError as error:
            raise StateError("UNAVAILABLE", str(error)) from error
        finally:
            self._watchers.discard(watcher)
            watcher.close()
        raise StateError("UNAVAILABLE", "the engine is shutting down")

    async def _write(self, context: Any, events: Iterable[Event]) -> None:
        """Send events; the parents of new tasks are read for some of them at a time."""
        remaining = iter(events)
        while part := list(islice(remaining, EVENTS_AT_ONCE)):
            tasks = [event.record for event in part if event.kind is EventKind.NEW_TASK]
            lineages = await self._engine.queries.read_lineages(cast("list[TaskRecord]", tasks))
            for event in part:
                await context.write(event_to_message(event, lineages.get(event.record.id, ())))


class Subscription:
    """What one caller wants to be told.

    Args:
        request: The EventSubscriptionRequest.
        strict: How filters that make no sense are refused; and a change of a result is told as
            one of its status and one of its owner, whatever changed, as the reference engine does
            with PostgreSQL.
    """

    def __init__(self, request: Any, *, strict: bool) -> None:
        asked = list(request.returned_events)
        self._kinds = {kind for kind in EventKind if kind in asked} if asked else set(EventKind)
        self._session_id = request.session_id
        self._strict = strict
        self._tasks = parse_filters(request.tasks_filters, TASKS, strict=strict)
        self._results = parse_filters(request.results_filters, RESULTS, strict=strict)
        self._wants_task = _predicate("tasks", self._tasks)
        self._wants_result = _predicate("results", self._results)

    def choose(self, events: Iterable[Event]) -> Iterator[Event]:
        """Those that the caller is told of."""
        if self._strict:
            events = chain.from_iterable(map(_doubled, events))
        return filter(self.wants, events)

    def wants(self, event: Event) -> bool:
        """Whether the caller is told of an event."""
        if event.kind not in self._kinds:
            return False
        if event.kind <= EventKind.TASK_STATUS_UPDATE:
            return self._wants_task(event.record)
        return self._wants_result(event.record)

    async def snapshot(self, engine: Engine) -> AsyncIterator[list[Event]]:
        """What exists already, as new tasks and new results with their current status."""
        if EventKind.NEW_TASK in self._kinds:
            filters = self._in_session(self._tasks)
            async for records in _pages(engine.queries.tasks, filters):
                yield [Event(EventKind.NEW_TASK, r, int(r.status)) for r in records]
        if EventKind.NEW_RESULT in self._kinds:
            filters = self._in_session(self._results)
            async for records in _pages(engine.queries.results, filters):
                yield [Event(EventKind.NEW_RESULT, r, int(r.status)) for r in records]

    def _in_session(self, filters: Filters) -> Filters:
        session = Condition("session_id", "==", self._session_id)
        return [[session, *conditions] for conditions in filters] or [[session]]


def _doubled(event: Event) -> Sequence[Event]:
    """An event of a result's status with one of its owner, and the other way round."""
    if event.kind is EventKind.RESULT_STATUS_UPDATE:
        return event, event._replace(kind=EventKind.RESULT_OWNER_UPDATE)
    if event.kind is EventKind.RESULT_OWNER_UPDATE:
        return event._replace(kind=EventKind.RESULT_STATUS_UPDATE), event
    return (event,)


def _predicate(entity: EntityKind, filters: Filters) -> Callable[[Any], bool]:
    """The test of a record; an OR of ids, which waiting clients ask for, is one look-up."""
    ids: set[str] = set()
    others: list[Sequence[Condition]] = []
    for conditions in filters:
        if len(conditions) == 1 and conditions[0][:2] == ("id", "=="):
            ids.add(conditions[0].value)
        else:
            others.append(conditions)
    if ids and not others:
        return lambda record: record.id in ids
    matches = make_predicate(entity, others)
    return lambda record: record.id in ids or matches(record)


async def _pages(query: Any, filters: Filters) -> AsyncIterator[list[Any]]:
    page = 0
    while True:
        found = await query(filters, sort="id", page=page, page_size=SNAPSHOT_PAGE)
        yield found.items
        page += 1
        if page * SNAPSHOT_PAGE >= found.total:
            return
