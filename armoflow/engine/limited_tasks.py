"""Tasks with named limits, or devices: those that have a place, those that wait for one.

That is over all clients.

When a place is free, a few of those that wait for it are queued again: whichever an agent takes
first has it. One of them that does not take it, because it was cancelled, say, lets the next one be
queued, so that a free place is never without somebody who was told of it.

The first one that waits for devices is next: none that is no more urgent overtakes it in its
partition, or a stream of those that want one would keep who wants two waiting for ever.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from armoflow.engine.lent_devices import LentDevices
from armoflow.engine.records import TaskRecord
from armoflow.engine.rounds import OrderedTasks
from armoflow.named_limits import Places, read_limits
from armoflow.placement import GPUS_LABEL

_LOOKED_AT = 4
"""Tasks that are queued again when one ends: they may have said different numbers."""


class LimitedTasks:
    """What runs with a limit, and what waits for a place.

    Args:
        queue: Queues tasks again, which may have room now.
        devices: The machine's, which are lent to tasks: those that find none wait for a place, too.
    """

    def __init__(
        self, queue: Callable[[Sequence[TaskRecord]], object], devices: LentDevices
    ) -> None:
        self._queue = queue
        self._devices = devices
        self._places = Places()
        self._waiting: dict[str, _WaitingTasks] = {}
        self._next: dict[str, TaskRecord] = {}  # who is, of the devices, in each partition
        self._told: dict[str, tuple[TaskRecord, str]] = {}  # queued again, of which name

    def admit(self, task: TaskRecord) -> bool:
        """Give a task its places; or keep it until one is free, and return False."""
        if not task.options.options:
            return True
        limits, wanted = read_limits(task.options.options), self._devices.wanted(task)
        if not (limits or wanted):
            return True
        told = self._told.pop(task.id, None)
        full = self._places.full(limits)
        if full is None and wanted and not self._may_have_devices(task, wanted):
            full = GPUS_LABEL
        if full is None:
            self._places.take(task.id, limits)
            self._devices.lend(task.id, wanted)
            names = {*limits, GPUS_LABEL} if wanted else limits.keys()
            for name in names & self._waiting.keys():
                self._waiting[name].had_turn(task.session_id)
            self._let_others_be_next(task)
            return True
        partition_id = task.options.partition_id
        if full != GPUS_LABEL or self._next.setdefault(partition_id, task) is not task:
            self._waiting.setdefault(full, _WaitingTasks()).push(task)
            self._let_others_be_next(task)
        if told is not None and told[1] != full:
            self._tell(told[1], 1)
        return False

    def leave(self, task_ids: Iterable[str]) -> None:
        """Tasks do not run any more: others may have room."""
        if self._places:  # most have none
            for task_id in task_ids:
                self._leave(task_id)

    def _leave(self, task_id: str) -> None:
        for name in self._places.leave(task_id):
            self._tell(name, _LOOKED_AT)
        free = self._devices.give_back(task_id)
        if free:
            self._tell(GPUS_LABEL, max(free, _LOOKED_AT))

    def gone(self, task: TaskRecord) -> bool:
        """A task that was queued does not run, at least not now: it takes no place.

        Returns:
            Whether it was told of one, of which others are told now.
        """
        told = self._told.pop(task.id, None)
        if told is not None:
            self._tell(told[1], 1)
        self._let_others_be_next(task)
        return told is not None

    def drop(self, session_id: str) -> None:
        """Nothing runs any more of what a session has queued."""
        for name, waiting in list(self._waiting.items()):
            waiting.drop(session_id)
            if not waiting:
                del self._waiting[name]
        for task in [*(task for task, _ in self._told.values()), *self._next.values()]:
            if task.session_id == session_id:
                self.gone(task)

    def _may_have_devices(self, task: TaskRecord, wanted: int) -> bool:
        first = self._next.get(task.options.partition_id, task)
        is_next = first is task or first.options.priority < task.options.priority
        return is_next and self._devices.are_free(wanted)

    def _let_others_be_next(self, task: TaskRecord) -> None:
        """A task has its devices, or does not wait for them: if it was next, another one is."""
        if self._next.get(task.options.partition_id) is task:
            del self._next[task.options.partition_id]
            self._tell(GPUS_LABEL, _LOOKED_AT)

    def _tell(self, name: str, count: int) -> None:
        """Queue who is next, and up to so many of those that wait for a place of this name."""
        tasks: list[TaskRecord] = []
        if name == GPUS_LABEL:
            tasks += [task for task in self._next.values() if task.id not in self._told]
        waiting = self._waiting.get(name)
        while waiting and count:
            tasks.append(waiting.pop())
            count -= 1
        if waiting is not None and not waiting:
            del self._waiting[name]
        self._told.update((task.id, (task, name)) for task in tasks)
        self._queue(tasks)


class _WaitingTasks:
    """Those that wait for a place of one name: by priority, then sessions in turns.

    A turn is a place that was had, not a look at whether there is one.
    """

    def __init__(self) -> None:
        self._queues: dict[int, dict[str, OrderedTasks]] = {}
        self._turns: dict[str, int] = {}
        self._now = 0  # of who had a place last

    def push(self, task: TaskRecord) -> None:
        """Add a task."""
        sessions = self._queues.setdefault(task.options.priority, {})
        queue = sessions.get(task.session_id)
        if queue is None:
            queue = sessions[task.session_id] = OrderedTasks()
            # One that comes anew starts where the others are.
            self._turns[task.session_id] = max(self._turns.get(task.session_id, 0), self._now)
        queue.push(task)

    def pop(self) -> TaskRecord:
        """Remove the first task, of which there is one."""
        priority = max(self._queues)
        sessions = self._queues[priority]
        session_id = min(sessions, key=self._turns.__getitem__)
        task = sessions[session_id].pop()
        if not sessions[session_id]:
            self._remove(priority, session_id)
        return task

    def had_turn(self, session_id: str) -> None:
        """A task of a session has a place."""
        if session_id in self._turns:
            self._now = max(self._now, self._turns[session_id])
            self._turns[session_id] += 1

    def drop(self, session_id: str) -> None:
        """Forget all tasks of a session."""
        for priority in [key for key, sessions in self._queues.items() if session_id in sessions]:
            self._remove(priority, session_id)
        self._turns.pop(session_id, None)

    def _remove(self, priority: int, session_id: str) -> None:
        del self._queues[priority][session_id]
        if not self._queues[priority]:
            del self._queues[priority]

    def __bool__(self) -> bool:
        return bool(self._queues)
