"""Ready tasks, per partition: by priority, then by the order that the state machine gave them."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterable
from typing import Protocol

from armoflow.engine.records import TaskRecord, TaskStatus


class Agent(Protocol):
    """What runs tasks of one partition."""

    def wake(self) -> None:
        """Ready tasks exist in its partition; called in the event loop, must return at once."""

    def interrupt(self, task: TaskRecord) -> None:
        """Stop running a task; called in the event loop, must return at once."""

    async def start(self) -> None:
        """Begin to take tasks."""

    async def stop(self) -> None:
        """Give back what it runs, and end."""


class _Queue:
    """Tasks of one priority by ``order``.

    Most arrive in order: those wait in ``run``, which costs nothing to keep sorted; the others,
    which are children and retries, in ``heap``.
    """

    __slots__ = ("heap", "run", "serial")

    def __init__(self) -> None:
        self.run: deque[TaskRecord] = deque()
        self.heap: list[tuple[int, int, TaskRecord]] = []
        self.serial = 0

    def push(self, task: TaskRecord) -> None:
        run = self.run
        if not run or run[-1].order <= task.order:
            run.append(task)
        else:
            self.serial += 1
            heapq.heappush(self.heap, (task.order, self.serial, task))

    def pop(self) -> TaskRecord | None:
        if self.heap and (not self.run or self.heap[0][0] < self.run[0].order):
            return heapq.heappop(self.heap)[2]
        return self.run.popleft() if self.run else None

    def __len__(self) -> int:
        return len(self.run) + len(self.heap)


class Scheduler:
    """Who runs what, and what waits.

    Args:
        partition_ids: The partitions of the engine.
        run: Marks tasks as processing: ``run(task_ids, owner)``.
        acquire: Marks one task as dispatched: ``acquire(task_id, owner)``.
    """

    def __init__(
        self,
        partition_ids: Iterable[str],
        run: Callable[[list[str], str], object],
        acquire: Callable[[str, str], object],
    ) -> None:
        self.running: dict[str, Agent] = {}
        self._run = run
        self._acquire = acquire
        self._agents: dict[str, list[Agent]] = {name: [] for name in partition_ids}
        self._queues: dict[str, dict[int, _Queue]] = {name: {} for name in self._agents}

    def add_agent(self, partition_id: str, agent: Agent) -> None:
        """Let an agent take tasks of a partition; it is woken if some wait already."""
        self._agents[partition_id].append(agent)
        if self._queues[partition_id]:
            agent.wake()

    def remove_agent(self, partition_id: str, agent: Agent) -> None:
        """Forget an agent; it gave back or failed what it ran."""
        self._agents[partition_id].remove(agent)
        for task_id in [key for key, value in self.running.items() if value is agent]:
            del self.running[task_id]

    def push(self, tasks: Iterable[TaskRecord]) -> None:
        """Queue ready tasks and wake the agents of their partitions."""
        touched = set()
        for task in tasks:
            options = task.options
            partition_id = options.partition_id
            touched.add(partition_id)
            queues = self._queues[partition_id]
            queue = queues.get(options.priority)
            if queue is None:
                queue = queues[options.priority] = _Queue()
            queue.push(task)
        for partition_id in touched:
            for agent in self._agents[partition_id]:
                agent.wake()

    def take(
        self, partition_id: str, count: int, agent: Agent, owner: str, *, start: bool = True
    ) -> list[TaskRecord]:
        """Take up to ``count`` tasks, the most urgent first.

        Args:
            partition_id: The agent's partition.
            count: How many at most.
            agent: Who runs them; told by ``interrupt`` when one must stop.
            owner: What the tasks show as their owner.
            start: True marks them as processing at once; False only as dispatched, and the agent
                starts each with ``state.start``.

        Returns:
            The tasks; fewer, or none, if no more are ready.
        """
        queues = self._queues[partition_id]
        tasks: list[TaskRecord] = []
        while len(tasks) < count and (popped := self._pop(queues, count - len(tasks))):
            if start:
                self._run([task.id for task in popped], owner)
                started = TaskStatus.PROCESSING
            else:
                for task in popped:
                    self._acquire(task.id, owner)
                started = TaskStatus.DISPATCHED
            # One whose data was deleted meanwhile has ended in error: another takes its place.
            tasks += [task for task in popped if task.status is started]
        for task in tasks:
            self.running[task.id] = agent
        return tasks

    def claim(self, task: TaskRecord, agent: Agent, owner: str) -> bool:
        """Let an agent run a queued task out of turn; False if it is not queued (any more)."""
        queued, started = TaskStatus.SUBMITTED, TaskStatus.PROCESSING
        if task.status is not queued:
            return False
        self._run([task.id], owner)
        if task.status is not started:
            return False  # other data that it needs was deleted
        self.running[task.id] = agent
        return True

    def interrupt(self, tasks: Iterable[TaskRecord]) -> None:
        """Tell the agents that run these tasks to stop them."""
        for task in tasks:
            agent = self.running.get(task.id)
            if agent is not None:
                agent.interrupt(task)

    def forget(self, task_ids: Iterable[str]) -> None:
        """Tasks that no agent runs any more."""
        for task_id in task_ids:
            self.running.pop(task_id, None)

    def queued(self, partition_id: str) -> int:
        """How many entries wait; an upper bound, cancelled tasks leave when their turn comes."""
        return sum(len(queue) for queue in self._queues[partition_id].values())

    def _pop(self, queues: dict[int, _Queue], count: int) -> list[TaskRecord]:
        tasks: list[TaskRecord] = []
        taken: set[str] = set()
        while queues and len(tasks) < count:
            priority = max(queues)
            queue = queues[priority]
            while len(tasks) < count:
                task = queue.pop()
                if task is None:
                    del queues[priority]
                    break
                # A task that was cancelled or paused is skipped; one that was paused and resumed
                # has two entries.
                if task.status is TaskStatus.SUBMITTED and task.id not in taken:
                    taken.add(task.id)
                    tasks.append(task)
        return tasks
