"""Tasks with named limits, over all clients: those that have a place, those that wait for one."""

from __future__ import annotations

from armoflow.engine.records import TaskRecord
from armoflow.engine.rounds import OrderedTasks
from armoflow.named_limits import Places, read_limits

_LOOKED_AT = 4
"""Tasks that are looked at again when one ends: they may have said different numbers."""


class LimitedTasks:
    """What runs with a limit, and what waits for a place, in the order of the queue."""

    def __init__(self) -> None:
        self._places = Places()
        self._waiting: dict[str, OrderedTasks] = {}

    def admit(self, task: TaskRecord) -> bool:
        """Give a task its places; or keep it until one is free, and return False."""
        limits = read_limits(task.options.options)
        if not limits:
            return True
        full = self._places.full(limits)
        if full is None:
            self._places.take(task.id, limits)
        else:
            self._waiting.setdefault(full, OrderedTasks()).push(task)
        return full is None

    def leave(self, task_id: str) -> list[TaskRecord]:
        """A task does not run any more: those that are to be queued again, which may have room."""
        ready: list[TaskRecord] = []
        for name in self._places.leave(task_id):
            waiting = self._waiting.get(name)
            if waiting is not None:
                ready += [waiting.pop() for _ in range(min(_LOOKED_AT, len(waiting)))]
                if not waiting:
                    del self._waiting[name]
        return ready
