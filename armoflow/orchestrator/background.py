"""What a client does in its loop beside what it is asked for: it ends with the client."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from armoflow.errors import ArmoflowError

logger = logging.getLogger(__name__)


class Background:
    """The coroutines that one client has under way; lives in the loop's thread.

    Args:
        failed: Told of the error of one that fails, which none should.
    """

    def __init__(self, failed: Callable[[ArmoflowError], None]) -> None:
        self._failed = failed
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._told: set[str] = set()

    def start(self, coroutine: Any) -> asyncio.Task[Any]:
        """Begin one."""
        task = self._loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._finish)
        return task

    def start_spare(self, without: str, call: Callable[[], Awaitable[None]]) -> asyncio.Task[Any]:
        """Make a call whose failure only costs the engine something; told once of each kind.

        A client that is closed before this begins makes none: the session's end does the same.
        """
        return self.start(self._spare(without, call))

    async def _spare(self, without: str, call: Callable[[], Awaitable[None]]) -> None:
        try:
            await call()
        except ArmoflowError as error:
            self.tell(without, error)

    def tell(self, what: str, error: ArmoflowError) -> None:
        """Say what goes on in spite of an error, once of each kind."""
        level = logging.DEBUG if what in self._told else logging.WARNING
        self._told.add(what)
        logger.log(level, "%s: %s", what, error)

    async def stop(self) -> None:
        """Cancel all that are under way."""
        while self._tasks:
            for task in self._tasks:
                task.cancel()
            await asyncio.wait(set(self._tasks), timeout=1.0)

    def _finish(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            error = task.exception()
            logger.error("the client's own work failed: %s", error, exc_info=error)
            self._failed(error if isinstance(error, ArmoflowError) else ArmoflowError(str(error)))
