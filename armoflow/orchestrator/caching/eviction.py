"""Keeps what a cache has within its limit.

Data goes by being imported once more, into an ordinary result, and deleted with that: deleting
destroys it for all who have it. So what was used of late stays, for another client may have it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Container, Sequence

from armoflow import config
from armoflow.departures import Departure, depart
from armoflow.index import Data, Index
from armoflow.system.threads import in_thread

logger = logging.getLogger(__name__)


class Eviction:
    """Removes what is worth least: it took the fewest seconds for a byte.

    Args:
        index: Says what there is.
        limit: Bytes that there may be.
        delete: Deletes data by opaque ids; returns those whose data is gone.
        used: Opaque ids that this client has imported itself.
    """

    def __init__(
        self,
        index: Index,
        limit: int,
        delete: Callable[[Sequence[bytes]], Awaitable[Sequence[bytes]]],
        used: Container[bytes],
    ) -> None:
        self._index = index
        self._limit = limit
        self._delete = delete
        self._used = used
        self._told = False

    async def run(self) -> None:
        """Remove as much as must go, if it is too much."""
        size = await in_thread(self._index.size)
        if size <= self._limit:
            return
        excess = size - int(self._limit * config.CACHE_SHARE_KEPT)
        before = time.time() - config.CACHE_SPARED
        chosen = await in_thread(self._index.cheapest, excess, before)
        going = [data for data in chosen if data.opaque_id not in self._used]
        for first in range(0, len(going), config.CACHE_BATCH):
            await self._remove(going[first : first + config.CACHE_BATCH])
        left = size - sum(data.size for data in going)
        if left > self._limit and not self._told:
            self._told = True
            logger.warning(
                "the cache has %d bytes, more than its limit of %d: what was used within the last "
                "%g s stays",
                *(left, self._limit, config.CACHE_SPARED),
            )

    async def _remove(self, batch: Sequence[Data]) -> None:
        gone = await self._delete([data.opaque_id for data in batch])
        if gone:  # only now: an entry without data is a miss, data without an entry is lost room
            await in_thread(depart, self._index, gone, Departure.EVICTED)
