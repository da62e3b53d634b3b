"""Ready tasks of one partition and priority: sessions take turns, and within one the order counts.

Start-time fair queueing: a session's tag is how many turns it has had, and the lowest is next. One
that comes anew starts where the others are, so it neither waits behind a queue nor is paid for
the time in which it had nothing to run.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import KeysView
from typing import Final

from armoflow.engine.records import TaskRecord

KNOWN_TAGS: Final = 256
"""Sessions without tasks whose tags are remembered before those that mean nothing are dropped."""


class OrderedTasks:
    """Tasks by ``order``.

    Most arrive in order: those wait in ``run``, which costs nothing to keep sorted; the others,
    which are children and retries, in ``heap``.
    """

    __slots__ = ("heap", "run", "serial")

    def __init__(self) -> None:
        self.run: deque[TaskRecord] = deque()
        self.heap: list[tuple[int, int, TaskRecord]] = []
        self.serial = 0

    def push(self, task: TaskRecord) -> None:
        """Add a task."""
        run = self.run
        if not run or run[-1].order <= task.order:
            run.append(task)
        else:
            self.serial += 1
            heapq.heappush(self.heap, (task.order, self.serial, task))

    def pop(self) -> TaskRecord:
        """Remove the first task.

        Raises:
            IndexError: If there is none.
        """
        if self.heap and (not self.run or self.heap[0][0] < self.run[0].order):
            return heapq.heappop(self.heap)[2]
        return self.run.popleft()

    def take(self, count: int) -> list[TaskRecord]:
        """Remove the first tasks, of which there are so many."""
        if self.heap:
            return [self.pop() for _ in range(count)]
        popleft = self.run.popleft
        return [popleft() for _ in range(count)]

    def forget(self, count: int) -> None:
        """Remove up to so many tasks, any ones."""
        run, heap = self.run, self.heap
        for _ in range(min(count, len(run))):
            run.pop()
        del heap[max(0, len(heap) - count) :]

    def __len__(self) -> int:
        return len(self.run) + len(self.heap)


class Rounds:
    """Sessions with ready tasks, in turns."""

    __slots__ = ("_most_tags", "_now", "_queues", "_serial", "_tags", "_turns", "size")

    def __init__(self) -> None:
        self.size = 0
        self._queues: dict[str, OrderedTasks] = {}
        self._turns: list[tuple[int, int, str]] = []  # a heap: tag, then who came first
        self._tags: dict[str, int] = {}  # of sessions that have no tasks now
        self._most_tags = KNOWN_TAGS
        self._now = 0  # the tag of the turn that was had last
        self._serial = 0

    @property
    def sessions(self) -> KeysView[str]:
        """The sessions that have tasks here."""
        return self._queues.keys()

    def push(self, task: TaskRecord) -> None:
        """Add a task."""
        session_id = task.session_id
        queue = self._queues.get(session_id)
        if queue is None:
            queue = self._queues[session_id] = OrderedTasks()
            tag = max(self._tags.pop(session_id, 0), self._now)
            self._serial += 1
            heapq.heappush(self._turns, (tag, self._serial, session_id))
        queue.push(task)
        self.size += 1

    def pop(self, count: int) -> list[TaskRecord]:
        """Remove up to ``count`` tasks; fewer only if there are no more."""
        tasks: list[TaskRecord] = []
        while self._turns and len(tasks) < count:
            tag, serial, session_id = self._turns[0]
            queue = self._queues[session_id]
            turns = 1 if len(self._turns) > 1 else min(count - len(tasks), len(queue))
            tasks += queue.take(turns)
            self._now = tag + turns - 1
            if queue:
                heapq.heapreplace(self._turns, (tag + turns, serial, session_id))
            else:
                heapq.heappop(self._turns)
                del self._queues[session_id]
                self._keep_tag(session_id, tag + turns)
        self.size -= len(tasks)
        return tasks

    def drop(self, session_id: str) -> OrderedTasks | None:
        """Forget all tasks of a session; returns them."""
        queue = self._queues.pop(session_id, None)
        if queue is not None:
            self.size -= len(queue)
            self._turns = [turn for turn in self._turns if turn[2] != session_id]
            heapq.heapify(self._turns)
        return queue

    def _keep_tag(self, session_id: str, tag: int) -> None:
        self._tags[session_id] = tag
        if len(self._tags) > self._most_tags:
            # The rest are those of sessions that had a turn just now: they may be many.
            self._tags = {key: value for key, value in self._tags.items() if value > self._now}
            self._most_tags = max(KNOWN_TAGS, 2 * len(self._tags))
