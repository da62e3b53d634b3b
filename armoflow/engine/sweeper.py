"""Brings commands that change much to their end, a slice at a time, others' calls in between.

A slice is a command on the state and a transaction of its own. The next one comes when it is
committed, and what others have changed meanwhile is, too: so neither the event loop nor the
journal's thread is ever busy for long, and nobody waits for more than one slice.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import math
import sqlite3
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final, Protocol, TypeVar

from armoflow.engine.creation_order import TABLES, first_from
from armoflow.engine.journal import Journal
from armoflow.engine.reader import Reader
from armoflow.engine.records import Changes, SessionRecord, StateError
from armoflow.engine.state import State
from armoflow.errors import EngineError

logger = logging.getLogger(__name__)

T = TypeVar("T")

SLICE: Final = 1_000
"""Records that one command changes at most, where it may leave the rest for later."""

FIRST: Final = 300
"""Records of a slice before it is known how quick the machine is."""

LEAST: Final = 100
"""Records of a slice, however slow the machine: below it, what a transaction costs prevails."""

HOLD: Final = 0.0015
"""Seconds for which a slice should hold the event loop; its rows and events take twice that,
later."""

COMMIT: Final = 0.006
"""Seconds in which a slice should be committed: a call of another client waits for the transactions
of two or three. Slices of half the size take a twelfth more of the processor in all."""

GROWTH: Final = 1.25
"""How much larger than the one before a slice may be."""

_ROWS_OF_SESSION: Final = (("tasks", "session_id"), ("results", "session_id"), ("sessions", "id"))

ROWS: Final = 2_000
"""Rows that one transaction removes."""


_LAST: Final = 2**63 - 1
"""A number that no row is behind."""


class Apply(Protocol):
    """Takes over what a command changed; see :meth:`armoflow.engine.core.Engine.apply`."""

    def __call__(self, changes: Changes, *, urgent: bool = True) -> asyncio.Future[None]:
        """Take over changes."""


class Sweeper:
    """Runs the slices of an engine.

    Args:
        state: The state machine.
        journal: Where rows are removed.
        reader: How the rows of a removed session are found.
        apply: Journals and tells what a command changed.
        now: The time given to commands.
        in_order: Whether rows are in the order of their creation.
    """

    def __init__(
        self,
        state: State,
        journal: Journal,
        reader: Reader,
        apply: Apply,
        now: Callable[[], float],
        *,
        in_order: Callable[[], bool],
    ) -> None:
        self._state = state
        self._in_order = in_order
        self._journal = journal
        self._reader = reader
        self._apply = apply
        self._now = now
        self._going_on: asyncio.Task[None] | None = None
        self._slice_done = asyncio.Event()
        self._broken: EngineError | None = None
        self._removals: dict[str, asyncio.Task[None]] = {}

    def wake(self, changes: Changes) -> None:
        """See to what a command has left; call it with each command's changes."""
        for session_id in changes.removed_sessions:
            session = changes.sessions.get(session_id)  # None: there was none, nor are its rows
            if session is not None and session_id not in self._removals:
                self._removals[session_id] = _start(self._remove(session))
        if self._going_on is None and self._state.unfinished:
            self._going_on = _start(self._go_on())

    async def stop(self) -> None:
        """Leave the rest to the next start."""
        tasks = [*self._removals.values(), *filter(None, [self._going_on])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def change(self, session_id: str, command: Callable[[], Changes]) -> None:
        """Run a command on a whole session, after an earlier one; done when all is committed.

        Raises:
            StateError: If the command is refused.
        """
        await self.finished(session_id)
        await asyncio.shield(self._apply(command()))
        await self.finished(session_id)
        removal = self._removals.get(session_id)
        if removal is not None:
            await asyncio.shield(removal)

    async def finished(self, session_id: str) -> None:
        """Wait until no command on a whole session is under way.

        Raises:
            EngineError: If the journal cannot be written any more.
        """
        while self._state.is_sweeping(session_id):
            if self._broken is not None:
                raise self._broken
            await self._slice_done.wait()

    async def all_started(self) -> None:
        """Wait until no announced task is still to be started.

        Raises:
            EngineError: If the journal cannot be written any more.
        """
        while self._state.is_starting:
            if self._broken is not None:
                raise self._broken
            await self._slice_done.wait()

    async def in_slices(
        self, records: Sequence[T], command: Callable[[Sequence[T]], Changes], *, urgent: bool
    ) -> None:
        """Run a command on many records, as on some at a time; done when all is committed."""
        start = 0
        while start < len(records):
            part = records[start : start + self._state.slice_size]
            start += len(part)
            await self._take(functools.partial(command, part), urgent=urgent)

    async def step(self, command: Callable[[], Changes]) -> None:
        """Run a command that is as much as a slice; done when it is committed.

        Raises:
            StateError: If the command is refused.
        """
        await asyncio.shield(self._apply(command()))
        await self._give_way()

    async def _take(self, command: Callable[[], Changes], *, urgent: bool = True) -> None:
        """Run a slice; done when it is committed. Its time decides how large the next one is."""
        started, began = time.thread_time(), time.monotonic()
        committed = self._apply(command(), urgent=urgent)
        held = time.thread_time() - started
        await asyncio.shield(committed)
        self.adapt(held, time.monotonic() - began)
        await self._give_way()

    async def _give_way(self) -> None:
        """Have what others have changed meanwhile committed first, without the next slice."""
        await asyncio.shield(self._journal.committed())

    def adapt(self, held: float, committed: float = 0.0) -> None:
        """A slice of the present size has held the event loop, and was committed, in so long."""
        size = self._state.slice_size
        wanted = min(HOLD / max(held, 1e-6), COMMIT / max(committed, 1e-6), GROWTH) * size
        self._state.slice_size = min(max(int(wanted), LEAST, size // 2), SLICE)

    async def _go_on(self) -> None:
        try:
            while self._state.unfinished:
                await self._take(lambda: self._state.go_on(self._now()))
                self._tell()
        except EngineError as error:  # the engine ends, and a restart goes on
            logger.debug("a command on a session is left unfinished: %s", error)
            self._broken = error
        finally:
            self._going_on = None
            self._tell()

    def _tell(self) -> None:
        """Let those look who wait for a command's end."""
        self._slice_done.set()
        self._slice_done = asyncio.Event()

    async def _remove(self, session: SessionRecord) -> None:
        """Remove the rows of a session that the state machine has forgotten, its own one last."""
        session_id = session.id
        try:
            await asyncio.shield(self._journal.committed())
            for table, column in _ROWS_OF_SESSION:
                last, end = await self._find_ends(table, session)
                while rows := await self._find_rows(table, column, session_id, last, end):
                    await asyncio.shield(self._journal.remove_rows(table, rows))
                    await self._give_way()
                    last = rows[-1]
        except (EngineError, StateError) as error:
            logger.debug("the rows of a deleted session are left for the next start: %s", error)
        finally:
            del self._removals[session_id]

    async def _find_ends(self, table: str, session: SessionRecord) -> tuple[int, int]:
        """The numbers between which the rows of a session are: beside one that lives long are few.

        Those of one that never was, in which clients of a strict engine created something, may be
        anywhere.
        """
        known = self._in_order() and session.created_at < (session.deleted_at or 0.0)
        if table not in TABLES or not known:
            return -1, _LAST
        created, newest = session.created_at, session.newest

        def read(connection: sqlite3.Connection) -> tuple[int, int]:
            first = first_from(connection, table, created)
            # The next number of a float: nothing is between the two.
            after = (
                _LAST
                if newest is None
                else first_from(connection, table, math.nextafter(newest, math.inf))
            )
            return first - 1, after - 1

        return await self._reader.run(read)

    async def _find_rows(
        self, table: str, column: str, value: str, after: int, end: int
    ) -> list[int]:
        wanted = f"{column}=? AND rowid>? AND rowid<=?"
        sql = f"SELECT rowid FROM {table} WHERE {wanted} ORDER BY rowid LIMIT {ROWS}"

        def read(connection: sqlite3.Connection) -> list[int]:
            found = (value, after, end)
            rows = connection.execute(f"SELECT group_concat(rowid) FROM ({sql})", found)
            text = rows.fetchone()[0]
            return [] if text is None else [int(row) for row in text.split(",")]

        return await self._reader.run(read)


def _start(coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    return asyncio.get_running_loop().create_task(coroutine)
