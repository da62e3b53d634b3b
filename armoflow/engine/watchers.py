"""Committed changes, handed in batches to whoever watches a session."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import TypeVar

from armoflow.engine.records import (
    Event,
    EventKind,
    ResultStatus,
)
from armoflow.errors import ArmoflowError

_RESULT_UPDATE = EventKind.RESULT_STATUS_UPDATE
_NEW_RESULT = EventKind.NEW_RESULT
_CREATED = int(ResultStatus.CREATED)


T = TypeVar("T", "Watcher", "Listener")


class WatcherOverflowError(ArmoflowError):
    """A watcher fell too far behind and was closed: subscribe again and read the current state."""


class Watcher:
    """An endless asynchronous iterator of batches, in the order of the commits.

    It ends when closed, and raises :class:`WatcherOverflowError` when its reader fell more than
    ``limit`` entries behind, so that a reader that stopped reading costs a bounded memory.
    """

    def __init__(self, session_id: str, limit: int, on_close: Callable[[Watcher], None]) -> None:
        self.session_id = session_id
        self._limit = limit
        self._on_close = on_close
        self._pending: list[Event] = []
        self._available = asyncio.Event()
        self._closed = False
        self._overflowed = False

    def push(self, batch: list[Event]) -> None:
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

    def __aiter__(self) -> Watcher:
        return self

    async def __anext__(self) -> list[Event]:
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


class Listener:
    """Has the changes of a session's results told, until it is closed."""

    def __init__(
        self,
        session_id: str,
        hear: Callable[[str, Sequence[Event]], None],
        on_close: Callable[[Listener], None],
    ) -> None:
        self.session_id = session_id
        self._hear = hear
        self._on_close = on_close
        self._closed = False

    def push(self, batch: list[Event]) -> None:
        """Tell changes."""
        self._hear(self.session_id, batch)

    def close(self) -> None:
        """Tell nothing more."""
        if not self._closed:
            self._closed = True
            self._on_close(self)


class Watchers:
    """Those who watch an engine, by session.

    Args:
        limit: How many events a reader may be behind.
        on_watched: Called with True when somebody begins to watch all events, and with False when
            nobody does any more.
    """

    def __init__(self, limit: int, on_watched: Callable[[bool], None]) -> None:
        self._limit = limit
        self._on_watched = on_watched
        self._events: dict[str, list[Watcher]] = {}
        self._results: dict[str, list[Listener]] = {}

    def watch(self, session_id: str) -> Watcher:
        """All events of a session, from now on."""
        watcher = Watcher(session_id, self._limit, self._end)
        self._events.setdefault(session_id, []).append(watcher)
        self._on_watched(True)
        return watcher

    def listen(self, session_id: str, hear: Callable[[str, Sequence[Event]], None]) -> Listener:
        """Call a function with each result of a session that is completed, aborted or deleted.

        It is called in the middle of a commit, before what has ended leaves memory: it must return
        at once, and raise nothing.
        """
        listener = Listener(session_id, hear, lambda gone: _remove(self._results, gone))
        self._results.setdefault(session_id, []).append(listener)
        return listener

    def close(self) -> None:
        """End all iterations."""
        for watchers in list(self._events.values()):
            for watcher in list(watchers):
                watcher.close()

    def tell(self, commands: Sequence[Iterable[Event]]) -> None:
        """Hand the committed events of some commands to those who watch their sessions.

        All at once: what a commit tells a client is one message.
        """
        if self._events:
            self._tell_events(commands)
        if self._results:
            self._tell_results(commands)

    def _end(self, watcher: Watcher) -> None:
        _remove(self._events, watcher)
        if not self._events:
            self._on_watched(False)

    def _tell_events(self, commands: Iterable[Iterable[Event]]) -> None:
        batches: dict[str, list[Event]] = {}
        for event in chain.from_iterable(commands):
            session_id = event.record.session_id
            batch = batches.get(session_id)
            if batch is not None:
                batch.append(event)
            elif session_id in self._events:
                batches[session_id] = [event]
        for session_id, batch in batches.items():
            for watcher in list(self._events.get(session_id, ())):
                watcher.push(batch)

    def _tell_results(self, commands: Iterable[Iterable[Event]]) -> None:
        batches: dict[str, list[Event]] = {}  # of few sessions, however many have listeners
        heard, batch = "", None
        for event in chain.from_iterable(commands):
            # By far the most events are none of these: told apart by constants, without look-ups.
            kind, record, status = event
            if (kind is not _RESULT_UPDATE and kind is not _NEW_RESULT) or status == _CREATED:
                continue
            if record.session_id != heard:  # those of one command are of one session
                heard = record.session_id
                batch = batches.get(heard)
                if batch is None and heard in self._results:
                    batch = batches[heard] = []
            if batch is not None:
                batch.append(event)
        for session_id, changes in batches.items():
            for listener in list(self._results.get(session_id, ())):
                listener.push(changes)


def _remove(table: dict[str, list[T]], watcher: T) -> None:
    watchers = table[watcher.session_id]
    watchers.remove(watcher)
    if not watchers:
        del table[watcher.session_id]
