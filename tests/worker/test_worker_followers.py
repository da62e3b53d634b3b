"""Followers: tasks that go to a child together with the one task that they wait for."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from lanes import QUICK, Lane, consuming, meeting, on_a_lane
from seats import call, file_appears

import armoflow
from armoflow.agent.effects import Effects, StagedFile
from armoflow.codec.failure import ErrorRecord
from armoflow.engine.faults import StorageError
from armoflow.engine.records import NewTask, TaskStatus
from armoflow.worker.child_process import ChildProcess
from armoflow.worker.dialogue import Dialogue
from armoflow.worker.passed import Passed
from armoflow.worker.work import Assignment


def noting(lane: Lane, name: str) -> Callable[[Any], Any]:
    """A task that notes that it ran, and returns what it got."""
    path = str(lane.directory / name)

    def note(value: Any) -> Any:
        from pathlib import Path as Place

        with Place(path).open("a") as file:
            file.write("ran\n")
        return value

    return note


def times(lane: Lane, name: str) -> int:
    path = lane.directory / name
    return len(path.read_text().split()) if path.exists() else 0


def submit_chain(lane: Lane, first: Any, *functions: Callable[[Any], Any]) -> list[NewTask]:
    (task,) = lane.submit(first)
    tasks = [task]
    for function in functions:
        tasks += lane.submit(consuming(function, tasks[-1]))
    return tasks


@on_a_lane(workers=1)
async def test_a_chain_goes_to_its_child_in_one_message(lane: Lane) -> None:
    def inc(value: int) -> int:
        return value + 1

    def send(child: ChildProcess, message: bytes) -> None:
        nonlocal messages
        messages += 1
        original(child, message)

    lane.pace(QUICK)
    messages, original = 0, ChildProcess.send
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ChildProcess, "send", send)
        tasks = submit_chain(lane, call(inc, 0), *[inc] * 60)
        assert await lane.ended(tasks[-1:]) == [61]
    assert messages == 1
    record = await lane.engine.read_task(tasks[30].id)
    assert record is not None
    assert record.status is TaskStatus.COMPLETED


@on_a_lane(workers=1)
async def test_a_chain_goes_on_behind_what_its_child_has(lane: Lane) -> None:
    meet = meeting(str(lane.directory))
    tasks = submit_chain(lane, call(meet, "leader", ["gate"]), *[lambda value: value + "."] * 20)
    await file_appears(lane.directory / "leader")
    (seat,) = lane.agent._seats
    assert seat.load == 2  # of tasks that nothing is known of yet
    for size in (5, 9):
        seat.window.size = size
        lane.agent.wake()
        await asyncio.sleep(0)
        assert seat.load == size
    (lane.directory / "gate").touch()
    assert await lane.ended(tasks[-1:]) == ["leader" + 20 * "."]


@on_a_lane(workers=1)
async def test_followers_that_came_later_end_with_their_leader(lane: Lane) -> None:
    meet = meeting(str(lane.directory))
    tasks = submit_chain(
        lane, call(meet, "leader", ["never"]), noting(lane, "2"), noting(lane, "3")
    )
    await file_appears(lane.directory / "leader")
    (seat,) = lane.agent._seats
    seat.window.size = 3
    lane.agent.wake()
    await asyncio.sleep(0)
    assert seat.load == 3
    engine = lane.engine
    engine.apply(engine.state.cancel_tasks(engine.now(), [tasks[0].id]))
    await lane.ended(tasks)
    assert await lane.ended(lane.submit(call(meet, "next", []))) == ["next"]
    assert times(lane, "2") == times(lane, "3") == 0


@on_a_lane(workers=1)
async def test_a_child_that_dies_has_its_chain_run_elsewhere(lane: Lane) -> None:
    """Each follower gets the output of its leader, whether that ended before or is run again."""
    meet = meeting(str(lane.directory))

    def die_once(value: str) -> str:
        import os
        from pathlib import Path as Place

        mark = Place(died)
        if not mark.exists():
            mark.touch()
            os.kill(os.getpid(), 9)
        return value + "!"

    died = str(lane.directory / "died")
    steps = [lambda value: value + "."] * 10
    tasks = submit_chain(lane, call(meet, "leader", ["gate"]), *steps, die_once, *steps)
    await file_appears(lane.directory / "leader")
    (seat,) = lane.agent._seats
    seat.window.size = 16
    lane.agent.wake()
    await asyncio.sleep(0)
    assert seat.load == 16
    (lane.directory / "gate").touch()
    assert await lane.ended(tasks[-1:]) == ["leader" + 10 * "." + "!" + 10 * "."]


def test_what_the_last_task_made_is_there_for_one_that_comes_late() -> None:
    passed = Passed()
    passed.keep(Effects(data={"first": b"1"}))
    assert passed.take(["first"]) == {"first": b"1"}
    passed.keep(Effects(data={"second": b"2", "file": StagedFile("nowhere", 9)}))
    assert passed.take(["first", "second", "file"]) == {"second": b"2"}


@on_a_lane()
async def test_no_follower_runs_when_its_leader_fails(lane: Lane) -> None:
    def broken() -> None:
        raise OverflowError("too much")

    tasks = submit_chain(lane, call(broken), noting(lane, "second"), noting(lane, "third"))
    for record in await lane.ended(tasks):
        assert isinstance(record, ErrorRecord)
        assert record.type_name == "OverflowError"
    assert times(lane, "second") == times(lane, "third") == 0


@on_a_lane()
async def test_a_follower_waits_for_the_graph_that_its_leader_returned(lane: Lane) -> None:
    @armoflow.task
    def add(left: int, right: int) -> int:
        return left + right

    @armoflow.task
    def grow(number: int) -> Any:
        return add(add(number, 1), add(number, 2))

    tasks = submit_chain(lane, call(grow.function, 5), noting(lane, "ran"))
    assert await lane.ended(tasks[1:]) == [13]
    assert times(lane, "ran") == 1


@on_a_lane()
async def test_a_large_output_reaches_the_follower(lane: Lane) -> None:
    def large() -> bytes:
        return bytes(300_000)

    tasks = submit_chain(lane, call(large), len)
    assert await lane.ended(tasks[1:]) == [300_000]


@on_a_lane()
async def test_several_dependents_are_spread_over_the_children(lane: Lane) -> None:
    def nothing() -> None:
        pass

    meet = meeting(str(lane.directory))
    (leader,) = lane.submit(call(nothing))
    users = lane.submit(
        consuming(lambda _: meet("a", "b"), leader), consuming(lambda _: meet("b", "a"), leader)
    )
    assert await lane.ended(users) == ["a", "b"]  # each waits until the other has started


@on_a_lane(workers=1)
async def test_a_follower_cancelled_in_time_does_not_run(lane: Lane) -> None:
    meet = meeting(str(lane.directory))
    tasks = submit_chain(lane, call(meet, "leader", ["gate"]), noting(lane, "ran"))
    await file_appears(lane.directory / "leader")
    engine = lane.engine
    await engine.apply(engine.state.cancel_tasks(engine.now(), [tasks[1].id]))
    (lane.directory / "gate").touch()
    assert await lane.ended(tasks[:1]) == ["leader"]
    await lane.ended(lane.submit(call(meet, "next", [])))
    record = await engine.read_task(tasks[1].id)
    assert record is not None
    assert record.status is TaskStatus.CANCELLED


@on_a_lane(workers=1)
async def test_a_cancelled_leader_takes_its_followers_with_it(lane: Lane) -> None:
    meet = meeting(str(lane.directory))
    tasks = submit_chain(lane, call(meet, "leader", ["never"]), noting(lane, "ran"))
    await file_appears(lane.directory / "leader")
    engine = lane.engine
    engine.apply(engine.state.cancel_tasks(engine.now(), [tasks[0].id]))
    await lane.ended(tasks)
    assert await lane.ended(lane.submit(call(meet, "next", []))) == ["next"]
    assert times(lane, "ran") == 0


@on_a_lane(workers=1)
async def test_followers_of_a_paused_session_wait(lane: Lane) -> None:
    meet = meeting(str(lane.directory))
    tasks = submit_chain(lane, call(meet, "leader", ["gate"]), noting(lane, "ran"))
    await file_appears(lane.directory / "leader")
    engine = lane.engine
    engine.apply(engine.state.pause_session(engine.now(), lane.session))
    (lane.directory / "gate").touch()
    assert await lane.ended(tasks[:1]) == ["leader"]
    assert lane.engine.state.tasks[tasks[1].id].status is TaskStatus.PAUSED
    engine.apply(engine.state.resume_session(engine.now(), lane.session))
    assert await lane.ended(tasks) == ["leader", "leader"]


@on_a_lane()
async def test_a_follower_that_runs_elsewhere_is_not_mixed_up_with_the_one_left_behind(
    lane: Lane,
) -> None:
    """Its leader returned a graph while a slow task stood between the two."""
    meet = meeting(str(lane.directory))

    @armoflow.task
    def grow(number: int) -> Any:
        return armoflow.task(abs)(number)

    def nothing() -> None:
        pass

    await lane.ended(lane.submit(*(call(nothing) for _ in range(200))))  # large windows now
    (leader, _) = lane.submit(call(grow.function, -5), call(meet, "slow", ["gate"]))
    (follower,) = lane.submit(consuming(noting(lane, "ran"), leader))
    assert await lane.ended([follower]) == [5]
    (lane.directory / "gate").touch()
    assert await lane.ended(lane.submit(call(meet, "next", []))) == ["next"]
    assert times(lane, "ran") == 1


@on_a_lane()
async def test_one_that_is_given_back_late_takes_no_other_along(lane: Lane) -> None:
    """Its task follows another leader by then, which makes the same output."""
    late: list[tuple[Dialogue, int]] = []

    def grow(number: int) -> Any:
        return armoflow.task(abs)(number)

    def give_back(dialogue: Dialogue, serial: int) -> None:
        late.append((dialogue, serial))

    def run(dialogue: Dialogue, works: Iterable[Assignment]) -> None:
        works = list(works)
        original_run(dialogue, works)
        if late and follower.id in [work.task_id for work in works]:
            original_give_back(*late.pop())

    await lane.ended(lane.submit(*(call(abs, 1) for _ in range(200))))  # large windows now
    original_run, original_give_back = Dialogue.run, Dialogue._take_absent
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Dialogue, "run", run)
        patch.setattr(Dialogue, "_take_absent", give_back)
        (leader,) = lane.submit(replace(call(grow, -5), inline=0.0))
        (follower,) = lane.submit(consuming(noting(lane, "ran"), leader))
        assert await lane.ended([follower]) == [5]
    for one in late:  # it ran elsewhere even before it was given back
        original_give_back(*one)
    assert times(lane, "ran") == 1


@on_a_lane()
async def test_what_follows_is_made_of_the_output_that_was_stored(lane: Lane) -> None:
    place = lane.directory

    def nothing() -> None:
        pass

    def number(name: str) -> int:
        """How many have come here, this one too."""
        import itertools as tools
        from pathlib import Path as Place

        for count in tools.count(1):
            try:
                Place(place, f"{name}-{count}").touch(exist_ok=False)
            except FileExistsError:
                continue
            return count
        raise AssertionError

    def produce() -> bytes:
        import time as clock
        from pathlib import Path as Place

        count = number("produced")
        while not Place(place, "gate").exists():
            clock.sleep(0.01)
        return b"%d" % count * 300_000

    def use(data: bytes) -> bytes:
        import time as clock
        from pathlib import Path as Place

        go_on = Place(place, f"go-on-{number('used')}")
        while not go_on.exists():
            clock.sleep(0.01)
        return data[:1]

    adopt = lane.engine.objects.adopt
    faults = [FileNotFoundError("gone")]

    def lose(path: str | Path, size: int | None = None) -> Any:
        if faults:
            raise StorageError(faults.pop(), path)
        return adopt(path, size)

    lane.pace(QUICK)
    lane.engine.objects.adopt = lose  # type: ignore[method-assign]
    busy = lane.submit(call(meeting(str(place)), "busy", ["free"]))
    await file_appears(place / "busy")  # in the other child, which takes nothing over meanwhile
    source, reader = submit_chain(lane, call(produce), use)
    await file_appears(place / "produced-1")
    lane.submit(consuming(len, source))  # with two that wait for it, none follows it again
    (place / "gate").touch()
    # A child goes on to the follower with an output that is lost; the other one makes both anew.
    await file_appears(place / "used-1")
    (place / "free").touch()
    await lane.ended(busy)
    await file_appears(place / "used-2")
    (place / "go-on-1").touch()
    await lane.ended(lane.submit(call(nothing)))  # in the child that is free now
    (place / "go-on-2").touch()
    assert await lane.ended([reader]) == [b"2"]


@pytest.mark.parametrize("position", [0, 1, 2])
def test_a_child_that_dies_in_a_chain_costs_one_attempt(tmp_path: Path, position: int) -> None:
    @on_a_lane()
    async def test(lane: Lane) -> None:
        once = str(lane.directory / "died")

        def die_once(value: int) -> int:
            import os as system
            from pathlib import Path as Place

            if not Place(once).exists():
                Place(once).touch()
                system.kill(system.getpid(), 9)
            return value

        names = ["first", "second", "third", "fourth"]
        steps = [noting(lane, name) for name in names]
        steps.insert(position, die_once)
        tasks = submit_chain(lane, call(steps[0], 7), *steps[1:])
        assert await lane.ended(tasks) == [7] * 5
        assert [times(lane, name) for name in names] == [1] * 4

    test(tmp_path)


@on_a_lane()
async def test_chains_side_by_side(lane: Lane) -> None:
    def inc(value: int) -> int:
        return value + 1

    chains = [submit_chain(lane, call(inc, 0), *[inc] * 40) for _ in range(20)]
    assert await lane.ended(list(itertools.chain.from_iterable(chains))) == [*range(1, 42)] * 20
