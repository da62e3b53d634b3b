"""Learning what has ended: from what the engine tells, and by asking where it may be silent.

An event is a hint. Some are missed: just after subscribing, and on a change stream that died
without ending. So what is open is asked for then, a bounded number at a time.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from collections.abc import Callable, Sequence

from armoflow import config
from armoflow.errors import ArmoflowError, EngineError
from armoflow.orchestrator.tracker import Tracker
from armoflow.protocol.result_handle import ResultChange
from armoflow.protocol.transport import Transport

logger = logging.getLogger(__name__)

_GOES_ON = {
    # What the engine has taken goes on by itself when its disk has room.
    "RESOURCE_EXHAUSTED": "open results wait for the engine",
    "PERMISSION_DENIED": "what ended without an event is not noticed",
}
"""Refusals of a list that end nothing, and what is said of them."""


class Watching:
    """Finds out what has ended; lives in the loop's thread.

    Args:
        transport: The way to the engine.
        tracker: What is under way.
        session: Gives the id of the open session, if there is one.
        apply: Called with what has ended.
        fail: Called when nothing more can be learned.
        tell: Says once what goes on in spite of an error.
    """

    def __init__(
        self,
        transport: Transport,
        tracker: Tracker,
        session: Callable[[], str | None],
        *,
        apply: Callable[[Sequence[ResultChange]], None],
        fail: Callable[[ArmoflowError], None],
        tell: Callable[[str, ArmoflowError], None],
    ) -> None:
        self._transport = transport
        self._tracker = tracker
        self._session = session
        self._apply = apply
        self._fail = fail
        self._tell = tell
        self._loop = asyncio.get_running_loop()
        self._last_news = 0.0
        self._subscribed = asyncio.Event()

    async def watch(self, session_id: str) -> None:
        """Take what the engine tells of a session.

        Raises:
            SessionEndedError: If it has ended the session.
        """
        async with contextlib.aclosing(self._transport.watch(session_id)) as news:
            async for changes in news:
                self._last_news = self._loop.time()
                if changes:
                    self._apply(changes)
                else:
                    self._subscribed.set()

    async def look(self) -> None:
        """Ask for what may have ended before the engine knew that it is watched."""
        while True:
            await self._subscribed.wait()
            self._subscribed.clear()
            result_ids: Sequence[str] = list(self._tracker.open)
            before = 0.0
            for at in self._transport.looks:
                await asyncio.sleep(at - before)
                asked = dict.fromkeys([*result_ids, *self._oldest()])
                await self.resync([key for key in asked if key in self._tracker.open])
                before, result_ids = at, ()
                if self._subscribed.is_set():
                    break

    async def look_after_silence(self) -> None:
        """A dead change stream leaves an open, silent call: so silence is not believed."""
        while True:
            await asyncio.sleep(config.SILENCE_BEFORE_RESYNC)
            silent = self._loop.time() - self._last_news >= config.SILENCE_BEFORE_RESYNC
            session_id = self._session()
            if silent and self._tracker.open and session_id is not None:
                news = await self.resync(self._oldest())
                if news:
                    logger.info("%d results had ended without an event", news)
                    self._transport.watch_again(session_id)

    async def look_once(self) -> None:
        """Ask for what is open, but not for long."""
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self.resync(self._oldest()), config.END_SECONDS)

    async def resync(self, result_ids: Sequence[str]) -> int:
        """Ask for results; returns how many of them have ended."""
        session_id = self._session()
        if not result_ids or session_id is None:
            return 0
        try:
            changes = await self._transport.poll(session_id, result_ids)
        except ArmoflowError as error:
            if isinstance(error, EngineError) and error.code in _GOES_ON:
                self._tell(_GOES_ON[error.code], error)
                return 0
            logger.warning("listing open results failed: %s", error)
            self._fail(error)
            return 0
        self._apply(changes)
        return len(changes)

    def _oldest(self) -> list[str]:
        return list(itertools.islice(self._tracker.open, config.RESYNC_RESULTS))
