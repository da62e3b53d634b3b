"""Leases: a session whose client asked for one ends some time after that client is gone.

While a stream of the batch extension watches the session, its lease does not run. It begins to run
when the last such stream ends, for whatever reason, and when the engine starts; a new stream stops
it. When it has run out the session is cancelled and its data deleted, but what its failed tasks
were given, and what was asked to be kept, stays; so does all that is known of it.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING

from armoflow.engine.records import SessionStatus, StateError
from armoflow.errors import EngineError

if TYPE_CHECKING:
    from armoflow.engine.core import Engine

logger = logging.getLogger(__name__)

_OPEN = (SessionStatus.RUNNING, SessionStatus.PAUSED)
_GONE = (SessionStatus.PURGED, SessionStatus.DELETED)


class Leases:
    """The leases of an engine's sessions.

    Args:
        engine: The engine.
        seconds: How long a client may be away; 0: as long as it likes.
    """

    def __init__(self, engine: Engine, seconds: float) -> None:
        self._engine = engine
        self._seconds = seconds
        self._streams: Counter[str] = Counter()
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._ending: set[asyncio.Task[None]] = set()

    def begin(self, session_id: str) -> None:
        """No stream watches this session (any more): its lease runs, if it has one."""
        session = self._engine.state.sessions.get(session_id)
        if not self._seconds or session is None or not session.leased or session.status in _GONE:
            return
        if not self._streams[session_id] and session_id not in self._timers:
            loop = asyncio.get_running_loop()
            self._timers[session_id] = loop.call_later(self._seconds, self._lapse, session_id)

    def hold(self, session_id: str) -> None:
        """A stream watches this session."""
        self._streams[session_id] += 1
        timer = self._timers.pop(session_id, None)
        if timer is not None:
            timer.cancel()

    def release(self, session_id: str) -> None:
        """A stream that watched this session has ended."""
        self._streams[session_id] -= 1
        if not self._streams[session_id]:
            del self._streams[session_id]
            self.begin(session_id)

    def refusal(self, session_id: str) -> str | None:
        """What a client is told that comes back too late; None: it is not."""
        session = self._engine.state.sessions.get(session_id)
        if session is None or not session.leased or session.status is not SessionStatus.CANCELLED:
            return None
        return (
            f"session {session_id} was cancelled: its client was away for longer than its lease of "
            f"{self._seconds:g} s (armoflow up --client-lease), or somebody cancelled it"
        )

    async def stop(self) -> None:
        """End nothing any more; at the next start the leases run anew."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        for task in self._ending:
            task.cancel()
        await asyncio.gather(*self._ending, return_exceptions=True)

    def _lapse(self, session_id: str) -> None:
        del self._timers[session_id]
        task = asyncio.get_running_loop().create_task(self._end(session_id))
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def _end(self, session_id: str) -> None:
        try:
            await self._cancel(session_id)
        except (EngineError, StateError) as error:  # at the next start its lease runs anew
            logger.warning("session %s could not be ended: %s", session_id, error)

    async def _cancel(self, session_id: str) -> None:
        engine = self._engine
        state, sweeper = engine.state, engine.sweeper
        if self._streams[session_id]:
            return  # its client has come back at the last moment
        session = state.sessions.get(session_id)
        if session is not None and session.status in _OPEN:
            logger.warning(
                "session %s is cancelled: its client is away for %g s", session_id, self._seconds
            )
            with suppress(StateError):  # somebody else has ended it meanwhile
                await sweeper.change(
                    session_id,
                    lambda: state.cancel_session(engine.now(), session_id, engine.held(session_id)),
                )
        await engine.kept_data.tidy(session_id)
