"""Waits that Ctrl-C ends.

Python's main thread looks for signals, lets go of the interpreter's lock, then sleeps. A signal
that arrives in between, which may be milliseconds where the thread that got the lock got the
processor too, is seen when something else wakes the thread. So no wait goes on for longer than a
moment.
"""

from __future__ import annotations

import concurrent.futures
import math
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from armoflow.client.lean_future import LeanFuture
from armoflow.errors import OptionError, WaitTimeoutError, shown

if TYPE_CHECKING:
    from armoflow.client.progress import Display

T = TypeVar("T")
F = TypeVar("F", bound="LeanFuture[Any]")

MOMENT = 0.2
"""Seconds after which a wait looks for signals."""


def check_timeout(timeout: object) -> None:
    """Refuse what is no number of seconds.

    Raises:
        OptionError: If it is none.
    """
    if timeout is None:
        return
    if (
        isinstance(timeout, bool)
        or not isinstance(timeout, (int, float))
        or not 0 <= timeout < math.inf
    ):
        raise OptionError(
            f"timeout must be a number of seconds, 0 or more, or None, not {shown(timeout)}"
        )
    if timeout > threading.TIMEOUT_MAX:
        raise OptionError(
            f"timeout must be at most {threading.TIMEOUT_MAX:.0f} seconds, not "
            f"{shown(timeout)}: leave "
            "it out to wait for as long as it takes"
        )


def wait(
    ended: Callable[[float], bool],
    timeout: float | None = None,
    tick: Callable[[], None] = lambda: None,
) -> bool:
    """Wait until something is so.

    Args:
        ended: Waits for so many seconds; whether it is so.
        timeout: Seconds to wait in all; None: as long as it takes.
        tick: Called now and then meanwhile.

    Returns:
        Whether it is so.

    Example:
        >>> wait(threading.Event().wait, 0.01)
        False
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    while True:
        left = MOMENT if deadline is None else min(MOMENT, max(deadline - time.monotonic(), 0.0))
        if ended(left):
            return True
        if deadline is not None and time.monotonic() >= deadline:
            return False
        tick()


def wait_for_future(
    future: concurrent.futures.Future[Any],
    timeout: float | None = None,
    tick: Callable[[], None] = lambda: None,
) -> bool:
    """Wait until a future is done, or cancelled; whether it is."""

    def ended(seconds: float) -> bool:
        try:
            concurrent.futures.Future.exception(future, seconds)
        except (concurrent.futures.TimeoutError, concurrent.futures.CancelledError):
            return future.done()
        return True

    return future.done() or wait(ended, timeout, tick)


def take(
    arrivals: queue.SimpleQueue[T],
    deadline: float | None,
    tick: Callable[[], None] = lambda: None,
) -> T:
    """The next of a queue, before a time of the monotonic clock.

    Raises:
        queue.Empty: If none has come by then.
    """
    while True:
        left = MOMENT if deadline is None else deadline - time.monotonic()
        try:
            return arrivals.get(timeout=min(MOMENT, max(left, 0.0)))
        except queue.Empty:
            if left <= 0:
                raise
            tick()


def as_completed(
    futures: Sequence[F], timeout: float | None, display: Display | None = None
) -> Iterator[F]:
    """Futures in the order in which they end; each once.

    Raises:
        TimeoutError: If not all of them have ended in time.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    return _as_completed(deque(dict.fromkeys(futures)), deadline, display)


def _as_completed(
    futures: deque[F], deadline: float | None, display: Display | None
) -> Iterator[F]:
    from armoflow.client.progress import Waiting  # clients start without it

    arrivals: queue.SimpleQueue[F] = queue.SimpleQueue()
    count = len(futures)
    while futures:  # they are held no longer than it takes
        # Not by the client's thread for callbacks: this one never waits.
        LeanFuture.add_done_callback(futures.popleft(), arrivals.put)  # type: ignore[arg-type]
    left = count
    try:
        with Waiting(display) as waiting:
            for left in range(count, 0, -1):  # noqa: B007 - the message tells it
                arrived = take(arrivals, deadline, waiting.tick)
                waiting.glance()
                yield arrived
    except queue.Empty:
        message = f"{left} (of {count}) futures unfinished"
        raise WaitTimeoutError(message) from None


def wait_for_event(
    event: threading.Event, timeout: float | None = None, display: Display | None = None
) -> bool:
    """Wait for an event; whether it came."""
    from armoflow.client.progress import Waiting

    with Waiting(display) as waiting:
        return wait(event.wait, timeout, waiting.tick)
