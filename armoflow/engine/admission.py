"""What is taken, and promised, while nothing can be written, or hardly more."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from armoflow.engine.faults import StorageError
from armoflow.engine.journal import Journal
from armoflow.engine.room import Room


class Admission:
    """Of new work, and of replies that promise a commit.

    Args:
        journal: Says whether it can write.
        room: Says whether there is room for new work.

    Attributes:
        listeners: Called when nothing can be journalled for the time being.
    """

    def __init__(self, journal: Journal, room: Room) -> None:
        self.listeners: set[Callable[[StorageError], None]] = set()
        self._journal = journal
        self._room = room
        self._faulty: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def fault(self) -> StorageError | None:
        """Why nothing can be journalled now."""
        return self._journal.fault

    @property
    def is_open(self) -> bool:
        """Whether new work is taken without waiting for anything: see :meth:`admit`."""
        return self._journal.fault is None and self._room.lack() is None

    async def admit(self) -> None:
        """Refuse new work while nothing can be journalled, or hardly more.

        Raises:
            StorageError: What is wrong, and what to do.
        """
        await self._journal.admit()
        lack = self._room.lack()
        if lack is not None:
            raise lack

    async def promise(self, work: Awaitable[None]) -> None:
        """Wait for a commit that a reply promises, but not while nothing can be journalled.

        Args:
            work: A commit, or what ends with one; it goes on whoever waits.

        Raises:
            StorageError: What is wrong; the changes are committed when it is over.
        """
        committed = asyncio.ensure_future(work)
        while not committed.done():
            if self.fault is not None:
                committed.add_done_callback(_look_at)
                raise self.fault
            waiting: list[asyncio.Future[Any]] = [committed, self._faulty]
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        committed.result()

    def stop(self, fault: StorageError) -> None:
        """Nothing can be journalled for the time being: tell who waits, and who listens."""
        faulty, self._faulty = self._faulty, asyncio.get_running_loop().create_future()
        faulty.set_result(None)
        for listener in list(self.listeners):
            listener(fault)


def _look_at(future: asyncio.Future[None]) -> None:
    """Nobody waits for it any more: what it raises is told by whatever comes next."""
    if not future.cancelled():
        future.exception()
