"""What the services share."""

from __future__ import annotations

import asyncio

from armoflow.engine.core import Engine
from armoflow.engine.records import Changes


class Service:
    """A service of an engine.

    Replies wait for the commit of what they say. The future of a commit is shared with other calls,
    while the caller may cancel this one at any time: so it is always shielded.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def _commit(self, changes: Changes) -> None:
        """Apply what a command changed, at once, and wait until it is committed."""
        await asyncio.shield(self._engine.apply(changes))

    async def _committed(self) -> None:
        """Wait until all that was applied so far is committed."""
        await asyncio.shield(self._engine.committed())
