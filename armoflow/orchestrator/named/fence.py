"""Keeps who plans a run from going on when somebody else has taken it over.

A client that is stopped, or whose machine sleeps, counts as gone after a while. When it wakes it
knows nothing of that. An engine that fences refuses what it submits then, however long that was
under way (:mod:`armoflow.protocol.frames`). Elsewhere it asks before it submits, if it has not
asked for a while: who is stopped between the answer and the call is not kept from making it.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from armoflow import config
from armoflow.errors import EngineUnreachableError, NamedRunError
from armoflow.system.uptime import uptime

logger = logging.getLogger(__name__)

TRUSTED = 6.0
"""Seconds for which an answer holds: nobody who has asked so lately is taken to be gone."""


class Fence:
    """Stands between a planner and the engine.

    Args:
        overtaken: Asks the engine whether somebody else has taken over.
        error: What the planner is told then.
        on_lost: Called then, once.
        asked_at: When that was asked last, before this was made.
    """

    def __init__(
        self,
        overtaken: Callable[[], Awaitable[bool]],
        error: NamedRunError,
        on_lost: Callable[[NamedRunError], None],
        *,
        asked_at: float,
    ) -> None:
        self._overtaken = overtaken
        self._error = error
        self._on_lost = on_lost
        self._asked = asked_at
        self._lost = False

    async def confirm(self, *, anew: bool = False) -> None:
        """Ask, if the last answer holds no longer.

        Args:
            anew: It does not, whenever it came.

        Raises:
            NamedRunError: If somebody else has taken over.
            EngineUnreachableError: If no answer came soon enough to hold.
        """
        begun = uptime()
        if anew:
            await self.ask()
        while (late := uptime() - self._asked) >= TRUSTED:  # stopped before it had the answer?
            if uptime() - begun >= config.ENGINE_PATIENCE:
                raise EngineUnreachableError(
                    f"the engine takes {late:.0f} s to say whether another client has taken this "
                    f"run over: an answer holds for {TRUSTED:.0f} s, so nothing more of it is "
                    "submitted; submit or attach it again when the engine answers sooner"
                )
            if uptime() - begun >= TRUSTED:
                logger.warning(
                    "the engine takes %.0f s to say whether another client has taken this run "
                    "over: asking again, before more of it is submitted",
                    late,
                )
            await self.ask()
        if self._lost:
            raise self._error

    async def ask(self) -> None:
        """Ask the engine."""
        asked = uptime()
        if not self._lost and await self._overtaken():
            self._lost = True
            self._on_lost(self._error)
        self._asked = asked
