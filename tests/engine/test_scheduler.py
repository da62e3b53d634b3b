from __future__ import annotations

import asyncio
import dataclasses
import json
import random
import sys
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from armoflow.engine.records import ApiOptions, TaskRecord, TaskStatus
from armoflow.engine.rounds import KNOWN_TAGS, Rounds
from armoflow.engine.scheduler import (
    ENDED_SKIP,
    LET_GO,
    LIMITED_SKIP,
    MAXIMUM_SKIPS,
    Scheduler,
)
from armoflow.named_limits import read_limits
from armoflow.placement import GPUS_LABEL


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
    def __init__(
        self, devices: Sequence[str] = (), is_behind: Callable[[], bool] = lambda: False
    ) -> None:
        self.tasks: dict[str, TaskRecord] = {}
        self.lost: set[str] = set()
        self.delayed: set[str] = set()
        self.scheduler = Scheduler(
            ["default", "gpu"],
            self.run,
            self.acquire,
            self.delayed.__contains__,
            is_behind=is_behind,
            devices=devices,
        )
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
        self,
        name: str,
        order: int = 0,
        priority: int = 1,
        partition: str = "default",
        session: str = "session",
    ) -> TaskRecord:
        options = ApiOptions(priority=priority, partition_id=partition)
        task = TaskRecord(
            name,
            session,
            "payload",
            (),
            (),
            options,
            0.0,
            name,
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


def test_draining_hands_out_nothing_and_waits_for_what_runs() -> None:
    async def drain() -> None:
        setup = Setup()
        setup.scheduler.push([setup.make(f"{number}") for number in range(3)])
        assert setup.take(2) == ["0", "1"]
        draining = asyncio.create_task(setup.scheduler.drain(60))
        await asyncio.sleep(0)
        assert setup.take(1) == []
        setup.scheduler.forget(["0"])
        await asyncio.sleep(0)
        assert not draining.done()
        setup.scheduler.forget(["1"])
        await draining
        assert setup.tasks["2"].status is TaskStatus.SUBMITTED

    async def give_up() -> None:
        setup = Setup()
        setup.scheduler.push([setup.make("endless")])
        setup.take(1)
        await setup.scheduler.drain(0.001)
        assert list(setup.scheduler.running) == ["endless"]

    asyncio.run(drain())
    asyncio.run(give_up())


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


def test_sessions_take_turns_whatever_they_have_queued() -> None:
    setup = Setup()
    many = [setup.make(f"a{i}", i, session="a") for i in range(1000)]
    setup.scheduler.push(many)
    assert setup.take(100) == [f"a{i}" for i in range(100)]
    setup.scheduler.push([setup.make("b0", 5000, session="b")])
    assert setup.take(1) == ["b0"]
    setup.scheduler.push([setup.make(f"b{i}", 6000 + i, session="b") for i in (1, 2)])
    setup.scheduler.push([setup.make("c0", 7000, session="c")])
    taken = setup.take(7)
    assert set(taken[:3]) == {"a100", "b1", "c0"}
    assert set(taken[3:5]) == {"a101", "b2"}
    assert taken[5:] == ["a102", "a103"]
    assert not setup.scheduler.contended("default")
    assert len(setup.take(10_000)) == 1000 - 104


def test_one_task_at_a_time_gets_no_more_than_its_turns() -> None:
    setup = Setup()
    setup.scheduler.push([setup.make(f"a{i}", i, session="a") for i in range(100)])
    taken = []
    for number in range(60):
        setup.scheduler.push([setup.make(f"b{number}", 1000 + number, session="b")])
        taken += setup.take(1)
    counts = {name: sum(task.startswith(name) for task in taken) for name in "ab"}
    assert counts == {"a": 30, "b": 30}


def test_priorities_come_before_turns() -> None:
    setup = Setup()
    setup.scheduler.push([setup.make(f"a{i}", i, priority=2, session="a") for i in range(5)])
    setup.scheduler.push([setup.make("b", 0, priority=1, session="b")])
    assert setup.scheduler.contended("default")
    assert setup.take(6) == ["a0", "a1", "a2", "a3", "a4", "b"]


def test_a_dropped_session_has_nothing_queued() -> None:
    setup = Setup()
    for session in ("a", "b"):
        setup.scheduler.push([setup.make(f"{session}{i}", i, session=session) for i in range(3)])
    setup.scheduler.drop("a")
    assert setup.scheduler.queued("default") == 3
    assert setup.take(10) == ["b0", "b1", "b2"]
    setup.scheduler.drop("a")
    setup.scheduler.push([setup.make("a9", session="a")])
    assert setup.take(10) == ["a9"]


def test_a_long_queue_that_is_dropped_is_let_go_of_by_and_by() -> None:
    """One after the other: to look for a million tasks in memory holds everybody up."""
    count = 2 * LET_GO + 5

    async def drop() -> list[int]:
        setup = Setup()
        orders = [*range(1, count), 0]  # the last one goes to the heap
        tasks = [setup.make(f"a{order}", order) for order in orders]
        setup.scheduler.push(tasks)
        before = [sys.getrefcount(task) for task in tasks]
        setup.scheduler.drop("session")
        assert setup.take(1) == []
        left = []
        for _ in range(4):
            now = [sys.getrefcount(task) for task in tasks]
            left.append(sum(map(int.__eq__, now, before)))
            await asyncio.sleep(0)
        return left

    assert asyncio.run(drop()) == [count, count - LET_GO - 1, 4, 0]


def test_tags_of_sessions_that_left_do_not_gather() -> None:
    rounds = Rounds()
    setup = Setup()
    for task in [setup.make(f"busy{i}", i, session="busy") for i in range(10_000)]:
        rounds.push(task)
    for number in range(2000):
        rounds.push(setup.make(f"t{number}", session=f"s{number}"))
        assert {task.session_id for task in rounds.pop(2)} == {"busy", f"s{number}"}
    assert len(rounds._tags) <= KNOWN_TAGS + 1


def test_many_dead_entries_are_passed_over_in_several_turns() -> None:
    async def look() -> None:
        setup = Setup()
        dead = [setup.make(f"{i}", i) for i in range(3 * MAXIMUM_SKIPS)]
        setup.scheduler.push([*dead, setup.make("live", 10**6)])
        for task in dead:
            task.status = TaskStatus.CANCELLED
        looks = 0
        while not (taken := setup.take(MAXIMUM_SKIPS)):
            looks += 1
            wakes = setup.agent.wakes
            await asyncio.sleep(0)
            assert setup.agent.wakes == wakes + 1
        assert (taken, looks) == (["live"], 1)

    asyncio.run(look())


@pytest.mark.parametrize("limits", [{}, {"one": 1}])
def test_many_that_end_as_they_are_taken_are_passed_over_in_several_turns(
    limits: dict[str, int],
) -> None:
    async def look() -> None:
        setup = Setup()
        most = MAXIMUM_SKIPS // ENDED_SKIP
        lost = [limited(setup, f"{number}", number, **limits) for number in range(3 * most)]
        setup.lost.update(task.id for task in lost)
        setup.scheduler.push([*lost, limited(setup, "next", 10**6, **limits)])
        for looks in range(1, 10):
            wakes = setup.agent.wakes
            if setup.take(1) == ["next"]:
                break
            ended = sum(task.status is TaskStatus.ERROR for task in lost)
            assert ended <= looks * (most + 1)
            await asyncio.sleep(0)
            assert setup.agent.wakes > wakes
        else:
            pytest.fail("what comes after them is not handed out")
        assert looks > 2

    asyncio.run(look())


def test_many_that_wait_for_a_place_and_were_cancelled_are_passed_over_in_several_turns() -> None:
    async def look() -> None:
        setup = Setup()
        tasks = [limited(setup, f"{n}", n, one=1) for n in range(2 * MAXIMUM_SKIPS // LIMITED_SKIP)]
        setup.scheduler.push(tasks)
        while setup.take(10) != ["0"]:
            await asyncio.sleep(0)
        for _ in range(5):
            assert setup.take(10) == []
            await asyncio.sleep(0)
        for task in tasks[1:-1]:
            task.status = TaskStatus.CANCELLED
        setup.scheduler.forget(["0"])
        looks = 1
        while not (taken := setup.take(10)):
            looks += 1
            await asyncio.sleep(0)
        assert taken == [tasks[-1].id]
        assert looks > 1

    asyncio.run(look())


def test_nothing_is_handed_out_while_much_waits_to_be_committed() -> None:
    behind = True
    setup = Setup(is_behind=lambda: behind)
    setup.scheduler.push([setup.make("task")])
    wakes = setup.agent.wakes
    assert setup.take(1) == []
    setup.scheduler.committed()
    assert setup.agent.wakes == wakes + 1
    assert setup.take(1) == []
    behind = False
    setup.scheduler.committed()
    assert setup.take(1) == ["task"]
    setup.scheduler.committed()
    assert setup.agent.wakes == wakes + 2  # who was not held up is left alone


def test_one_that_ran_out_of_turn_does_not_run_again_before_its_time() -> None:
    setup = Setup()
    task = setup.make("task")
    setup.scheduler.push([task])
    assert setup.scheduler.claim(task, setup.agent, "me")
    # Its first entry is still there when it is given back to wait.
    task.status, task.not_before = TaskStatus.SUBMITTED, 1.0
    setup.delayed.add("task")
    setup.scheduler.push([setup.make("other", 1)])
    assert setup.take(10) == ["other"]
    setup.delayed.clear()
    setup.scheduler.push([task])
    assert setup.take(10) == ["task"]


def test_one_session_with_two_priorities_contends_with_nobody() -> None:
    setup = Setup()
    setup.scheduler.push([setup.make("a", priority=1), setup.make("b", priority=2)])
    assert not setup.scheduler.contended("default")
    setup.scheduler.push([setup.make("c", priority=2, session="other")])
    assert setup.scheduler.contended("default")


def test_the_tags_of_many_sessions_are_gone_through_now_and_then() -> None:
    rounds, setup = Rounds(), Setup()
    for number in range(20 * KNOWN_TAGS):
        rounds.push(setup.make(f"{number}", session=f"s{number}"))
    assert len(rounds.pop(20 * KNOWN_TAGS)) == 20 * KNOWN_TAGS
    assert rounds._most_tags <= 4 * 20 * KNOWN_TAGS


def limited(
    setup: Setup,
    name: str,
    order: int,
    *,
    session: str = "session",
    priority: int = 1,
    **limits: int,
) -> TaskRecord:
    task = setup.make(name, order, priority, session=session)
    options = {"armoflow.limits": json.dumps(limits)}
    task.options = dataclasses.replace(task.options, options=options)
    return task


def test_a_limit_holds_back_its_own_tasks_and_no_others() -> None:
    setup = Setup()
    tasks = [limited(setup, f"{number}", number, licence=2) for number in range(5)]
    setup.scheduler.push([*tasks, setup.make("free", 9)])
    assert setup.take(10) == ["0", "1", "free"]
    assert setup.take(10) == []
    setup.scheduler.forget(["free"])
    assert setup.take(10) == []
    setup.scheduler.forget(["1"])
    assert setup.take(10) == ["2"]
    setup.scheduler.remove_agent("default", setup.agent)
    assert setup.take(10) == ["3", "4"]


def test_a_task_needs_a_place_of_each_name_and_the_smallest_number_holds() -> None:
    setup = Setup()
    setup.scheduler.push(
        [
            limited(setup, "both", 0, licence=1, disk=1),
            limited(setup, "disk", 1, disk=1),
            limited(setup, "wide", 2, disk=3),
            limited(setup, "licence", 3, licence=1),
        ]
    )
    assert setup.take(10) == ["both", "wide"]
    setup.scheduler.forget(["both"])
    assert setup.take(10) == ["licence"]  # of "disk" one runs still
    setup.scheduler.forget(["wide"])
    assert setup.take(10) == ["disk"]


def test_a_limited_task_that_cannot_start_leaves_its_place() -> None:
    setup = Setup()
    setup.lost.add("lost")
    setup.scheduler.push([limited(setup, "lost", 0, one=1), limited(setup, "next", 1, one=1)])
    assert setup.take(10) == ["next"]


def test_who_waits_for_a_place_has_it_when_those_before_were_cancelled() -> None:
    setup = Setup()
    tasks = [limited(setup, f"{number}", number, one=1) for number in range(20)]
    setup.scheduler.push(tasks)
    assert setup.take(10) == ["0"]
    for task in tasks[1:12]:
        task.status = TaskStatus.CANCELLED
    setup.scheduler.forget(["0"])
    for task in tasks[12:15]:
        task.status = TaskStatus.CANCELLED
    assert setup.take(10) == ["15"]
    assert setup.take(10) == []
    setup.scheduler.forget(["15"])
    assert setup.take(10) == ["16"]


def test_who_waits_for_a_place_has_it_when_the_session_of_those_before_was_dropped() -> None:
    setup = Setup()
    theirs = [limited(setup, f"theirs {n}", n, session="theirs", one=1) for n in range(20)]
    setup.scheduler.push([*theirs, limited(setup, "mine", 99, session="mine", one=1)])
    assert setup.take(10) == ["theirs 0"]
    setup.scheduler.forget(["theirs 0"])  # some of theirs are told of the place
    setup.scheduler.drop("theirs")
    assert setup.take(10) == ["mine"]
    setup.scheduler.forget(["mine"])
    assert setup.take(10) == []


def test_who_waits_for_one_place_does_not_wait_for_those_that_wait_for_another() -> None:
    setup = Setup()
    both = [limited(setup, f"both {number}", number, one=1, two=1) for number in range(20)]
    setup.scheduler.push([limited(setup, "first", -2, one=1), limited(setup, "second", -1, two=1)])
    assert setup.take(10) == ["first", "second"]
    setup.scheduler.push([*both, limited(setup, "last", 99, one=1)])
    assert setup.take(10) == []
    setup.scheduler.forget(["first"])
    assert setup.take(10) == ["last"]  # of "two" one runs still
    setup.scheduler.forget(["second"])
    assert setup.take(10) == []
    setup.scheduler.forget(["last"])
    assert setup.take(10) == ["both 0"]


def test_numbers_that_differ_tell_each_other_of_places_no_more_than_once() -> None:
    setup = Setup()
    setup.scheduler.push([limited(setup, "one", 0, one=1)])
    setup.scheduler.push([limited(setup, f"two {n}", n, two=9) for n in range(3)])
    assert len(setup.take(10)) == 4
    setup.scheduler.push([limited(setup, f"a {n}", n, one=1, two=5) for n in range(9)])
    setup.scheduler.push([limited(setup, f"b {n}", n, two=2, one=3) for n in range(9)])
    assert setup.take(10) == []
    setup.scheduler.forget(["two 0"])
    assert setup.take(10) == []
    setup.scheduler.forget(["two 1"])
    assert setup.take(10) == ["b 0"]


def test_of_those_that_wait_for_a_place_the_most_urgent_is_next() -> None:
    setup = Setup()
    setup.scheduler.push([limited(setup, f"{number}", number, one=1) for number in range(20)])
    assert setup.take(10) == ["0"]
    setup.scheduler.push([limited(setup, "urgent", 99, priority=5, one=1)])
    assert setup.take(10) == []
    setup.scheduler.forget(["0"])
    assert setup.take(10) == ["urgent"]


def test_sessions_that_wait_for_a_place_take_turns() -> None:
    setup = Setup()
    for session in ("a", "b"):
        setup.scheduler.push(
            [limited(setup, f"{session}{n}", n, session=session, one=1) for n in range(30)]
        )
    ran = setup.take(10)
    while len(ran) < 40:
        if len(ran) == 10:
            setup.scheduler.push([limited(setup, "c", 99, session="c", one=1)])
        setup.scheduler.forget(ran[-1:])
        ran += setup.take(10)
    assert abs(sum(name.startswith("a") for name in ran) - 20) <= 2
    assert "c" in ran[10:15]


def wanting(setup: Setup, name: str, order: int, gpus: int, **where: Any) -> TaskRecord:
    task = setup.make(name, order, **where)
    task.options = dataclasses.replace(task.options, options={GPUS_LABEL: str(gpus)})
    return task


def test_who_wants_several_devices_is_not_overtaken_for_ever() -> None:
    setup = Setup(devices=("a", "b"))
    setup.scheduler.push([wanting(setup, f"{number}", number, 1) for number in range(2)])
    ran = setup.take(10)
    setup.scheduler.push([wanting(setup, "both", 2, 2)])
    for number in range(3, 9):
        setup.scheduler.push([wanting(setup, f"{number}", number, 1)])
        assert setup.take(10) == []
    setup.scheduler.forget(ran[:1])
    assert setup.take(10) == []  # one is free, and kept for it
    setup.scheduler.push([wanting(setup, "urgent", 9, 1, priority=5)])
    assert setup.take(10) == ["urgent"]
    setup.scheduler.forget([*ran[1:], "urgent"])
    assert setup.take(10) == ["both"]
    setup.scheduler.forget(["both"])
    assert setup.take(10) == ["3", "4"]


@pytest.mark.parametrize("how", ["cancelled", "dropped"])
def test_who_is_next_of_the_devices_lets_others_have_them_when_it_is_gone(how: str) -> None:
    setup = Setup(devices=("a", "b"))
    setup.scheduler.push([wanting(setup, f"{number}", number, 1) for number in range(2)])
    ran = setup.take(10)
    both = wanting(setup, "both", 2, 2, session="theirs")
    setup.scheduler.push([both, *(wanting(setup, f"{n}", n, 1) for n in range(3, 20))])
    assert setup.take(10) == []
    setup.scheduler.forget(ran[:1])
    if how == "dropped":
        assert setup.take(10) == []
        setup.scheduler.drop("theirs")
    else:
        both.status = TaskStatus.CANCELLED
    assert setup.take(10) == ["3"]
    setup.scheduler.forget(["3"])
    assert setup.take(10) == ["4"]


@pytest.mark.parametrize("seed", range(40))
def test_whatever_happens_to_limited_tasks_none_is_forgotten(seed: int) -> None:
    dice, setup = random.Random(seed), Setup(devices=("a", "b", "c"))
    running: dict[str, TaskRecord] = {}

    def ends_something() -> None:
        if running:
            name = dice.choice(sorted(running))
            running.pop(name).status = TaskStatus.COMPLETED
            setup.scheduler.forget([name])

    def takes_some() -> None:
        for name in setup.take(dice.randrange(1, 4)):
            running[name] = setup.tasks[name]
        for limit in ("one", "two"):
            limits = [read_limits(task.options.options) for task in running.values()]
            taken = [found[limit] for found in limits if limit in found]
            assert not taken or len(taken) <= max(taken)

    def queued() -> list[TaskRecord]:
        return [one for one in setup.tasks.values() if one.status is TaskStatus.SUBMITTED]

    def cancels_the_first() -> None:
        for task in queued()[: dice.randrange(8)]:
            task.status = TaskStatus.CANCELLED

    for number in range(150):
        match dice.randrange(8):
            case 0 | 1 | 6 | 7:
                names = dice.choice([["one"], ["two"], ["one", "two"], ["two", "one"], []])
                limits = {name: dice.choice([1, 1, 1, 2]) for name in names}
                where = {"session": dice.choice("abc"), "priority": dice.choice([1, 2])}
                task = limited(setup, f"{number}", number, **where, **limits)  # type: ignore[arg-type]
                wish = {GPUS_LABEL: dice.choice("00123")}
                options = {**task.options.options, **wish}
                task.options = dataclasses.replace(task.options, options=options)
                setup.scheduler.push([task])
            case 2:
                takes_some()
            case 3:
                ends_something()
            case 4:
                cancels_the_first()
            case 5 if dice.randrange(8) == 0:
                session = dice.choice("abc")
                setup.scheduler.drop(session)
                for task in setup.tasks.values():
                    if task.session_id == session and task.status is TaskStatus.SUBMITTED:
                        task.status = TaskStatus.CANCELLED
    while queued():
        takes_some()
        assert running, [task.id for task in queued()]
        ends_something()
        if dice.randrange(4) == 0:
            cancels_the_first()
