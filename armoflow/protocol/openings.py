"""Opening a session once, though the answer may be lost on its way.

A session has no name that its client gives, and its id is in the answer alone. So each one carries
a mark among its default task options, by which it is found again before the call is repeated; and
once more in the end, for a call may still be carried out when its caller has given it up. Where a
session ends with its client's lease anyway, it is left to that.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from armonik.protogen.common import sessions_common_pb2

from armoflow.config import END_PATIENCE
from armoflow.errors import ArmoflowError
from armoflow.protocol.filter_fields import GENERIC, SESSIONS, add_filters, sort_upwards

if TYPE_CHECKING:
    from armoflow.protocol.standard import StandardTransport

logger = logging.getLogger(__name__)

MARK = "armoflow_session"
"""The option that holds the mark; no dot, which databases may take for a path."""


class Openings:
    """Opens sessions for a :class:`~armoflow.protocol.standard.StandardTransport`.

    Args:
        transport: Whose engine.
        sessions: The stub of the sessions service.
    """

    def __init__(self, transport: StandardTransport, sessions: Any) -> None:
        self._transport = transport
        self._sessions = sessions
        self._doubted: dict[str, str] = {}  # marks of sessions that were asked for more than once

    async def open(self, request: Any) -> str:
        """Open a session; returns its id."""
        mark = uuid.uuid4().hex
        request.default_task_option.options[MARK] = mark
        repeated = False

        async def settled() -> Any:
            nonlocal repeated
            repeated = True
            found = await self._marked(mark)
            return sessions_common_pb2.CreateSessionReply(session_id=found[0]) if found else None

        what = "creating a session"
        create = self._sessions.CreateSession
        reply = await self._transport.call(create, request, what, settled=settled)
        session_id = str(reply.session_id)
        if repeated:
            self._doubted[session_id] = mark
        return session_id

    async def end_strays(self, session_id: str, end: Callable[[str], Awaitable[None]]) -> None:
        """End the sessions that nobody knows of, opened on the way to one that has ended.

        Args:
            session_id: That one.
            end: Ends a session.
        """
        mark = self._doubted.pop(session_id, None)
        if mark is not None:
            for stray in await self._marked(mark, patience=END_PATIENCE):
                if stray != session_id:
                    logger.info("session %s was opened for nobody: it is ended", stray)
                    await end(stray)

    async def _marked(self, mark: str, **repeating: Any) -> list[str]:
        """The sessions with a mark, as far as the engine shows them."""
        try:
            reply = await self._transport.call(
                self._sessions.ListSessions, _list_marked(mark), "listing sessions", **repeating
            )
        except ArmoflowError as error:  # not every user may; what is left is empty
            logger.info("whether a session was opened is not known: %s", error)
            return []
        return [raw.session_id for raw in reply.sessions if raw.options.options.get(MARK) == mark]


def _list_marked(mark: str) -> Any:
    request = sessions_common_pb2.ListSessionsRequest(page_size=100)
    add_filters(request.filters, SESSIONS, [[(GENERIC + MARK, "==", mark)]])
    return sort_upwards(request, SESSIONS, "created_at")
