"""The cache of a client, opened when something first asks it."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from armoflow.client.loop import LoopThread
from armoflow.codec.container import Buffer

if TYPE_CHECKING:
    from armoflow.index import Index
    from armoflow.orchestrator.caching.cache import Cache
    from armoflow.orchestrator.orchestrator import Orchestrator


class CacheAccess:
    """The way of one client to its cache.

    Args:
        loop: The client's loop.
        orchestrator: The client's.
        endpoint: Where the engine listens.
        state: Its state directory, where it is an engine of its clients.
        lasting: The engine outlives the client.
        limit: Bytes that the cache may have; None: any.
    """

    def __init__(
        self,
        loop: LoopThread,
        orchestrator: Orchestrator,
        endpoint: str,
        state: Path | None,
        *,
        lasting: bool,
        limit: int | None,
    ) -> None:
        self._loop = loop
        self._orchestrator = orchestrator
        self._endpoint = endpoint
        self._state = state
        self._lasting = lasting
        self._limit = limit

    def open(self, orchestrator: Orchestrator | None = None) -> Cache:
        """The cache, as this client, or one of its named runs, asks it."""
        orchestrator = orchestrator or self._orchestrator
        if orchestrator.cache is None:
            self._loop.call(
                orchestrator.open_cache(self._index, lasting=self._lasting, limit=self._limit)
            )
        assert orchestrator.cache is not None
        return orchestrator.cache

    @functools.cached_property
    def _index(self) -> Index:
        from armoflow.client.caching import open_index

        return open_index(self._endpoint if self._lasting else None, self._state)

    def remove(self, opaque_ids: Sequence[bytes]) -> int:
        """Delete data of the cache, and what the index says of it; returns how much is gone."""
        return self._loop.call(self.open().remove(opaque_ids))

    def read(self, opaque_ids: Sequence[bytes]) -> dict[bytes, Buffer]:
        """Data of the cache, as far as the engine has it."""
        return self._loop.call(self.open().read(opaque_ids))

    def close(self) -> None:
        """Close the index, if it was opened."""
        if "_index" in self.__dict__:
            self._index.close()
