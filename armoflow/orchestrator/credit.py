"""Bytes under way, bounded: who would exceed the bound waits for its turn."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Credit:
    """An amount that is lent out, first come, first served; lives in the loop's thread.

    Args:
        limit: All of it. Who wants more waits for all of it.

    Example:
        >>> async def two_at_a_time() -> list[str]:
        ...     credit, said = Credit(2), []
        ...     async def work(name: str, amount: int) -> None:
        ...         async with credit.lend(amount):
        ...             said.append(f"{name} begins")
        ...             await asyncio.sleep(0)
        ...             said.append(f"{name} ends")
        ...     await asyncio.gather(work("a", 1), work("b", 5), work("c", 1))
        ...     return said
        >>> asyncio.run(two_at_a_time())
        ['a begins', 'a ends', 'b begins', 'b ends', 'c begins', 'c ends']
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._left = limit
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def lend(self, amount: int) -> AsyncIterator[None]:
        """Have some of it for the length of a block."""
        amount = min(amount, self._limit)
        if self._waiting or amount > self._left:
            await self._wait(amount)
        else:
            self._left -= amount
        try:
            yield
        finally:
            self._give_back(amount)

    async def _wait(self, amount: int) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = amount, turn
        self._waiting.append(entry)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._give_back(amount)  # its turn had come
            else:
                self._waiting.remove(entry)
                self._give_back(0)  # it may have stood before smaller ones
            raise

    def _give_back(self, amount: int) -> None:
        self._left += amount
        while self._waiting and self._waiting[0][0] <= self._left:
            wanted, turn = self._waiting.popleft()
            self._left -= wanted
            turn.set_result(None)
