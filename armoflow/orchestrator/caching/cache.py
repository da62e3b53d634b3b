"""The cache of one client on one engine: imports what is known, and keeps what is new.

A new session cannot name another one's results, but it can make results of its own out of their
data, which ArmoniK stores under an *opaque id* (ImportResultsData). Nothing in ArmoniK counts how
many results use such data: deleting one destroys it for all. So all of them are created with
``manual_deletion``, and only the cache itself removes data.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any, NamedTuple

from armoflow import config
from armoflow.cache.parts import KeyParts
from armoflow.codec.container import PREFIX_BYTES, Buffer, stranger, written_checksum
from armoflow.codec.envelope import unpack_told
from armoflow.codec.item_log import read_log
from armoflow.errors import ArmoflowError, DataLostError, EngineError, EnvelopeError
from armoflow.index import Data, Index, Key, Making, Place
from armoflow.orchestrator.planned import Result
from armoflow.orchestrator.targets import is_failure
from armoflow.protocol.transport import ResultState, Transport

logger = logging.getLogger(__name__)

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

    def vouched(self, data: Buffer) -> bool:
        """Whether data is what the index says that it is."""
        stored = self.stored
        if len(data) != stored.size or stored.size < PREFIX_BYTES or stranger(data):
            return False
        return written_checksum(data) == stored.checksum


class Made(NamedTuple):
    """What is to be kept of a result.

    Attributes:
        result: The result.
        keys: The keys of its slots.
        task: The name of the task.
        version: What stands for its code.
        parts: What the keys were made of.
    """

    result: Result
    keys: Sequence[tuple[Key, int]]
    task: str
    version: str | None
    parts: KeyParts


class Cache:
    """Lives in the loop's thread; see the module.

    Args:
        transport: The way to the engine.
        index: Says where values are.
        session: Gives the id of the session that was opened last.
        start: Starts a coroutine.
    """

    def __init__(
        self,
        transport: Transport,
        index: Index,
        session: Callable[[], str | None],
        start: Callable[[Any], asyncio.Task[Any]],
    ) -> None:
        self.index = index
        self._transport = transport
        self._session = session
        self._start = start
        self._imported: dict[bytes, str] = {}
        self._imported_into: str | None = None
        self._awaited: dict[Result, list[Made]] = {}
        self._come: list[Made] = []
        self._keeping: asyncio.Task[None] | None = None
        self._refused = False
        self._codes: dict[bytes, bytes] = {}

    async def begin(self, session_id: str, *, lasting: bool) -> None:
        """Find out whether the engine still has what the index says."""
        if not lasting:
            return  # the index is as old as the engine
        canary = self.index.fact(_CANARY)
        found = canary is None or await self._import(session_id, [("cache/canary", canary)])
        if self._refused:
            return
        if not found:
            forgotten = await asyncio.to_thread(self.index.clear)
            if forgotten:
                logger.warning(
                    "the engine no longer has the data of the cache: %d values are computed anew",
                    forgotten,
                )
            canary = None
        made = float(self.index.fact(_CANARY_MADE) or 0)
        if canary is None or not 0 <= time.time() - made < _CANARY_AGE:
            await self._store_canary(session_id)

    async def _store_canary(self, session_id: str) -> None:
        result_id = await self._transport.store(session_id, "canary", [b"canary"], lasting=True)
        located = await self._transport.located(session_id, [result_id])
        if result_id in located:
            self.index.set_fact(_CANARY, located[result_id][0])
            self.index.set_fact(_CANARY_MADE, repr(time.time()).encode())

    # --- what is known --------------------------------------------------------------------------

    def find(self, keys: Iterable[Key]) -> dict[Key, Place]:
        """Where values are, of those that are known; in any thread."""
        if self._refused:
            return {}
        try:
            return self.index.find(keys)
        except EngineError as error:  # then nothing is known, and all is computed
            logger.warning("%s", error)
            return {}

    async def take(self, results: Sequence[Imported], read: Sequence[Imported]) -> set[bytes]:
        """Import results; returns the opaque ids of those whose data is not what was kept.

        Args:
            results: What is needed.
            read: Those among them that the client will read itself: these are fetched.
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
        ids = list(missing)
        for first in range(0, len(ids), config.CACHE_BATCH):
            batch = ids[first : first + config.CACHE_BATCH]
            named = [(f"cache/{missing[opaque_id].name}", opaque_id) for opaque_id in batch]
            self._imported.update(await self._import(session_id, named))
        lost = {r.stored.opaque_id for r in results if r.stored.opaque_id not in self._imported}
        for result in results:
            result.id = self._imported.get(result.stored.opaque_id, "")
        lost |= await self._read(session_id, [r for r in read if r.stored.opaque_id not in lost])
        if lost and not self._refused:
            logger.warning(
                "%d results in the cache have lost their data: what was in them is computed anew",
                len(lost),
            )
            await self._spare(asyncio.to_thread(self.index.forget, lost))
        return lost

    async def _spare(self, change: Coroutine[Any, Any, None]) -> None:
        """Change the index; a run does not fail because that cannot be."""
        try:
            await change
        except EngineError as error:
            logger.warning("%s", error)

    async def _import(
        self, session_id: str, items: Sequence[tuple[str, bytes]]
    ) -> list[tuple[bytes, str]]:
        """Import data; returns opaque id and result id of what is there, found by halving."""
        try:
            ids = await self._transport.import_data(session_id, items, lasting=True)
        except EngineError as error:
            if error.code != "NOT_FOUND":
                self._refuse(error)
                return []
            if len(items) == 1:
                return []
            half = len(items) // 2
            before = await self._import(session_id, items[:half])
            return before + await self._import(session_id, items[half:])
        return [(opaque_id, id_) for (_, opaque_id), id_ in zip(items, ids, strict=True)]

    def _refuse(self, error: EngineError) -> None:
        """The engine takes no imports of this client's: it computes, and says so once."""
        if not self._refused:
            self._refused = True
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

    # --- what is new ----------------------------------------------------------------------------

    @property
    def cancelled(self) -> bool:
        """It holds up no cancelling: what nobody else wants is not computed for it."""
        return True

    def expect(self, made: Made) -> None:
        """Keep a result when it comes."""
        result = made.result
        if result not in self._awaited and not result.final:
            result.add_waiter(self)
        self._awaited.setdefault(result, []).append(made)
        if result.final:
            self.arrive(result)

    def arrive(self, result: Result) -> None:
        """A result was completed or aborted."""
        made = self._awaited.pop(result, [])
        if result.state is not ResultState.COMPLETED or result.blame is not None:
            return
        self._come.extend(made)
        if self._keeping is None:
            self._keeping = self._start(self._keep_all())

    async def settle(self) -> None:
        """Wait until what has come is kept."""
        if self._keeping is not None:
            await asyncio.wait([self._keeping])

    async def close(self) -> None:
        """Wait until what has come is kept, and close the index."""
        await self.settle()
        self.index.close()

    async def _keep_all(self) -> None:
        try:
            while self._come:
                batch, self._come = self._come, []
                for first in range(0, len(batch), config.CACHE_BATCH):
                    await self._keep(batch[first : first + config.CACHE_BATCH])
        except ArmoflowError as error:
            logger.warning("what was computed is not kept in the cache: %s", error)
        finally:
            self._keeping = None

    async def _keep(self, batch: Sequence[Made]) -> None:
        session_id = self._session()
        if session_id is None:
            return
        located = await self._transport.located(session_id, [made.result.id for made in batch])
        absent = [made.result for made in batch if made.result.data is None]
        fetched = await self._transport.fetch(session_id, [result.id for result in absent])
        contents = dict(zip(absent, fetched, strict=True))
        entries = []
        makings: dict[tuple[bytes, int], tuple[bytes, KeyParts]] = {}
        for made in batch:
            found = located.get(made.result.id)
            content = contents.get(made.result, made.result.data)
            if found is not None and content is not None and not isinstance(content, DataLostError):
                entry = _entry(made, *found, content)
                if entry is not None:
                    entries.append(entry)
                    makings[found[0], id(made.parts)] = found[0], made.parts
        if entries:
            await asyncio.to_thread(self._enter, entries, list(makings.values()))

    def _enter(
        self,
        entries: Sequence[tuple[Data, Sequence[tuple[Key, int]]]],
        parts: Sequence[tuple[bytes, KeyParts]],
    ) -> None:
        makings: dict[int, Making] = {}
        for _, told in parts:
            if id(told) not in makings:
                makings[id(told)] = self._making(told)
        self.index.add(entries, [(opaque_id, makings[id(told)]) for opaque_id, told in parts])

    def _making(self, parts: KeyParts) -> Making:
        """As the index keeps it; code is encoded once."""
        code = parts.code
        if code is None:
            return Making(parts.task, parts.encode())
        encoded = self._codes.get(code.digest)
        if encoded is None:
            encoded = self._codes[code.digest] = code.encode()
        return Making(parts.task, parts.encode(), code.digest, encoded)


def _entry(
    made: Made, opaque_id: bytes, size: int, content: Buffer
) -> tuple[Data, list[tuple[Key, int]]] | None:
    """What the index is told of a result; failed items are left out."""
    try:
        cells, told = unpack_told(content)
    except EnvelopeError as error:
        logger.warning("a result of %r is not kept in the cache: %s", made.task, error)
        return None
    good = [(key, slot) for key, slot in made.keys if not is_failure(cells[slot])]
    if not good:
        return None
    seconds = told.get("seconds")
    if seconds is None:
        seconds = sum(record.seconds for record in read_log(told.get("log", ())))
    checksum = written_checksum(content)
    data = Data(opaque_id, size, checksum, seconds, made.task, made.version, time.time())
    return data, good
