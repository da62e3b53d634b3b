"""What a collection's iteration is: it may be stopped by another thread than the one that waits."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from typing import Any

from armoflow.client.future import Future


class Iteration(Iterator["Future[Any]"]):
    """Futures of a collection, as they end.

    Args:
        futures: Makes them.
        stop: Lets who waits for the next one come to the end; from any thread.
    """

    def __init__(
        self, futures: Generator[Future[Any], None, None], stop: Callable[[], None]
    ) -> None:
        self._futures = futures
        self.stop = stop

    def __next__(self) -> Future[Any]:
        return next(self._futures)

    def close(self) -> None:
        """Cancel what is left."""
        self._futures.close()
