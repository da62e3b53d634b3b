"""Tasks that are not queued before their time: they wait for a retry, and no worker for them.

The state machine knows until when; here are the timers, and what agents keep of such tasks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Protocol

from armoflow.engine.records import TaskRecord, TaskStatus


class KeptForRetry(Protocol):
    """What an agent keeps of a task between two runs."""

    def discard(self) -> None:
        """It is not needed any more."""


class Pauses:
    """Queues tasks when their time has come.

    Args:
        push: Queues ready tasks.
    """

    def __init__(self, push: Callable[[list[TaskRecord]], None]) -> None:
        self._push = push
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._kept: dict[str, KeptForRetry] = {}

    @property
    def waiting(self) -> set[str]:
        """The ids of the tasks that wait, or of which something is kept."""
        return self._timers.keys() | self._kept.keys()

    def add(self, now: float, tasks: Iterable[TaskRecord]) -> None:
        """These are queued at their ``not_before``."""
        loop = asyncio.get_running_loop()
        for task in tasks:
            self._stop(task.id)
            delay = max(0.0, task.not_before - now)
            self._timers[task.id] = loop.call_later(delay, self._end, task)

    def delays(self, task_id: str) -> bool:
        """Whether the time of a task has not come."""
        return task_id in self._timers

    def keep(self, task_id: str, kept: KeptForRetry) -> None:
        """Keep something of a task until it runs again, or has ended."""
        self._kept[task_id] = kept

    def take(self, task_id: str) -> KeptForRetry | None:
        """What was kept of a task that runs again."""
        return self._kept.pop(task_id, None) if self._kept else None

    def forget(self, task_ids: Iterable[str]) -> None:
        """Tasks that have ended."""
        if not (self._timers or self._kept):
            return
        for task_id in task_ids:
            self._stop(task_id)
            kept = self._kept.pop(task_id, None)
            if kept is not None:
                kept.discard()

    def close(self) -> None:
        """Nothing is queued any more."""
        self.forget([*self._timers, *self._kept])

    def _stop(self, task_id: str) -> None:
        timer = self._timers.pop(task_id, None)
        if timer is not None:
            timer.cancel()

    def _end(self, task: TaskRecord) -> None:
        del self._timers[task.id]
        # One whose session is paused is queued when that goes on.
        if task.status is TaskStatus.SUBMITTED:
            self._push([task])
