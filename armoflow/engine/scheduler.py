"""Ready tasks, per partition: by priority, then sessions in turns, then by the tasks' order."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Container, Iterable, Sequence
from contextlib import suppress
from typing import Final, Protocol

from armoflow.engine.lent_devices import LentDevices
from armoflow.engine.limited_tasks import LimitedTasks
from armoflow.engine.records import ApiOptions, TaskRecord, TaskStatus
from armoflow.engine.rounds import OrderedTasks, Rounds

MAXIMUM_SKIPS: Final = 10_000
"""Entries of tasks that are not queued any more which one look for tasks passes over: 1 ms."""

LIMITED_SKIP: Final = 20
"""As how many of these one counts that wants a place of a name: others are told in its stead."""

ENDED_SKIP: Final = 200
"""The same of one that ends in error when it is taken, since its data was deleted meanwhile."""

LET_GO: Final = 2_000
"""Tasks of a queue that nobody needs any more which are let go of at once: to look for a million in
memory holds everybody up."""


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


class Scheduler:
    """Who runs what, and what waits.

    Args:
        partition_ids: The partitions of the engine.
        run: Marks tasks as processing: ``run(task_ids, owner)``.
        acquire: Marks one task as dispatched: ``acquire(task_id, owner)``.
        is_delayed: Whether a queued task must not run yet.
        end: Ends tasks that were cancelled while they were queued, where they wait for that.
        is_behind: Whether so much waits to be committed that no more should be begun: everybody who
            waits for news waits for all of it.
        devices: The machine's graphics processors.
        own_devices: Partitions whose workers have others.

    Attributes:
        devices: Which of them which task has.
        queue_type: What keeps the ready tasks of one partition and priority in order.
        on_break: Called when memory ends while tasks are taken.
    """

    queue_type: type[Rounds] = Rounds

    def __init__(
        self,
        partition_ids: Iterable[str],
        run: Callable[[list[str], str], object],
        acquire: Callable[[str, str], object],
        is_delayed: Callable[[str], bool] = lambda _: False,
        end: Callable[[list[str]], object] = lambda _: None,
        *,
        is_behind: Callable[[], bool] = lambda: False,
        devices: Sequence[str] = (),
        own_devices: Container[str] = (),
    ) -> None:
        self.running: dict[str, Agent] = {}
        self._run = run
        self._acquire = acquire
        self._is_delayed = is_delayed
        self._is_behind = is_behind
        self._held_up: set[Agent] = set()
        self._end = end
        self.devices = LentDevices(devices, own_devices)
        self._limits = LimitedTasks(self.push, self.devices)
        self._agents: dict[str, list[Agent]] = {name: [] for name in partition_ids}
        self._queues: dict[str, dict[int, Rounds]] = {name: {} for name in self._agents}
        self._idle: asyncio.Event | None = None
        self.on_break: Callable[[MemoryError], object] = _ignore

    async def drain(self, seconds: float) -> None:
        """Hand out nothing any more, and wait for what runs, for so many seconds.

        What was queued stays so. Who has begun a chain of tasks may go on with it.
        """
        self._idle = asyncio.Event()
        if self.running:
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._idle.wait(), seconds)

    def add_agent(self, partition_id: str, agent: Agent) -> None:
        """Let an agent take tasks of a partition; it is woken if some wait already."""
        self._agents[partition_id].append(agent)
        if self._queues[partition_id]:
            agent.wake()

    def remove_agent(self, partition_id: str, agent: Agent) -> None:
        """Forget an agent, if it was added; it gave back or failed what it ran."""
        agents = self._agents[partition_id]
        if agent in agents:
            agents.remove(agent)
        self._held_up.discard(agent)
        for task_id in [key for key, value in self.running.items() if value is agent]:
            del self.running[task_id]
            self._limits.leave([task_id])

    def push(self, tasks: Iterable[TaskRecord]) -> None:
        """Queue ready tasks and wake the agents of their partitions."""
        touched = set()
        options, queue = None, None
        for task in tasks:
            if task.options is not options:  # many tasks share them
                options = task.options
                queue = self._queue(options)
                touched.add(options.partition_id)
            if queue is not None:
                queue.push(task)
        for partition_id in touched & self._agents.keys():
            for agent in self._agents[partition_id]:
                agent.wake()

    def _queue(self, options: ApiOptions) -> Rounds | None:
        """Where tasks with such options wait; None: nobody will ask for them before a restart."""
        queues = self._queues.get(options.partition_id)
        if queues is None:
            return None
        queue = queues.get(options.priority)
        if queue is None:
            queue = queues[options.priority] = self.queue_type()
        return queue

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
        try:
            return self._take(partition_id, count, agent, owner, start=start)
        except MemoryError as error:  # what had left its queue is nowhere
            self.on_break(error)
            raise

    def _take(
        self, partition_id: str, count: int, agent: Agent, owner: str, *, start: bool
    ) -> list[TaskRecord]:
        if self._idle is not None:
            return []
        if self._is_behind():
            self._held_up.add(agent)
            return []
        queues = self._queues[partition_id]
        tasks: list[TaskRecord] = []
        skipped = 0
        while len(tasks) < count and skipped <= MAXIMUM_SKIPS:
            popped, passed_over = self._pop(queues, count - len(tasks), MAXIMUM_SKIPS - skipped)
            skipped += passed_over
            if not popped:
                break
            if start:
                self._run([task.id for task in popped], owner)
                started = TaskStatus.PROCESSING
            else:
                for task in popped:
                    self._acquire(task.id, owner)
                started = TaskStatus.DISPATCHED
            # One whose data was deleted meanwhile has ended in error: another takes its place.
            for task in popped:
                if task.status is started:
                    tasks.append(task)
                else:
                    skipped += ENDED_SKIP
                    self._limits.leave([task.id])
        if skipped > MAXIMUM_SKIPS:  # others in the event loop have their turn first
            asyncio.get_running_loop().call_soon(agent.wake)
        for task in tasks:
            self.running[task.id] = agent
        return tasks

    def committed(self) -> None:
        """What was done so far is committed: who was held up looks again."""
        if self._held_up:
            agents, self._held_up = self._held_up, set()
            for agent in agents:
                agent.wake()

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
        running = self.running
        gone = [task_id for task_id in task_ids if running.pop(task_id, None) is not None]
        self._limits.leave(gone)
        if self._idle is not None and not self.running:
            self._idle.set()

    def drop(self, session_id: str) -> None:
        """Hand out no task of a session that was queued until now."""
        for queues in self._queues.values():
            for queue in queues.values():
                dropped = queue.drop(session_id)
                if dropped is not None and len(dropped) > LET_GO:
                    asyncio.get_running_loop().call_soon(self._let_go, dropped)
        self._limits.drop(session_id)

    def queued(self, partition_id: str) -> int:
        """How many entries wait; an upper bound, cancelled tasks leave when their turn comes."""
        return sum(queue.size for queue in self._queues[partition_id].values())

    def contended(self, partition_id: str) -> bool:
        """Whether several sessions wait for the same workers."""
        queues = list(self._queues[partition_id].values())
        if len(queues) == 1:
            return len(queues[0].sessions) > 1
        return len(set().union(*(queue.sessions for queue in queues))) > 1

    def _let_go(self, dropped: OrderedTasks) -> None:
        """Let go of some tasks; others in the event loop have their turn before the rest."""
        dropped.forget(LET_GO)
        if dropped:
            asyncio.get_running_loop().call_soon(self._let_go, dropped)

    def _pop(
        self, queues: dict[int, Rounds], count: int, most: int
    ) -> tuple[list[TaskRecord], int]:
        """Take up to ``count`` queued tasks, passing over no more than ``most`` entries.

        Returns:
            The tasks, and how many entries were passed over.
        """
        tasks: list[TaskRecord] = []
        taken: set[str] = set()
        cancelled: list[str] = []
        skipped = 0
        while queues and len(tasks) < count:
            priority = max(queues)
            popped = queues[priority].pop(count - len(tasks))
            if not popped:
                del queues[priority]
            for task in popped:
                # A task that was cancelled or paused is skipped. One that was run out of turn has
                # left an entry, by which it must not run again before its time.
                if (
                    task.status is not TaskStatus.SUBMITTED
                    or task.id in taken
                    or (task.not_before and self._is_delayed(task.id))
                ):
                    skipped += LIMITED_SKIP if self._limits.gone(task) else 1
                    if task.status is TaskStatus.CANCELLING and not task.owner:
                        cancelled.append(task.id)
                elif not task.options.options or self._limits.admit(task):
                    taken.add(task.id)
                    tasks.append(task)
                else:
                    skipped += LIMITED_SKIP
            if skipped > most:
                break
        if cancelled:
            self._end(cancelled)
        return tasks, skipped


def _ignore(_: MemoryError) -> None:
    """Nobody listens."""
