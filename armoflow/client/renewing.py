"""What the cache has given and turns out to be wrong is computed anew, by whatever door it came.

That something is wrong is seen late: by a worker that reads it, by a task below one that returned a
graph, by who waits for a future. All of them end in an error that tells of lost data; whether the
cache is behind it is found out here, and then the same value is asked for again.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from armoflow.client.loop import LoopThread
from armoflow.errors import DataLostError
from armoflow.graph.collection import DelayedList
from armoflow.orchestrator.outcomes import ItemOutcome, Names, outcomes
from armoflow.orchestrator.planned import SlotRange
from armoflow.orchestrator.planning.plan_settings import PlanSettings

if TYPE_CHECKING:
    from armoflow.client.future import Future
    from armoflow.orchestrator.orchestrator import Orchestrator

Compute = Callable[[Any, PlanSettings], Any]
"""Gives a value, or raises its error."""

Submit = Callable[[Any, PlanSettings], "Future[Any]"]


class Renewing:
    """Computes anew what came from the cache of a client, and was wrong.

    Args:
        loop: The client's loop.
        orchestrator: Has the cache, once there is one.
        compute: Computes a value, again as often as it takes.
        submit: Starts a value, once.
    """

    def __init__(
        self, loop: LoopThread, orchestrator: Orchestrator, compute: Compute, submit: Submit
    ) -> None:
        self._loop = loop
        self._orchestrator = orchestrator
        self._compute = compute
        self._submit = submit

    @property
    def needed(self) -> bool:
        """Whether something may have come from a cache."""
        return self._orchestrator.cache is not None

    @property
    def found(self) -> int:
        """How often something of the cache was found to be wrong."""
        cache = self._orchestrator.cache
        return 0 if cache is None else len(cache.wrong)

    def holds(self, future: Future[Any]) -> bool:
        """Whether what a future that is done stands for is right, as far as it is known."""
        cache = self._orchestrator.cache
        if cache is None or not cache.wrong:
            return True
        results = [piece.result for piece in future.pieces if isinstance(piece, SlotRange)]
        return not (any(result.id in cache.wrong for result in results) or future.renewed())

    def was_wrong(self, error: DataLostError, before: int) -> bool:
        """Whether an error may come from what the cache has given.

        Args:
            error: Tells of lost data.
            before: What :attr:`found` was when the failed value was asked for.
        """
        cache = self._orchestrator.cache
        if cache is None:
            return False
        self._loop.call(cache.doubt(error))
        return self.found > before

    def watch(self, future: Future[Any], value: Any, settings: PlanSettings) -> None:
        """Let a future be computed anew, where something of it came from a cache."""
        if self.needed:
            future.may_be_stale(functools.partial(self.anew, value, settings, self.found))

    def items(self, collection: DelayedList[Any], settings: PlanSettings) -> RenewedItems:
        """The same for the items of a collection."""
        return RenewedItems(self, collection, settings)

    def anew(
        self, value: Any, settings: PlanSettings, before: int, decoded: list[ItemOutcome]
    ) -> list[ItemOutcome]:
        """What has come of a value, computed anew where the cache was wrong."""
        error = lost(decoded)
        if error is None or not self.was_wrong(error, before):
            return decoded
        try:
            found = self._compute(value, settings)
        except Exception as raised:  # whatever a task raises
            return [ItemOutcome(error=raised)]
        return [ItemOutcome(one) for one in (found if isinstance(value, DelayedList) else [found])]

    def outcomes(self, collection: DelayedList[Any], settings: PlanSettings) -> list[ItemOutcome]:
        """How each item of a collection ends that is computed anew; absent ones included."""
        while True:
            before = self.found
            future = self._submit(collection, settings)
            if future.exception() is not None and not future.pieces:
                return [ItemOutcome(error=future.exception())]
            decoded = outcomes(future.pieces, settings.key, Names.of(collection.node))
            error = lost(decoded)
            if error is None or not self.was_wrong(error, before):
                return decoded


class RenewedItems:
    """Items of one collection, computed anew where the cache was wrong.

    Args:
        renewing: Does so.
        collection: The collection.
        settings: What holds for it.
    """

    def __init__(
        self, renewing: Renewing, collection: DelayedList[Any], settings: PlanSettings
    ) -> None:
        self._renewing = renewing
        self._collection = collection
        self._settings = settings
        self._found = renewing.found
        self._all: list[ItemOutcome] = []

    def watch(self, future: Future[Any], position: int) -> None:
        """Let the future of an item be computed anew, where something of it came from a cache."""
        if self._renewing.needed:
            future.may_be_stale(functools.partial(self._anew, position))

    def whole(self, decoded: list[ItemOutcome]) -> list[ItemOutcome]:
        """All items at once."""
        return self._renewing.anew(self._collection, self._settings, self._found, decoded)

    def _anew(self, position: int, decoded: list[ItemOutcome]) -> list[ItemOutcome]:
        node = self._collection.node
        if node.length is not None and not node.sparse:
            item = self._collection[position]
            return self._renewing.anew(item, self._settings, self._found, decoded)
        error = lost(decoded)
        if error is None or not self._renewing.was_wrong(error, self._found):
            return decoded
        if not self._all:  # one of them cannot be asked for alone
            self._all = self._renewing.outcomes(self._collection, self._settings)
        return [self._all[min(position, len(self._all) - 1)]]


def lost(decoded: Sequence[ItemOutcome]) -> DataLostError | None:
    """The first error that tells of lost data."""
    errors = (one.error for one in decoded)
    return next((error for error in errors if isinstance(error, DataLostError)), None)
