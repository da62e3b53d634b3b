"""The values of futures, and of calls, that one caller waits for all together."""

from __future__ import annotations

import concurrent.futures
import threading
import time
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from typing import Any

from armoflow.client.future import Future
from armoflow.client.habits import NOT_AWAITED, describe
from armoflow.codec.envelope import Slot
from armoflow.errors import GraphError, WaitTimeoutError, shown
from armoflow.graph.arguments import substitute
from armoflow.graph.collection import DelayedList
from armoflow.graph.delayed import Delayed
from armoflow.orchestrator.outcomes import Names, outcomes, raise_error, slot_outcome
from armoflow.orchestrator.planned import Result, SlotRange

_NO_LISTS = (Delayed, DelayedList, Coroutine, str)


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
        if not isinstance(futures, Iterable) or isinstance(futures, _NO_LISTS):
            check_future(futures, "gather")
        left = list(futures)[::-1]
    finally:
        del futures
    values = []
    while left:
        values.append(gather_values(left.pop(), return_exceptions))
    return values


def assemble(values: Sequence[Any], lazy: Sequence[Any], results: Sequence[Any]) -> Any:
    """What was given to compute, with results in the place of what is lazy in it.

    Args:
        values: What was given.
        lazy: What is lazy in it.
        results: What these have come to.
    """
    found = dict(zip(map(id, lazy), results, strict=True))
    computed = tuple(substitute(value, lambda part: found[id(part)]) for value in values)
    return computed[0] if len(computed) == 1 else computed


def outcomes_of(futures: Sequence[Future[Any]], timeout: float | None) -> list[Any]:
    """What futures have come to, errors in the place of values.

    Args:
        futures: They.
        timeout: Seconds to wait for all of them together; then those that are left are cancelled.

    Raises:
        TimeoutError: If not all have ended in time.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    try:
        for future in futures:
            future.exception(None if deadline is None else max(0.0, deadline - time.monotonic()))
    except concurrent.futures.TimeoutError:
        left = [future for future in futures if not future.done()]
        for future in left:
            future.cancel()
        raise late(len(left), len(futures), timeout) from None
    return [_outcome_of(future) for future in futures]


def late(missing: int, count: int, timeout: float | None) -> WaitTimeoutError:
    """The error for values that have not come in time."""
    return WaitTimeoutError(
        f"{missing} of {count} values have not come within {timeout:g} s: what was left is "
        "cancelled"
    )


def _outcome_of(future: Future[Any]) -> Any:
    """What a future has come to: errors in the place of values."""
    error = future.exception()
    if error is None:
        return future.result()
    if not future.is_collection:
        return error
    items = future.outcomes()
    if all(item.error is not error for item in items):
        return error  # of the collection: what it is made of could not be read
    return [item.value if item.error is None else item.error for item in items]


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


def list_futures(futures: Any) -> list[Future[Any]]:
    """The futures that ``as_completed`` was given.

    Raises:
        GraphError: If these are none.
    """
    if not isinstance(futures, Iterable) or isinstance(futures, (Delayed, str)):
        raise GraphError(
            f"as_completed() waits for futures, not for {type(futures).__name__} "
            f"{shown(futures)}: give a list of them"
        )
    waited = list(futures)
    for future in waited:
        check_future(future, "as_completed")
    return waited


def check_future(value: Any, method: str) -> None:
    """Refuse what is no future.

    Raises:
        GraphError: If it is none.
    """
    if not isinstance(value, Future):
        remedy = "start it with client.submit(...) first, or use client.compute(...)"
        if isinstance(value, Coroutine):
            remedy = NOT_AWAITED
        raise GraphError(f"{method}() waits for futures, not for {describe(value)}: {remedy}")
