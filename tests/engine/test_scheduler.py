from __future__ import annotations

import random

from armoflow.engine.records import Options, TaskRecord, TaskStatus
from armoflow.engine.scheduler import Scheduler


class FakeAgent:
    def __init__(self) -> None:
        self.wakes = 0
        self.interrupted: list[str] = []

    def wake(self) -> None:
        self.wakes += 1

    def interrupt(self, task: TaskRecord) -> None:
        self.interrupted.append(task.id)

    async def start(self) -> None: ...

    async def stop(self) -> None: ...


class Setup:
    def __init__(self) -> None:
        self.tasks: dict[str, TaskRecord] = {}
        self.lost: set[str] = set()
        self.scheduler = Scheduler(["default", "gpu"], self.run, self.acquire)
        self.agent = FakeAgent()

    def run(self, task_ids: list[str], owner: str) -> None:
        for task_id in task_ids:
            task = self.tasks[task_id]
            task.status = TaskStatus.ERROR if task_id in self.lost else TaskStatus.PROCESSING
            task.owner = owner

    def acquire(self, task_id: str, owner: str) -> None:
        self.tasks[task_id].status = TaskStatus.DISPATCHED
        self.tasks[task_id].owner = owner

    def make(
        self, name: str, order: int = 0, priority: int = 1, partition: str = "default"
    ) -> TaskRecord:
        options = Options(priority=priority, partition_id=partition)
        task = TaskRecord(
            name,
            "session",
            "payload",
            (),
            (),
            options,
            0.0,
            name,
            (),
            status=TaskStatus.SUBMITTED,
            order=order,
        )
        self.tasks[name] = task
        return task

    def take(self, count: int, partition: str = "default", start: bool = True) -> list[str]:
        tasks = self.scheduler.take(partition, count, self.agent, "me", start=start)
        return [task.id for task in tasks]


def test_priority_then_order() -> None:
    setup = Setup()
    dice = random.Random(3)
    tasks = [setup.make(f"{i}", dice.randrange(-50, 50), dice.randrange(1, 5)) for i in range(500)]
    setup.scheduler.push(tasks[:300])
    setup.scheduler.push(tasks[300:])
    taken = []
    while names := setup.take(7):
        taken += [setup.tasks[name] for name in names]
    assert len(taken) == 500
    keys = [(-task.options.priority, task.order) for task in taken]
    assert keys == sorted(keys)


def test_partitions_do_not_mix() -> None:
    setup = Setup()
    setup.scheduler.push([setup.make("a"), setup.make("b", partition="gpu")])
    assert setup.take(5) == ["a"]
    assert setup.take(5, "gpu") == ["b"]


def test_tasks_that_left_the_queue_are_skipped() -> None:
    setup = Setup()
    a, b, c = setup.make("a", 1), setup.make("b", 2), setup.make("c", 3)
    setup.scheduler.push([a, b, c])
    a.status = TaskStatus.CANCELLED
    b.status = TaskStatus.PAUSED
    assert setup.take(1) == ["c"]
    assert setup.scheduler.queued("default") == 0


def test_a_task_that_was_paused_and_resumed_runs_once() -> None:
    setup = Setup()
    task = setup.make("a")
    setup.scheduler.push([task])
    setup.scheduler.push([task])
    assert setup.take(5) == ["a"]
    assert setup.take(5) == []


def test_a_task_that_fails_as_it_starts_is_not_handed_out() -> None:
    setup = Setup()
    setup.scheduler.push([setup.make("a"), setup.make("b")])
    setup.lost.add("a")
    assert setup.take(5) == ["b"]
    assert list(setup.scheduler.running) == ["b"]


def test_acquired_only() -> None:
    setup = Setup()
    setup.scheduler.push([setup.make("a")])
    assert setup.take(1, start=False) == ["a"]
    assert setup.tasks["a"].status is TaskStatus.DISPATCHED


def test_agents_are_woken_and_interrupted() -> None:
    setup = Setup()
    other = FakeAgent()
    setup.scheduler.add_agent("default", setup.agent)
    setup.scheduler.add_agent("gpu", other)
    assert setup.agent.wakes == 0
    task = setup.make("a")
    setup.scheduler.push([task])
    assert (setup.agent.wakes, other.wakes) == (1, 0)
    late = FakeAgent()
    setup.scheduler.add_agent("default", late)
    assert late.wakes == 1
    setup.scheduler.interrupt([task])
    assert setup.agent.interrupted == []
    setup.take(1)
    setup.scheduler.interrupt([task])
    assert setup.agent.interrupted == ["a"]
    setup.scheduler.forget(["a"])
    setup.scheduler.interrupt([task])
    assert setup.agent.interrupted == ["a"]
    setup.scheduler.remove_agent("default", late)
    setup.scheduler.push([setup.make("b")])
    assert late.wakes == 1


def test_tasks_that_end_when_they_are_taken_make_room_for_others() -> None:
    setup = Setup()
    setup.lost = {f"lost{i}" for i in range(10)}
    setup.scheduler.push([setup.make(f"lost{i}", i) for i in range(10)])
    setup.scheduler.push([setup.make(f"good{i}", 10 + i) for i in range(3)])
    assert setup.take(2) == ["good0", "good1"]
    assert setup.take(2) == ["good2"]
    assert setup.take(2) == []
