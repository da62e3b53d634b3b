"""Enters new values into the index, also those of clients that were killed before they could.

A result is noted in the index before it is there: should its client be killed, another one finds it
by the note, and enters it. So no data is stored for ever that no key leads to, and what was
computed for a dead client counts.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from operator import attrgetter
from typing import Any, NamedTuple

from armoflow import config
from armoflow.cache.key_parts import KeyParts
from armoflow.codec.container import Buffer, written_checksum
from armoflow.codec.envelope import unpack_told
from armoflow.codec.item_log import read_log
from armoflow.errors import ArmoflowError, DataLostError, EnvelopeError
from armoflow.index import Data, Expected, Index
from armoflow.index_entries import Key
from armoflow.index_makings import Making
from armoflow.orchestrator.caching.recipe_writer import RecipeSource, RecipeWriter
from armoflow.orchestrator.outcomes import is_failure
from armoflow.orchestrator.planned import PlannedTask, Result
from armoflow.protocol.result_handle import ResultState
from armoflow.protocol.transport import Transport
from armoflow.recipes import keep_recipes
from armoflow.system.threads import in_thread

logger = logging.getLogger(__name__)


class ResultToKeep(NamedTuple):
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


class _Come(NamedTuple):
    """A result that is there.

    Attributes:
        expected: What was noted of it.
        content: Its data, where the client has it already.
        seconds: How long its task ran, where that is known.
        parts: What its keys were made of, where that is known.
        draft: What it can be computed again from, if that is to be taken down.
    """

    expected: Expected
    content: Buffer | None = None
    seconds: float | None = None
    parts: KeyParts | None = None
    draft: RecipeSource | None = None


class Keeper:
    """Lives in the loop's thread; see the module.

    Args:
        transport: The way to the engine.
        index: Where values are entered.
        session: Gives the id of the session that was opened last.
        start: Starts a coroutine.
        kept: Awaited after something was entered.
        recipes: Takes down what some of it can be computed again from.
    """

    def __init__(
        self,
        transport: Transport,
        index: Index,
        session: Callable[[], str | None],
        start: Callable[[Any], asyncio.Task[Any]],
        *,
        kept: Callable[[], Any],
        recipes: RecipeWriter,
    ) -> None:
        self._transport = transport
        self._index = index
        self._session = session
        self._start = start
        self._kept = kept
        self._recipes = recipes
        self._drafts: dict[Result, RecipeSource] = {}
        self._awaited: dict[Result, list[tuple[str, ResultToKeep]]] = {}
        self._new: list[Expected] = []
        self._come: list[_Come] = []
        self._settled: list[tuple[str, str]] = []
        self._keeping: asyncio.Task[None] | None = None
        self._noting: asyncio.Task[None] | None = None
        self._codes: dict[bytes, bytes] = {}
        self._each: dict[str, float] = {}

    @property
    def cancelled(self) -> bool:
        """It holds up no cancelling: what nobody else wants is not computed for it."""
        return True

    def expect(self, made: ResultToKeep) -> None:
        """Keep a result when it comes."""
        result, session_id = made.result, self._session()
        if session_id is None:
            return
        if result not in self._awaited and not result.final:
            result.add_waiter(self)
        self._awaited.setdefault(result, []).append((session_id, made))
        if result.id:
            self._new.append(_expected(result, session_id, made))
            self._wake()
        if result.final:
            self.arrive(result)

    def named(self, tasks: Sequence[PlannedTask]) -> None:
        """The results of these tasks have ids, under which others find them."""
        new = []
        for task in tasks:
            if task.original is not None:
                # Whichever of both is not taken may be there all the same, and stay.
                pairs = zip(task.outputs, task.original.outputs, strict=False)
                new += [_expected(copy, *one) for copy, own in pairs for one in self._of(own)]
                continue
            for number, result in enumerate(task.outputs):
                awaited = self._of(result)
                new += [_expected(result, *one) for one in awaited]
                if awaited and (draft := self._recipes.draft(task, number)) is not None:
                    self._drafts[result] = draft
        if new:
            self._new += new
            self._wake()

    def _of(self, result: Result) -> Sequence[tuple[str, ResultToKeep]]:
        return self._awaited.get(result, ())

    def arrive(self, result: Result) -> None:
        """A result was completed or aborted."""
        kept = result.state is ResultState.COMPLETED and result.blame is None
        draft = self._drafts.pop(result, None)
        for session_id, made in self._awaited.pop(result, ()):
            expected = _expected(result, session_id, made)
            if kept:
                self._come.append(_Come(expected, result.data, result.ran, made.parts, draft))
            else:
                self._settled.append((session_id, result.id))
        self._wake()

    async def settle(self) -> None:
        """Wait until what has come is kept."""
        while running := [task for task in (self._noting, self._keeping) if task is not None]:
            await asyncio.wait(running)

    async def adopt(self, besides: str) -> None:
        """Enter what other clients have left, as far as it is there.

        Args:
            besides: The session of this one.
        """
        found = await in_thread(self._index.expected, besides=besides)
        old = time.time() - config.CACHE_PATIENCE
        self._come += [_Come(each) for each in found]
        self._settled += [(each.session, each.result) for each in found if each.since < old]
        self._wake()
        await self.settle()

    def _wake(self) -> None:
        if self._new and self._noting is None:
            self._noting = self._start(self._note_all())
        if (self._come or self._settled) and self._keeping is None:
            self._keeping = self._start(self._keep_all())

    async def _note_all(self) -> None:
        """Note what is under way, here already or not: it is not entered yet."""
        try:
            while self._new:
                new, self._new = self._new, []
                await in_thread(self._index.expect, new)
        except ArmoflowError as error:
            logger.warning("what is being computed is not noted in the cache: %s", error)
        finally:
            self._noting = None

    async def _keep_all(self) -> None:
        try:
            while self._come or self._settled:
                come, self._come = self._come, []
                for session_id, ofone in groupby(come, attrgetter("expected.session")):
                    batch = list(ofone)
                    for first in range(0, len(batch), config.CACHE_BATCH):
                        await self._keep(session_id, batch[first : first + config.CACHE_BATCH])
                if self._noting is not None:  # a note of what is settled would stay
                    await asyncio.wait([self._noting])
                settled, self._settled = self._settled, []
                if settled:
                    await in_thread(self._index.settle, settled)
                await self._kept()
        except ArmoflowError as error:
            logger.warning("what was computed is not kept in the cache: %s", error)
        finally:
            self._keeping = None

    async def _keep(self, session_id: str, batch: Sequence[_Come]) -> None:
        """Enter some results of one session; those that are not there stay noted."""
        ids = list(dict.fromkeys(come.expected.result for come in batch))
        located = await self._transport.located(session_id, ids)
        contents: dict[str, Any] = {
            come.expected.result: come.content for come in batch if come.content is not None
        }
        absent = [id_ for id_ in ids if id_ in located and id_ not in contents]
        fetched = await self._transport.fetch(session_id, absent)
        contents.update(zip(absent, fetched, strict=True))
        entries = []
        drafts: dict[bytes, RecipeSource] = {}
        makings: dict[tuple[bytes, int], tuple[bytes, KeyParts]] = {}
        for come in batch:
            id_ = come.expected.result
            content = contents.get(id_)
            if id_ not in located or content is None:
                continue
            self._settled.append((session_id, id_))
            if not isinstance(content, DataLostError):
                entry = _entry(come, *located[id_], content, self._each)
                if entry is not None:
                    entries.append(entry)
                    if come.draft is not None:
                        drafts[located[id_][0]] = come.draft
                    if come.parts is not None:
                        opaque_id = located[id_][0]
                        makings[opaque_id, id(come.parts)] = opaque_id, come.parts
        if entries:
            await in_thread(self._enter, entries, list(makings.values()))
            await self._take_down(session_id, drafts)

    async def _take_down(self, session_id: str, drafts: Mapping[bytes, RecipeSource]) -> None:
        """Keep what some of what was entered can be computed again from; it is a sample anyway."""
        try:
            recipes = [
                (opaque_id, *written)
                for opaque_id, draft in drafts.items()
                if (written := await self._recipes.write(session_id, draft)) is not None
            ]
            if recipes:
                await in_thread(keep_recipes, self._index, recipes)
        except ArmoflowError as error:
            logger.debug("what some values were made of is not kept: %s", error)

    def _enter(
        self,
        entries: Sequence[tuple[Data, Sequence[tuple[Key, int]]]],
        parts: Sequence[tuple[bytes, KeyParts]],
    ) -> None:
        makings: dict[int, Making] = {}
        for _, told in parts:
            if id(told) not in makings:
                makings[id(told)] = self._making(told)
        self._index.add(entries, [(opaque_id, makings[id(told)]) for opaque_id, told in parts])

    def _making(self, parts: KeyParts) -> Making:
        """As the index keeps it; code is encoded once."""
        code = parts.code
        if code is None:
            return Making(parts.task, parts.encode())
        encoded = self._codes.get(code.digest)
        if encoded is None:
            encoded = self._codes[code.digest] = code.encode()
        return Making(parts.task, parts.encode(), code.digest, encoded)


def _expected(result: Result, session_id: str, made: ResultToKeep) -> Expected:
    return Expected(session_id, result.id, made.keys, made.task, made.version, time.time())


def _entry(
    come: _Come, opaque_id: bytes, size: int, content: Buffer, each: dict[str, float]
) -> tuple[Data, list[tuple[Key, int]]] | None:
    """What the index is told of a result; failed items are left out.

    Args:
        come: The result.
        opaque_id: The engine's name for its data.
        size: Its bytes.
        content: Its data.
        each: Seconds that a value of a task took, by the task's name: once the calls of one are
            measured, workers tell no more what each pack took.
    """
    expected = come.expected
    try:
        cells, told = unpack_told(content)
    except EnvelopeError as error:
        logger.warning("a result of %r is not kept in the cache: %s", expected.task, error)
        return None
    good = [(key, slot) for key, slot in expected.keys if not is_failure(cells[slot])]
    if not good:
        return None
    seconds = told.get("seconds", come.seconds)
    if seconds is None:
        seconds = sum(record.seconds for record in read_log(told.get("log", ())))
    if seconds:
        each[expected.task] = seconds / len(cells)
    else:
        seconds = each.get(expected.task, 0.0) * len(cells)
    checksum = written_checksum(content)
    data = Data(opaque_id, size, checksum, seconds, expected.task, expected.version, time.time())
    return data, good
