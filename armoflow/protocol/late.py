"""Reading what an event has told of: the event may come before the row can be seen."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from armoflow import config

T = TypeVar("T")

FIRST_PAUSE = 0.01
LAST_PAUSE = 1.0


async def read_again(
    read: Callable[[], Awaitable[T | None]], patience: float | None = None
) -> T | None:
    """Read until there is something, with growing pauses; None if nothing comes.

    Args:
        read: Gives None while the engine may still come to show what it has told. What ends the
            waiting at once (it was deleted, it is unknown), it raises.
        patience: Seconds after which to give up; None for ``config.LATE_PATIENCE``.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + (config.LATE_PATIENCE if patience is None else patience)
    pause = FIRST_PAUSE
    while (found := await read()) is None and loop.time() < deadline:
        await asyncio.sleep(pause)
        pause = min(2 * pause, LAST_PAUSE)
    return found
