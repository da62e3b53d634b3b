"""A ``concurrent.futures.Future`` with a lock of its own only where somebody waits for it.

A loop of ``client.submit`` makes thousands of futures, of which each would have a condition, a lock
in it and three lists: as much work as the rest of a call, and as many objects for the collector.
Most are never waited for one by one. So one lock, held for a few instructions, is for all that have
no condition yet; it is made for who waits, and from then on the future changes under it, as
:mod:`concurrent.futures` has it.
"""

from __future__ import annotations

import concurrent.futures
import logging
import threading
from collections.abc import Callable
from concurrent.futures._base import CANCELLED_AND_NOTIFIED, FINISHED, PENDING
from typing import TYPE_CHECKING, Any, TypeVar

T = TypeVar("T")

logger = logging.getLogger(__name__)

LOCK = threading.RLock()
"""Guards what futures have without a condition; nothing else is called while it is held, but by the
collector: what it frees may use futures too."""

_DONE = frozenset({CANCELLED_AND_NOTIFIED, FINISHED})


class LeanFuture(concurrent.futures.Future[T]):
    """The future; what is the class's holds until it is set.

    Example:
        >>> future = LeanFuture()
        >>> future.add_done_callback(lambda done: print("done"))
        >>> future.set_result(42)
        done
        >>> future.result()
        42
    """

    _state: str = PENDING
    _exception: BaseException | None = None
    _own_condition: threading.Condition | None = None
    _own_waiters: list[Any] | None = None
    _callbacks: list[Callable[[Any], object]] | None = None

    def __init__(self) -> None:
        """Nothing is made yet."""

    if not TYPE_CHECKING:  # there they are attributes
        _result = None

        @property
        def _condition(self) -> threading.Condition:
            with LOCK:
                if self._own_condition is None:
                    self._own_condition = threading.Condition()
                return self._own_condition

        @property
        def _waiters(self) -> list[Any]:
            """Those of :func:`concurrent.futures.wait`; under the condition only."""
            if self._own_waiters is None:
                self._own_waiters = self._make_waiters()
            return self._own_waiters

        def _make_waiters(self) -> list[Any]:
            return []

    def done(self) -> bool:
        """Whether it has a value or an error, or was cancelled."""
        return self._state in _DONE

    def cancelled(self) -> bool:
        """Whether it was cancelled."""
        return self._state == CANCELLED_AND_NOTIFIED

    def add_done_callback(self, fn: Callable[[concurrent.futures.Future[T]], object]) -> None:
        """Call a function with this future when it is done, in the thread that ends it."""
        with LOCK:
            done = self._state in _DONE
            if not done:
                if self._callbacks is None:
                    self._callbacks = []
                self._callbacks.append(fn)
        if done:
            self._call(fn)

    def set_result(self, result: T) -> None:
        """It has a value."""
        self.end(FINISHED, result)

    def set_exception(self, exception: BaseException | None) -> None:
        """It has failed."""
        self.end(FINISHED, None, exception)

    def end_cancelled(self) -> None:
        """It was cancelled, and nothing of it runs any more."""
        self.end(CANCELLED_AND_NOTIFIED)

    def end(self, state: str, result: T | None = None, error: BaseException | None = None) -> None:
        """It is done; tells who waits.

        Raises:
            concurrent.futures.InvalidStateError: If it is done already.
        """
        with LOCK:
            condition = self._own_condition
            if condition is None:
                self._become(state, result, error)
                callbacks, self._callbacks = self._callbacks, None
        if condition is not None:
            with condition:
                self._become(state, result, error)
                self._tell_waiters()
                condition.notify_all()
            with LOCK:
                callbacks, self._callbacks = self._callbacks, None
        for callback in callbacks or ():
            self._call(callback)

    def _become(self, state: str, result: T | None, error: BaseException | None) -> None:
        if self._state in _DONE:
            raise concurrent.futures.InvalidStateError(f"the future is {self._state} already")
        if result is not None:
            self._result = result
        if error is not None:
            self._exception = error
        self._state = state

    def _tell_waiters(self) -> None:
        for waiter in self._own_waiters or ():
            if self._state == CANCELLED_AND_NOTIFIED:
                waiter.add_cancelled(self)
            elif self._exception is not None:
                waiter.add_exception(self)
            else:
                waiter.add_result(self)

    def _call(self, callback: Callable[[Any], object]) -> None:
        try:
            callback(self)
        except Exception:  # whatever a user's function raises: the others are told too
            logger.exception("a callback of %r raised", self)
