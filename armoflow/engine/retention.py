"""Retention: what is known of a session that has ended, and what data it kept, goes after a time.

Counted from the session's end. A session that nobody has ended stays, and so does one whose tasks
still run. At the next start the time goes on. That of a named run, which no client ends, counts as
ended from when all its tasks have; at the next start its time begins anew. How long that is no
clock says that may be set: it could not be told from one that is about to submit more.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Final

from armoflow.engine.records import SessionRecord, SessionStatus, StateError
from armoflow.errors import EngineError
from armoflow.protocol.frames import RUN_LABEL, VALUE_LABEL

if TYPE_CHECKING:
    from armoflow.engine.core import Engine

logger = logging.getLogger(__name__)

PERIOD: Final = 60.0
"""Seconds between two looks at most: nobody minds that a session stays a minute longer."""

_NAMED = frozenset({RUN_LABEL, VALUE_LABEL})
_ENDED = (SessionStatus.CLOSED, SessionStatus.CANCELLED, SessionStatus.PURGED)


class Retention:
    """Removes the sessions of an engine some time after their end.

    Args:
        engine: The engine.
        seconds: How long they stay; 0: until somebody deletes them.
    """

    def __init__(self, engine: Engine, seconds: float) -> None:
        self._engine = engine
        self._seconds = seconds
        self._idle: dict[
            str, float
        ] = {}  # since when (time.monotonic()), of sessions of named runs
        self._running: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look."""
        if self._seconds:
            self._running = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """Leave the rest to the next start."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            for session in self._due():
                await self._remove(session)
            await asyncio.sleep(self._pause())

    def _due(self) -> list[SessionRecord]:
        state = self._engine.state
        self._look_at_runs()
        return [
            session
            for session in state.sessions.values()
            if (over := self._over(session)) is not None
            and over >= self._seconds
            and not state.has_tasks(session.id)
        ]

    def _over(self, session: SessionRecord) -> float | None:
        """For how many seconds a session has been over; None: it is not."""
        if session.status in _ENDED:
            return self._engine.now() - ended_at(session)
        since = self._idle.get(session.id)
        return None if since is None else time.monotonic() - since

    def _look_at_runs(self) -> None:
        """Find out which named runs have no tasks under way; named values have none."""
        state, now = self._engine.state, time.monotonic()
        self._idle = {
            session.id: self._idle.get(session.id, now)
            for session in state.sessions.values()
            if session.status is SessionStatus.RUNNING
            and not _NAMED.isdisjoint(session.options.options)
            and not state.has_tasks(session.id)
        }

    def _pause(self) -> float:
        """Seconds until the next session is due, as far as that is known now."""
        sessions = self._engine.state.sessions.values()
        longest = max([over for over in map(self._over, sessions) if over is not None], default=0.0)
        return min(max(self._seconds - longest, self._seconds / 10), PERIOD)

    async def _remove(self, session: SessionRecord) -> None:
        state, sweeper = self._engine.state, self._engine.sweeper
        logger.info("session %s is removed: it ended %g s ago", session.id, self._seconds)
        try:
            await sweeper.change(
                session.id, lambda: state.delete_session(self._engine.now(), session.id)
            )
        except (EngineError, StateError) as error:  # there is a next look
            logger.warning("session %s could not be removed: %s", session.id, error)


def ended_at(session: SessionRecord) -> float:
    """When a session that has ended did so: closed or cancelled first, whatever came after."""
    ends = filter(None, (session.closed_at, session.cancelled_at, session.purged_at))
    return min(ends, default=session.created_at)
