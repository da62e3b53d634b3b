"""Committed changes, handed in batches to whoever watches a session."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Generic, NamedTuple, TypeVar

from armoflow.engine.records import (
    Event,
    EventKind,
    ResultRecord,
    ResultStatus,
    TaskRecord,
)
from armoflow.errors import ArmoflowError

T = TypeVar("T")

_RESULT_UPDATE = EventKind.RESULT_STATUS_UPDATE
_NEW_RESULT = EventKind.NEW_RESULT
_CREATED = int(ResultStatus.CREATED)
_ABORTED = int(ResultStatus.ABORTED)
_COMPLETED = int(ResultStatus.COMPLETED)


class WatcherOverflowError(ArmoflowError):
    """A watcher fell too far behind and was closed: subscribe again and read the current state."""


class ResultChange(NamedTuple):
    """A result that became completed, aborted or deleted.

    Attributes:
        record: The live record; read what is needed at once, it may change later.
        status: The status that this change gave it.
        error: The error text of the task that owned an aborted result, else empty.
        seconds: How long the task ran that owned a completed result, where that is known.
    """

    record: ResultRecord
    status: int
    error: str = ""
    seconds: float | None = None


class Watcher(Generic[T]):
    """An endless asynchronous iterator of batches, in the order of the commits.

    It ends when closed, and raises :class:`WatcherOverflowError` when its reader fell more than
    ``limit`` entries behind, so that a reader that stopped reading costs a bounded memory.
    """

    def __init__(self, session_id: str, limit: int, on_close: Callable[[Watcher[T]], None]) -> None:
        self.session_id = session_id
        self._limit = limit
        self._on_close = on_close
        self._pending: list[T] = []
        self._available = asyncio.Event()
        self._closed = False
        self._overflowed = False

    def push(self, batch: list[T]) -> None:
        """Add entries for the reader; closes the watcher if it is too far behind."""
        if self._closed:
            return
        if len(self._pending) + len(batch) > max(self._limit, len(batch)):
            self._overflowed = True
            self._pending.clear()
            self.close()
            return
        self._pending.extend(batch)
        self._available.set()

    def close(self) -> None:
        """End the iteration once what was pushed before is read."""
        if not self._closed:
            self._closed = True
            self._available.set()
            self._on_close(self)

    def __aiter__(self) -> Watcher[T]:
        return self

    async def __anext__(self) -> list[T]:
        await self._available.wait()
        if self._pending:
            batch, self._pending = self._pending, []
            if not self._closed:
                self._available.clear()
            return batch
        if self._overflowed:
            raise WatcherOverflowError(
                f"the watcher of session {self.session_id} fell more than {self._limit} events "
                "behind; watch again and list the results"
            )
        raise StopAsyncIteration


class Watchers:
    """The watchers of an engine, by session."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._events: dict[str, list[Watcher[Event]]] = {}
        self._results: dict[str, list[Watcher[ResultChange]]] = {}

    def watch(self, session_id: str) -> Watcher[Event]:
        """All events of a session, from now on."""
        return self._add(self._events, session_id)

    def watch_results(self, session_id: str) -> Watcher[ResultChange]:
        """Final status changes of the results of a session, from now on."""
        return self._add(self._results, session_id)

    def close(self) -> None:
        """End all iterations."""
        _close(self._events)
        _close(self._results)

    def tell(self, events: Iterable[Event], find_task: Callable[[str], TaskRecord | None]) -> None:
        """Hand committed events to those who watch their sessions."""
        if self._events:
            self._tell_events(events)
        if self._results:
            self._tell_results(events, find_task)

    def _tell_events(self, events: Iterable[Event]) -> None:
        batches: dict[str, list[Event]] = {session_id: [] for session_id in self._events}
        for event in events:
            batch = batches.get(event.record.session_id)
            if batch is not None:
                batch.append(event)
        _push(self._events, batches)

    def _tell_results(
        self, events: Iterable[Event], find_task: Callable[[str], TaskRecord | None]
    ) -> None:
        batches: dict[str, list[ResultChange]] = {session_id: [] for session_id in self._results}
        for kind, record, status in events:
            # By far the most events are none of these: told apart by constants, without look-ups.
            if (kind is not _RESULT_UPDATE and kind is not _NEW_RESULT) or status == _CREATED:
                continue
            batch = batches.get(record.session_id)
            if batch is None:
                continue
            # Now, not when the change is read: tasks that have ended are about to leave memory.
            owner = find_task(record.owner_task_id)  # type: ignore[union-attr]
            batch.append(_result_change(record, status, owner))  # type: ignore[arg-type]
        _push(self._results, batches)

    def _add(self, table: dict[str, list[Watcher[T]]], session_id: str) -> Watcher[T]:
        def remove(watcher: Watcher[T]) -> None:
            watchers = table[session_id]
            watchers.remove(watcher)
            if not watchers:
                del table[session_id]

        watcher: Watcher[T] = Watcher(session_id, self._limit, remove)
        table.setdefault(session_id, []).append(watcher)
        return watcher


def _result_change(record: ResultRecord, status: int, owner: TaskRecord | None) -> ResultChange:
    error, seconds = "", None
    if owner is not None:
        if status == _ABORTED:
            error = owner.error
        elif status == _COMPLETED and owner.ended_at and owner.started_at:
            seconds = owner.ended_at - owner.started_at
    return ResultChange(record, status, error, seconds)


def _push(table: dict[str, list[Watcher[T]]], batches: dict[str, list[T]]) -> None:
    for session_id, batch in batches.items():
        if batch:
            for watcher in list(table.get(session_id, ())):
                watcher.push(batch)


def _close(table: dict[str, list[Watcher[T]]]) -> None:
    for watcher in [watcher for watchers in table.values() for watcher in watchers]:
        watcher.close()
