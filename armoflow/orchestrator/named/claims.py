"""Which of several clients submits what another one has laid out, and not submitted.

Stock engines let all: each of them has the tasks run once more. So whoever wants to stores that,
and of those who do in one moment the first one does. It may die then: the others wait for a while.
"""

from __future__ import annotations

import asyncio
from collections.abc import Set

from armoflow.protocol.frames import OUTPUT
from armoflow.protocol.transport import Transport

NAME = "rest"
"""What claims are stored under."""

_PAUSE = 0.2
"""Seconds between two looks at what the first one does."""


class Claims:
    """Those in one session.

    Args:
        transport: The way to the engine.
        session_id: The session.
        patience: Seconds after which a client that has submitted nothing counts as gone.
    """

    def __init__(self, transport: Transport, session_id: str, patience: float) -> None:
        self._transport = transport
        self._session_id = session_id
        self._patience = patience

    async def come_first(self) -> bool:
        """Claim it; whether nobody else has in this moment, or a little before."""
        own = await self._transport.store(self._session_id, NAME, [NAME.encode()])
        claims = await self._transport.shared.parts(self._session_id, NAME)
        at = max((claim.created for claim in claims if claim.result_id == own), default=0.0)
        recent = [claim.result_id for claim in claims if claim.created >= at - self._patience]
        return recent[:1] == [own]

    async def wait(self, outputs: Set[str]) -> None:
        """Wait until the first one has submitted the tasks that make some results, or is gone."""
        loop = asyncio.get_running_loop()
        begun = loop.time()
        while True:
            if loop.time() - begun >= self._patience or outputs.isdisjoint(await self.free()):
                return
            await asyncio.sleep(_PAUSE)

    async def free(self) -> set[str]:
        """The outputs that no task was submitted for."""
        shared = self._transport.shared
        return set(await shared.created(self._session_id, OUTPUT, unowned=True))
