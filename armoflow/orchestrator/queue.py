"""Between the threads that plan and the loop that submits: one queue, bounded by credit.

Planning threads put, and the loop takes. Who puts counts under a lock, which is never held while
something else is called; what was taken the loop counts alone.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sized

from armoflow import config
from armoflow.errors import ClientClosedError
from armoflow.orchestrator.constant import Constant
from armoflow.orchestrator.planned import PlannedTask

Entry = PlannedTask | Constant | Callable[[], None]
"""What a plan puts into the queue; a callable runs in the loop once all before it was taken."""


class PlanQueue:
    """What plans have yielded and the loop has not taken; made in the loop's thread.

    Args:
        under_way: The tasks that were submitted and have not ended.
        unfreed: The bytes of data that nobody needs and that cannot be freed yet.
    """

    def __init__(self, under_way: Sized, unfreed: Callable[[], int] = lambda: 0) -> None:
        self._under_way = under_way
        self._unfreed = unfreed
        self._loop = asyncio.get_running_loop()
        self._arrived = asyncio.Event()
        self._entries: deque[Entry] = deque()
        self._bytes = self._items = 0  # of all that was put
        self._bytes_taken = self._items_taken = 0
        self._woken = False
        self._waiting = 0
        self._closed = False
        self._lock = threading.Lock()  # taken itself: the condition takes it in Python
        self._changed = threading.Condition(self._lock)

    # --- the threads that plan ------------------------------------------------------------------

    def put(self, entry: Entry) -> None:
        """Add what a plan yielded; waits while too much is queued or under way.

        Raises:
            ClientClosedError: If the client was closed meanwhile.
        """
        with self._lock:
            if isinstance(entry, (PlannedTask, Constant)):
                # Room before it, not for it: what alone is larger than the queue must get through.
                if not self._has_room():
                    self._wait_for_room()
                self._count(entry)
            if self._closed:
                raise ClientClosedError("the client was closed while a graph was being submitted")
            self._entries.append(entry)
            woken, self._woken = self._woken, True
        if not woken:
            self._loop.call_soon_threadsafe(self._arrived.set)

    def _wait_for_room(self) -> None:
        self._waiting += 1
        try:
            # Woken now and then, because only then the main thread looks for Ctrl-C.
            while not self._changed.wait_for(self._has_room, 0.2):
                pass
        finally:
            self._waiting -= 1

    def _has_room(self) -> bool:
        return self._closed or (
            len(self._under_way) < config.TASKS_UNDER_WAY
            and len(self._entries) < config.TASKS_QUEUED
            and self._bytes - self._bytes_taken < config.BYTES_QUEUED
            and self._items - self._items_taken < config.ITEMS_QUEUED
            and self._unfreed() < config.UNSETTLED_BYTES
        )

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def bytes(self) -> int:
        """Bytes of what is queued, and of constants that are being stored."""
        return self._bytes - self._bytes_taken

    @property
    def items(self) -> int:
        """Items of the tasks that are queued."""
        return self._items - self._items_taken

    # --- the loop's thread ----------------------------------------------------------------------

    async def wait(self) -> None:
        """Wait until something is put."""
        await self._arrived.wait()
        self._arrived.clear()
        with self._lock:
            self._woken = False

    def take(self) -> Entry | None:
        """The oldest entry, or None; plans that wait are told by :meth:`freed`."""
        if not self._entries:  # only the loop takes: what is there stays
            return None
        entry = self._entries.popleft()
        if isinstance(entry, PlannedTask):
            self._bytes_taken += entry.size
            self._items_taken += entry.items
        return entry

    def stored(self, constant: Constant) -> None:
        """A constant that was taken is stored, or will not be: until then it took room."""
        self._forget(constant)
        self.freed()

    def put_now(self, entry: Entry) -> None:
        """Add an entry, whether there is room or not; see :meth:`has_room`."""
        with self._lock:
            if self._closed:
                return
            self._count(entry)
            self._entries.append(entry)
        self._arrived.set()

    def has_room(self) -> bool:
        """Whether little enough is queued and under way."""
        with self._lock:
            return self._has_room()

    def wake(self) -> None:
        """Let who waits look again, though nothing was put."""
        self._arrived.set()

    def freed(self) -> None:
        """Entries were taken, or tasks have ended: there may be room again."""
        with self._lock:
            if self._waiting and self._has_room():
                self._changed.notify_all()

    def tasks(self) -> list[PlannedTask]:
        """The tasks that are queued now."""
        with self._lock:
            return [entry for entry in self._entries if isinstance(entry, PlannedTask)]

    def drop(self) -> None:
        """Forget tasks and constants; what is to be told stays, in order."""
        with self._lock:
            kept: deque[Entry] = deque()
            for entry in self._entries:
                if isinstance(entry, (PlannedTask, Constant)):
                    self._forget(entry)
                else:
                    kept.append(entry)
            self._entries = kept
        self.freed()

    def close(self) -> None:
        """Let waiting plans go; nothing more is taken."""
        with self._lock:
            self._closed = True
            self._entries.clear()
            self._changed.notify_all()

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._closed

    def _count(self, entry: Entry) -> None:
        if isinstance(entry, PlannedTask):
            self._bytes += entry.size
            self._items += entry.items
        elif isinstance(entry, Constant):
            self._bytes += entry.held

    def _forget(self, entry: Entry) -> None:
        if isinstance(entry, PlannedTask):
            self._bytes_taken += entry.size
            self._items_taken += entry.items
        elif isinstance(entry, Constant):
            self._bytes_taken += entry.held
