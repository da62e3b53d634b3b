"""The sessions of one client: one is opened when it is needed, and left when it is cancelled."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from armoflow.errors import ArmoflowError, ClientClosedError, SessionEndedError
from armoflow.protocol.submission import WireOptions
from armoflow.protocol.transport import Transport

logger = logging.getLogger(__name__)


class ClientSessions:
    """Opens a client's sessions, and ends them; lives in the loop's thread.

    Args:
        transport: The way to the engine.
        options: Default task options of the sessions.
        shared: A session that others come back to, and that this client does not end.
        begun: Called with the id of one that is open now.

    Attributes:
        current: The id of the open session.
        left: How many were left with what they had stored.
        closed: The client is closed.
        lost: Why the engine is gone for good.
    """

    def __init__(
        self,
        transport: Transport,
        options: WireOptions,
        shared: str | None,
        begun: Callable[[str], None],
    ) -> None:
        self.current: str | None = None
        self.left = 0
        self.closed = False
        self.lost: ArmoflowError | None = None
        self._transport = transport
        self._options = options
        self._shared = shared
        self._begun = begun
        self._lock = asyncio.Lock()
        self._old: list[str] = []

    async def open(self) -> str:
        """The id of the open session; opens one if there is none."""
        async with self._lock:
            if self.closed:
                raise ClientClosedError("the client is closed")
            if self.lost is not None:
                raise self.lost
            if self.current is None:
                self.current = await self._open()
                self._begun(self.current)
            return self.current

    async def _open(self) -> str:
        if self._shared is None:
            partitions = self._transport.info.partitions
            return await self._transport.create_session(self._options, partitions)
        if self._old:
            raise SessionEndedError("the run was ended by another", "CANCELLED", self._shared)
        self._transport.shared.begun(self._shared)
        return self._shared

    @property
    def last(self) -> str | None:
        """The id of the session that was opened last; None if none was."""
        if self.current is not None:
            return self.current
        return self._old[-1] if self._old else None

    def leave(self) -> str | None:
        """Nothing more happens in the open session; returns its id. The next call opens another."""
        session_id, self.current = self.current, None
        self.left += 1
        if session_id is not None:
            self._old.append(session_id)
        return session_id

    async def end_all(self) -> None:
        """End those that were opened, the open one too."""
        for session_id in [*self._old, *filter(None, [self.current])]:
            await self._end(session_id)

    async def _end(self, session_id: str) -> None:
        try:
            await self._transport.end_session(session_id)
        except ArmoflowError as error:
            logger.warning("a session could not be ended: %s", error)
