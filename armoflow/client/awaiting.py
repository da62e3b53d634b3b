"""Futures that a coroutine awaits together, and what becomes of them when it is cancelled."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any

from armoflow.client.future import Future
from armoflow.client.gathering import late
from armoflow.errors import WaitTimeoutError


async def all_ended(futures: list[Future[Any]], timeout: float | None) -> None:
    """Await futures, one or more; they are cancelled if this is, or if not all have ended in time.

    Raises:
        TimeoutError: If not all have.
    """
    try:
        _, left = await asyncio.wait(futures, timeout=timeout)
    except asyncio.CancelledError:
        _cancel(futures)
        raise
    if left:
        _cancel(left)
        raise late(len(left), len(futures), timeout)


async def await_each(
    futures: list[Future[Any]], timeout: float | None
) -> AsyncIterator[Future[Any]]:
    """Futures in the order in which they end."""
    deadline = None if timeout is None else time.monotonic() + timeout
    arrivals: asyncio.Queue[Any] = asyncio.Queue()
    count = len(futures)
    while futures:  # they are held no longer than it takes
        futures.pop().add_done_callback(arrivals.put_nowait)
    for left in range(count, 0, -1):
        seconds = None if deadline is None else max(0.0, deadline - time.monotonic())
        try:
            arrived = await asyncio.wait_for(arrivals.get(), seconds)
        except asyncio.TimeoutError:
            message = f"{left} (of {count}) futures unfinished"
            raise WaitTimeoutError(message) from None
        yield arrived


def futures_in(value: Any) -> Iterable[Future[Any]]:
    """The futures in nested lists and dicts."""
    if isinstance(value, Future):
        yield value
    elif isinstance(value, Mapping):
        yield from futures_in(list(value.values()))
    elif isinstance(value, (list, tuple, set, frozenset)):
        for part in value:
            yield from futures_in(part)


def cancel_started(starting: asyncio.Future[list[Future[Any]]]) -> None:
    """Cancel futures that were being started, for somebody who has been cancelled since."""
    if not starting.cancelled() and starting.exception() is None:
        _cancel(starting.result())


def _cancel(futures: Iterable[Any]) -> None:
    for future in futures:
        future.cancel()
