"""The values of futures, and of calls, that one caller waits for all together."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from armoflow.client.future import Future
from armoflow.client.habits import check_future
from armoflow.codec.envelope import Slot
from armoflow.graph.collection import DelayedList
from armoflow.graph.delayed import Delayed
from armoflow.orchestrator.planned import Result, SlotRange
from armoflow.orchestrator.targets import Names, outcomes, raise_error, slot_outcome


def gather_values(futures: Any, return_exceptions: bool) -> Any:
    """Wait for futures; see :meth:`armoflow.client.client.Client.gather`.

    What is raised holds the frames of this, and these must not hold its future, which holds it.
    """
    try:
        if isinstance(futures, Mapping):
            keys, futures = list(futures), list(futures.values())
            return dict(zip(keys, gather_values(futures, return_exceptions), strict=True))
        if isinstance(futures, Future):
            return _outcome_of(futures) if return_exceptions else futures.result()
        if not isinstance(futures, Iterable) or isinstance(futures, (Delayed, DelayedList, str)):
            check_future(futures, "gather")
        left = list(futures)[::-1]
    finally:
        del futures
    values = []
    while left:
        values.append(gather_values(left.pop(), return_exceptions))
    return values


def _outcome_of(future: Future[Any]) -> Any:
    """What a future has come to: errors in the place of values."""
    error = future.exception()
    if error is None:
        return future.result()
    if not future.is_collection:
        return error
    return [
        outcome.value if outcome.error is None else outcome.error for outcome in future.outcomes()
    ]


class Gathering:
    """Waits for some values; what it is told comes in the loop's thread.

    Args:
        count: How many.

    Attributes:
        ended: Set when all have come or failed.
        receivers: Who receives each of them.
        left: How many have not.
    """

    def __init__(self, count: int) -> None:
        self.ended = threading.Event()
        self.receivers = [_Received(self) for _ in range(count)]
        self.left = count

    def arrived(self) -> None:
        """One more has come or failed."""
        self.left -= 1
        if not self.left:
            self.ended.set()

    def values(self, names: Sequence[Names], key: bytes) -> list[Any]:
        """The values; raises the error of the first that failed.

        Args:
            names: What errors call each.
            key: What the errors of the client's tasks are sealed with.
        """
        values = []
        for received, name in zip(self.receivers, names, strict=True):
            if received.error is not None:
                raise_error(received)
            values.append(received.value(key, name))
        return values


class _Received:
    """One value, or why there is none."""

    __slots__ = ("_gathering", "_number", "_result", "_slot", "error")

    def __init__(self, gathering: Gathering) -> None:
        self._gathering = gathering
        self._result: Result | None = None
        self._number = 0
        self._slot: bytes | Slot | None = None
        self.error: BaseException | None = None

    def value(self, key: bytes, name: Names) -> Any:
        """The value; raises the error in its place."""
        result, number, slot = self._result, self._number, self._slot
        assert result is not None
        if slot is not None:
            outcome = slot_outcome(slot, key, result, number, name.name)
        else:
            (outcome,) = outcomes([SlotRange(result, number, number + 1)], key, name, whole=True)
        if outcome.error is not None:
            raise_error(outcome)
        return outcome.value

    def settle_slot(self, result: Result, number: int, slot: bytes | Slot | None) -> None:
        self._result, self._number, self._slot = result, number, slot
        self._gathering.arrived()

    def settle_error(self, error: BaseException) -> None:
        self.error = error
        self._gathering.arrived()
