"""The cache of one client on one engine: imports what is known, and keeps what is new.

A new session cannot name another one's results, but it can make results of its own out of their
data, which ArmoniK stores under an *opaque id* (ImportResultsData). Nothing in ArmoniK counts how
many results use such data: deleting one destroys it for all. So all of them are created with
``manual_deletion``, and only the cache itself removes data.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any

from armoflow import config
from armoflow.codec.container import Buffer, keeps_promise
from armoflow.departures import Departure, depart, departures
from armoflow.errors import DataLostError, EngineError, StaleCacheError
from armoflow.index import CachedPlace, Data, Index
from armoflow.index_entries import Key
from armoflow.orchestrator.caching.eviction import Eviction
from armoflow.orchestrator.caching.keeping import Keeper
from armoflow.orchestrator.caching.recipe_writer import RecipeWriter
from armoflow.orchestrator.planned import Result
from armoflow.protocol.result_handle import ResultState
from armoflow.protocol.transport import Transport
from armoflow.system.threads import in_thread

logger = logging.getLogger(__name__)

_IDS = re.compile(r"[\w-]{16,}")
"""What may be the id of a result in an error's text."""

_LOST = "%d results in the cache have lost their data: what was in them is computed anew"

_UNUSABLE = "a result in the cache cannot be used, and is computed anew: %s"

_CANARY = "canary"
_CANARY_MADE = "canary made"
_CANARY_AGE = 3600.0
"""Seconds after which another canary is stored: it is never much older than the newest entry."""


class Imported(Result):
    """A result whose data the engine had already; it has its id once it is imported.

    Attributes:
        stored: What the index says of its data.
    """

    __slots__ = ("stored",)

    def __init__(self, name: str, stored: Data) -> None:
        super().__init__(name)
        self.stored = stored
        self.size = stored.size
        self.state = ResultState.COMPLETED

    @property
    def promised(self) -> tuple[int, int]:
        """What the index says of its data: size and checksum."""
        return self.stored.size, self.stored.checksum

    def vouched(self, data: Buffer) -> bool:
        """Whether data is what the index says that it is."""
        return keeps_promise(data, *self.promised)


class Cache:
    """Lives in the loop's thread; see the module.

    Attributes:
        index: Says where values are.
        refused: The engine takes no imports of this client's.
        wrong: The results that it has given, and that turned out to be something else, or gone.

    Args:
        transport: The way to the engine.
        index: Says where values are.
        session: Gives the id of the session that was opened last.
        start: Starts a coroutine.
        limit: Bytes that it may have; None: as many as there are.
        code: Gives code that the client has sent, by its digest.

    Attributes:
        keeper: Keeps what is new.
    """

    def __init__(
        self,
        transport: Transport,
        index: Index,
        session: Callable[[], str | None],
        start: Callable[[Any], asyncio.Task[Any]],
        *,
        limit: int | None,
        code: Callable[[str], bytes | None],
    ) -> None:
        self.index = index
        self._transport = transport
        self._session = session
        self.wrong: set[str] = set()
        self._imported: dict[bytes, str] = {}
        self._imported_into: str | None = None
        self.refused = False
        self._eviction: Eviction | None = None
        if limit is not None:
            self._eviction = Eviction(index, limit, self._delete, self._imported)
        recipes = RecipeWriter(transport, code)
        self.keeper = Keeper(transport, index, session, start, kept=self._evict, recipes=recipes)

    async def begin(self, session_id: str, *, lasting: bool) -> None:
        """Find out whether the engine still has what the index says."""
        if not lasting:
            return  # the index is as old as the engine
        canary = self.index.fact(_CANARY)
        found = canary is None or await self._import(session_id, [("cache/canary", canary)])
        if self.refused:
            return
        if not found:
            forgotten = await in_thread(self.index.clear)
            if forgotten:
                logger.warning(
                    "the engine no longer has the data of the cache: %d values are computed anew",
                    forgotten,
                )
            canary = None
        made = float(self.index.fact(_CANARY_MADE) or 0)
        if canary is None or not 0 <= time.time() - made < _CANARY_AGE:
            await self._store_canary(session_id)
        await self.keeper.adopt(session_id)

    async def close(self) -> None:
        """Wait until what has come is kept; the index is its owner's to close."""
        await self.keeper.settle()

    async def _store_canary(self, session_id: str) -> None:
        result_id = await self._transport.store(session_id, "canary", [b"canary"], lasting=True)
        located = await self._transport.located(session_id, [result_id])
        if result_id in located:
            self.index.set_fact(_CANARY, located[result_id][0])
            self.index.set_fact(_CANARY_MADE, repr(time.time()).encode())

    # --- what is known --------------------------------------------------------------------------

    def find(self, keys: Iterable[Key]) -> dict[Key, CachedPlace]:
        """Where values are, of those that are known; in any thread."""
        if self.refused:
            return {}
        try:
            return self.index.find(keys)
        except EngineError as error:  # then nothing is known, and all is computed
            logger.warning("%s", error)
            return {}

    def departures(self, keys: Iterable[bytes]) -> dict[bytes, Departure]:
        """Why values that were there once are not any more, by key; in any thread."""
        try:
            return departures(self.index, keys)
        except EngineError as error:
            logger.warning("%s", error)
            return {}

    async def take(
        self, results: Sequence[Imported], read: Sequence[Imported], *, forget: bool = True
    ) -> set[bytes]:
        """Import results; returns the opaque ids of those whose data is not what was kept.

        Args:
            results: What is needed.
            read: Those among them that the client will read itself: these are fetched.
            forget: What is lost is taken out of the index.
        """
        session_id = self._session()
        if session_id is None:
            raise EngineError("there is no session to import into")
        if session_id != self._imported_into:
            self._imported.clear()
            self._imported_into = session_id
        missing = {
            result.stored.opaque_id: result
            for result in results
            if result.stored.opaque_id not in self._imported
        }
        named = [(f"cache/{result.name}", opaque_id) for opaque_id, result in missing.items()]
        self._imported.update(await self._import_all(session_id, named))
        lost = {r.stored.opaque_id for r in results if r.stored.opaque_id not in self._imported}
        for result in results:
            result.id = self._imported.get(result.stored.opaque_id, "")
        lost |= await self._read(session_id, [r for r in read if r.stored.opaque_id not in lost])
        if lost and forget and not self.refused:
            logger.warning(_LOST, len(lost))
            await self._spare(in_thread(depart, self.index, list(lost), Departure.GONE))
        return lost

    async def _spare(self, change: Coroutine[Any, Any, None]) -> None:
        """Change the index; a run does not fail because that cannot be."""
        try:
            await change
        except EngineError as error:
            logger.warning("%s", error)

    async def _import_all(
        self, session_id: str, items: Sequence[tuple[str, bytes]]
    ) -> dict[bytes, str]:
        """Import any amount of data; the result ids of what is there, by opaque id."""
        there: dict[bytes, str] = {}
        for first in range(0, len(items), config.CACHE_BATCH):
            there.update(await self._import(session_id, items[first : first + config.CACHE_BATCH]))
        return there

    async def _import(
        self, session_id: str, items: Sequence[tuple[str, bytes]], *, lasting: bool = True
    ) -> list[tuple[bytes, str]]:
        """Import data; returns opaque id and result id of what is there, found by halving."""
        try:
            ids = await self._transport.import_data(session_id, items, lasting=lasting)
        except EngineError as error:
            if error.code != "NOT_FOUND":
                self._refuse(error)
                return []
            if len(items) == 1:
                return []
            half = len(items) // 2
            before = await self._import(session_id, items[:half], lasting=lasting)
            return before + await self._import(session_id, items[half:], lasting=lasting)
        return [(opaque_id, id_) for (_, opaque_id), id_ in zip(items, ids, strict=True)]

    def _refuse(self, error: EngineError) -> None:
        """The engine takes no imports of this client's: it computes, and says so once."""
        if not self.refused:
            self.refused = True
            logger.warning("what is in the cache cannot be imported, and is computed: %s", error)

    async def _read(self, session_id: str, results: Sequence[Imported]) -> set[bytes]:
        """Fetch what the client reads itself; returns the opaque ids of what is not as it was."""
        wrong = set()
        for first in range(0, len(results), config.CACHE_BATCH):
            batch = results[first : first + config.CACHE_BATCH]
            data = await self._transport.fetch(session_id, [result.id for result in batch])
            for result, content in zip(batch, data, strict=True):
                if isinstance(content, DataLostError) or not result.vouched(content):
                    wrong.add(result.stored.opaque_id)
                else:
                    result.data = content
        return wrong

    async def read(self, opaque_ids: Sequence[bytes]) -> dict[bytes, Buffer]:
        """Data that the engine has, by opaque id; what it has no more is left out.

        Raises:
            EngineError: If it cannot be asked.
        """
        session_id = self._session()
        if session_id is None:
            raise EngineError("there is no session to import into")
        named = [("cache/read", opaque_id) for opaque_id in dict.fromkeys(opaque_ids)]
        found = await self._import_all(session_id, named)
        if self.refused:
            raise EngineError("the engine takes no imports: data of the cache cannot be read")
        data = await self._transport.fetch(session_id, list(found.values()))
        return {
            opaque_id: content
            for opaque_id, content in zip(found, data, strict=True)
            if not isinstance(content, DataLostError)
        }

    async def doubt(self, error: DataLostError) -> None:
        """Find out whether an error comes from what it has given, and forget what was wrong."""
        if isinstance(error, StaleCacheError):
            found = [opaque for opaque, id_ in self._imported.items() if id_ == error.result_id]
            await self._disown(found, _UNUSABLE % error)
            return
        session_id = self._session()
        mentioned = _IDS.findall(str(error))
        own = set(self._imported.values())
        if session_id is None or not own or (mentioned and own.isdisjoint(mentioned)):
            return
        # What the engine has deleted is mostly not alone.
        named = [("cache/doubted", opaque_id) for opaque_id in self._imported]
        there = await self._import_all(session_id, named)
        gone = [opaque for opaque in self._imported if opaque not in there]
        if not self.refused:
            await self._disown(gone, _LOST % len(gone))

    async def _disown(self, opaque_ids: Sequence[bytes], told: str) -> None:
        if not opaque_ids:  # it is known already, or was never of the cache
            return
        self.wrong.update(self._imported.pop(opaque_id) for opaque_id in opaque_ids)
        logger.warning("%s", told)
        await self._spare(in_thread(depart, self.index, opaque_ids, Departure.GONE))

    # --- what must go ---------------------------------------------------------------------------

    async def _evict(self) -> None:
        if self._eviction is not None and not self.refused:
            await self._eviction.run()

    async def remove(self, opaque_ids: Sequence[bytes]) -> int:
        """Delete data, and what the index says of it; returns how much is gone now.

        Raises:
            EngineError: If the engine takes no imports, by which data is deleted.
        """
        removed = 0
        for first in range(0, len(opaque_ids), config.CACHE_BATCH):
            gone = await self._delete(opaque_ids[first : first + config.CACHE_BATCH])
            if not gone:
                raise EngineError(
                    "the engine takes no imports: data of the cache cannot be deleted"
                )
            await in_thread(depart, self.index, gone, Departure.REMOVED)
            removed += len(gone)
        return removed

    async def _delete(self, opaque_ids: Sequence[bytes]) -> Sequence[bytes]:
        """Delete data; returns the opaque ids of what is gone now."""
        session_id = self._session()
        if session_id is None:
            return ()
        named = [("cache/evicted", opaque_id) for opaque_id in opaque_ids]
        imported = await self._import(session_id, named, lasting=False)
        if self.refused:
            return ()
        await self._transport.delete(session_id, [result_id for _, result_id in imported])
        return opaque_ids
