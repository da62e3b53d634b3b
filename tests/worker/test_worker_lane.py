from __future__ import annotations

import asyncio
import functools
import itertools
import sqlite3
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from lanes import QUICK, Lane, consuming, meeting, on_a_lane
from seats import KEY, PATIENCE, call, file_appears

import armoflow
from armoflow.codec.failure import ErrorRecord
from armoflow.codec.payload import Settings
from armoflow.config import ERROR_RECORD_LIMIT
from armoflow.engine.meter import Meter
from armoflow.engine.records import ApiOptions, NewTask, TaskStatus
from armoflow.worker import vigil
from armoflow.worker.supervisor import ChildSupervisor


@on_a_lane()
async def test_many_tasks_all_end_with_their_values(lane: Lane) -> None:
    def square(value: int) -> int:
        return value * value

    tasks = lane.submit(*(call(square, number) for number in range(500)))
    assert await lane.ended(tasks) == [number * number for number in range(500)]


@on_a_lane(workers=2)
async def test_nothing_is_put_behind_a_task_that_takes_long(lane: Lane) -> None:
    """Its child may stand still: who runs a task a second time gains nothing there."""
    meet = meeting(str(lane.directory))
    held = lane.submit(call(meet, "held", ["go on"]))
    await file_appears(lane.directory / "held")
    (seat,) = (seat for seat in lane.agent._seats if seat.load)
    seat.window.size = 100
    while not seat.held_up:
        await asyncio.sleep(0.01)
    others = lane.submit(*(call(meet, f"other {number}", []) for number in range(50)))
    ending = asyncio.ensure_future(lane.ended(others))
    while not ending.done():
        assert seat.load == 1
        await asyncio.sleep(0)
    assert len(await ending) == 50
    (lane.directory / "go on").touch()
    assert await lane.ended(held) == ["held"]
    assert not seat.held_up


@on_a_lane(workers=1)
async def test_directories_that_were_swept_are_made_again(lane: Lane) -> None:
    """Whoever cleans up temporary files may find them old."""

    def large(sweeps: str) -> bytes:
        import shutil

        if sweeps:
            shutil.rmtree(sweeps)
        return bytes(100_000)

    directory = lane.directory / "state" / "agents"
    tasks = lane.submit(call(large, str(directory)), call(large, ""))
    assert await lane.ended(tasks) == [bytes(100_000)] * 2


@on_a_lane(memory_limit=1)
async def test_data_that_is_not_in_memory_is_read(lane: Lane) -> None:
    def add(left: int, right: int) -> int:
        return left + right

    first = lane.submit(*(call(add, number, 1) for number in range(20)))
    await lane.ended(first)
    pairs = itertools.pairwise(first)
    second = lane.submit(*(consuming(add, *pair) for pair in pairs))
    assert await lane.ended(second) == [2 * number + 3 for number in range(19)]


@on_a_lane(memory_limit=1)
async def test_inputs_that_cannot_be_read_are_read_again(lane: Lane) -> None:
    def add(left: int, right: int) -> int:
        return left + right

    first = lane.submit(call(add, 1, 0), call(add, 1, 2))
    await lane.ended(first)
    read_many = lane.engine.objects.read_many
    faults: list[Exception] = [MemoryError("no memory"), sqlite3.DatabaseError("broken")]

    async def meet_faults(opaque_ids: Iterable[bytes]) -> dict[bytes, bytes | Path]:
        if faults:
            raise faults.pop()
        return await read_many(opaque_ids)

    lane.engine.objects.read_many = meet_faults  # type: ignore[method-assign]
    (second,) = lane.submit(consuming(add, *first))
    assert await lane.ended([second]) == [4]
    assert not faults
    record = await lane.engine.read_task(f"{second.id}###1")
    assert record is not None
    assert record.error == f"the inputs of task {record.id} cannot be read: no memory"


@on_a_lane()
async def test_a_task_whose_output_vanished_is_done_again_with_what_follows(lane: Lane) -> None:
    def produce() -> bytes:
        return b"x" * 300_000

    def measure(data: bytes) -> int:
        return len(data)

    adopt = lane.engine.objects.adopt
    vanished = []

    def lose(path: str | Path, size: int | None = None) -> Any:
        if not vanished:
            vanished.append(path)
            Path(path).unlink()
        return adopt(path, size)

    lane.engine.objects.adopt = lose  # type: ignore[method-assign]
    (source,) = lane.submit(call(produce))
    (reader,) = lane.submit(consuming(measure, source))
    assert await lane.ended([reader]) == [300_000]
    assert vanished
    record = await lane.engine.read_task(source.id)
    assert record is not None and record.status is TaskStatus.RETRIED


@on_a_lane()
async def test_a_task_whose_output_vanishes_each_time_ends(lane: Lane) -> None:
    def produce() -> bytes:
        return b"x" * 300_000

    def measure(data: bytes) -> int:
        return len(data)

    adopt = lane.engine.objects.adopt

    def lose(path: str | Path, size: int | None = None) -> Any:
        Path(path).unlink()
        return adopt(path, size)

    lane.engine.objects.adopt = lose  # type: ignore[method-assign]
    (source,) = lane.submit(call(produce))
    (reader,) = lane.submit(consuming(measure, source))
    error = (await lane.ended([source, reader]))[1]
    assert isinstance(error, str) and "no such file" in error


@on_a_lane()
async def test_large_data_goes_through_files(lane: Lane) -> None:
    def produce() -> bytes:
        return b"x" * 300_000

    def measure(data: bytes) -> int:
        return len(data)

    (source,) = lane.submit(call(produce))
    (reader,) = lane.submit(consuming(measure, source))
    assert await lane.ended([reader]) == [300_000]
    assert isinstance(await lane.engine.objects.read(lane.result(source).opaque_id), Path)


@on_a_lane()
async def test_a_failure_reaches_the_dependents(lane: Lane) -> None:
    def broken() -> int:
        raise OverflowError("too much")

    def use(value: int) -> int:
        return value

    (bad,) = lane.submit(call(broken))
    (user,) = lane.submit(consuming(use, bad))
    for record in await lane.ended([bad, user]):
        assert isinstance(record, ErrorRecord)
        assert record.type_name == "OverflowError"


@on_a_lane()
async def test_a_returned_graph_takes_the_tasks_place(lane: Lane) -> None:
    @armoflow.task
    def add(left: int, right: int) -> int:
        return left + right

    @armoflow.task
    def fibonacci(number: int) -> Any:
        if number < 2:
            return number
        return add(fibonacci(number - 1), fibonacci(number - 2))

    tasks = lane.submit(call(fibonacci.function, 8))
    assert await lane.ended(tasks) == [21]


@on_a_lane()
async def test_two_tasks_run_at_once(lane: Lane) -> None:
    meet = meeting(str(lane.directory))
    for _ in range(3):
        tasks = lane.submit(call(meet, "a", "b"), call(meet, "b", "a"))
        assert await lane.ended(tasks) == ["a", "b"]
        for name in ("a", "b"):
            (lane.directory / name).unlink()


@on_a_lane()
async def test_what_waits_behind_a_long_task_moves_to_an_idle_child(lane: Lane) -> None:
    lane.pace(QUICK)
    meet = meeting(str(lane.directory))
    names = [f"task-{number}" for number in range(20)]
    waiting = call(meet, "first", names)
    tasks = lane.submit(waiting, *(call(meet, name, []) for name in names))
    assert await lane.ended(tasks) == ["first", *names]


def test_an_idle_child_waits_for_no_check_to_get_what_is_behind_a_long_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vigil, "_CHECK_SECONDS", 3600.0)
    silences = [0.0] * 4  # at first it seems to run quick tasks, as it did before
    silence = property(lambda _: silences.pop() if silences else 1.0)
    monkeypatch.setattr(ChildSupervisor, "silence", silence)
    test_what_waits_behind_a_long_task_moves_to_an_idle_child(tmp_path)


async def _wait_behind_one(lane: Lane) -> tuple[list[NewTask], Path]:
    """Quick tasks that were sent ahead, behind the first one, which waits for a file."""

    lane.pace(QUICK)
    gate = lane.directory / "last"
    meet = meeting(str(lane.directory))
    tasks = lane.submit(call(meet, "first", ["last"]), *(call(meet, str(n), []) for n in range(3)))
    await file_appears(lane.directory / "first")
    live = lane.engine.state.tasks
    while [live[task.id].status for task in tasks[1:]] != 3 * [TaskStatus.DISPATCHED]:
        await asyncio.sleep(0.005)  # the child is looked at now and then
    return tasks, gate


@on_a_lane(workers=1)
async def test_what_waits_behind_a_long_task_is_not_said_to_run(lane: Lane) -> None:
    tasks, gate = await _wait_behind_one(lane)
    live = [lane.engine.state.tasks[task.id] for task in tasks]
    assert live[0].status is TaskStatus.PROCESSING
    assert [task.started_at for task in live[1:]] == [None, None, None]
    reading = Meter(lane.engine).read()
    assert (reading.running["default"], reading.queued["default"]) == (1, 3)
    gate.touch()
    assert await lane.ended(tasks) == ["first", "0", "1", "2"]
    await lane.engine.committed()
    ended = [await lane.engine.read_task(task.id) for task in tasks]
    spans = [(task.started_at, task.processed_at) for task in ended if task is not None]
    assert all(before[1] <= after[0] + 0.01 for before, after in itertools.pairwise(spans))


@on_a_lane(workers=1)
async def test_what_waits_behind_a_long_task_is_held_by_a_pause(lane: Lane) -> None:
    tasks, gate = await _wait_behind_one(lane)
    engine, live = lane.engine, lane.engine.state.tasks
    engine.apply(engine.state.pause_session(engine.now(), lane.session, engine.scheduler.running))
    assert [live[task.id].status for task in tasks[1:]] == 3 * [TaskStatus.PAUSED]
    gate.touch()
    assert await lane.ended(tasks[:1]) == ["first"]
    engine.apply(engine.state.resume_session(engine.now(), lane.session))
    assert await lane.ended(tasks) == ["first", "0", "1", "2"]


@on_a_lane()
async def test_a_cancelled_task_is_killed_and_others_go_on(lane: Lane) -> None:
    meet = meeting(str(lane.directory))
    for_ever, quick = lane.submit(call(meet, "here", ["never"]), call(meet, "quick", []))
    await file_appears(lane.directory / "here")
    engine = lane.engine
    engine.apply(engine.state.cancel_tasks(engine.now(), [for_ever.id]))
    tasks = lane.submit(call(meet, "a", "b"), call(meet, "b", "a"))
    assert await lane.ended([quick, *tasks]) == ["quick", "a", "b"]
    await lane.ended([for_ever])
    record = await engine.read_task(for_ever.id)
    assert record is not None
    assert record.status is TaskStatus.CANCELLED


@on_a_lane()
async def test_a_dead_child_costs_only_what_it_ran(lane: Lane) -> None:
    log = str(lane.directory / "log")

    def die_once(value: int) -> int:
        import os as system
        from pathlib import Path as Place

        with Place(log).open("a") as file:
            file.write(f"{value}\n")
        if value == 33 and Place(log).read_text().split().count("33") == 1:
            system.kill(system.getpid(), 9)
        return value

    tasks = lane.submit(*(call(die_once, number) for number in range(100)))
    assert await lane.ended(tasks) == list(range(100))
    lines = Path(log).read_text().split()
    assert sorted(lines, key=int) == sorted([*map(str, range(100)), "33"], key=int)


@on_a_lane()
async def test_a_timeout_is_told(lane: Lane) -> None:
    def sleep() -> None:
        import time as clock

        clock.sleep(1000)

    (task,) = lane.submit(call(sleep, settings=Settings(timeout=0.2)))
    (record,) = await lane.ended([task])
    assert record.kind == "timeout"


@on_a_lane()
async def test_a_task_past_its_max_duration_is_killed(lane: Lane) -> None:
    """As the deadline of Process on a cluster: no retry, and the status says timeout."""
    meet = meeting(str(lane.directory))
    endless = call(meet, "here", ["never"])
    (task,) = lane.submit(endless, options=ApiOptions(max_duration=0.3, priority=1))
    assert "max_duration of 0.3 s" in (await lane.ended([task]))[0]
    record = await lane.engine.read_task(task.id)
    assert record is not None
    assert record.status is TaskStatus.TIMEOUT
    assert await lane.ended(lane.submit(call(meet, "next", []))) == ["next"]


def test_stopping_gives_tasks_back(tmp_path: Path) -> None:
    async def test() -> None:
        async with Lane(tmp_path) as lane:
            meet = meeting(str(tmp_path))
            tasks = lane.submit(*(call(meet, f"task-{n}", ["gate"]) for n in range(5)))
            await file_appears(tmp_path / "task-0")
            await lane.agent.stop()
            statuses = {lane.engine.state.tasks[task.id].status for task in tasks}
            assert statuses == {TaskStatus.SUBMITTED}
            (tmp_path / "gate").touch()
            await lane.hire()
            assert await lane.ended(tasks) == [f"task-{n}" for n in range(5)]

    asyncio.run(asyncio.wait_for(test(), PATIENCE))


@pytest.mark.parametrize("workers", [1, 3])
def test_any_number_of_workers(tmp_path: Path, workers: int) -> None:
    async def test() -> None:
        async with Lane(tmp_path, workers=workers) as lane:
            add = functools.partial(call, max)
            tasks = lane.submit(*(add(number, 3) for number in range(50)))
            assert await lane.ended(tasks) == [max(number, 3) for number in range(50)]

    asyncio.run(asyncio.wait_for(test(), PATIENCE))


@on_a_lane()
async def test_a_long_error_is_kept_whole_with_its_task_and_short_with_dependents(
    lane: Lane,
) -> None:
    message = "the beginning " + "".join(str(number) for number in range(20_000)) + " the reason"

    def fails() -> None:
        raise ValueError(message)

    def need(value: object) -> object:
        return value

    (root,) = lane.submit(call(fails))
    dependents = lane.submit(*(consuming(need, root) for _ in range(3)))
    await lane.ended([root, *dependents])
    task = await lane.engine.read_task(root.id)
    assert task is not None
    found = ErrorRecord.find(task.error, KEY)
    assert found is not None and found.message == message
    for dependent in dependents:
        task = await lane.engine.read_task(dependent.id)
        assert task is not None
        assert len(task.error) < ERROR_RECORD_LIMIT + 200
        found = ErrorRecord.find(task.error, KEY)
        assert found is not None and found.task_id == root.id
        assert found.message.endswith("the reason")


@on_a_lane(workers=1)
async def test_another_sessions_call_runs_before_what_was_sent_ahead(lane: Lane) -> None:
    log, gate = lane.directory / "log", lane.directory / "gate"

    def step(name: str, log: str, gate: str) -> None:
        import time as clock
        from pathlib import Path as Place

        with Place(log).open("a") as file:
            file.write(f"{name}\n")
        while name == "held" and not Place(gate).exists():
            clock.sleep(0.005)

    async def until(condition: Callable[[], bool]) -> None:
        while not condition():
            await asyncio.sleep(0.005)

    lane.pace(0.02)
    names = ["held", "ahead", "after"]
    queued = lane.submit(*(call(step, name, str(log), str(gate)) for name in names))
    await until(lambda: log.exists() and "held" in log.read_text())
    (seat,) = lane.agent._seats
    await until(lambda: [work.task_id for work in seat.works] == [task.id for task in queued[:2]])
    first, lane.session = lane.session, lane.open_session()
    single = lane.submit(call(step, "single", str(log), str(gate)))
    await until(lambda: seat.load == 1)  # what was sent ahead is back
    gate.touch()
    await lane.ended(single)
    lane.session = first
    await lane.ended(queued)
    assert log.read_text().splitlines() == ["held", "single", "ahead", "after"]


def noting_in(log: str) -> Callable[[str], str]:
    def noting(name: str) -> str:
        import os
        import time as clock

        for moment in ("+", "-"):
            fd = os.open(log, os.O_WRONLY | os.O_APPEND)
            os.write(fd, f"{moment}{name} ".encode())
            os.close(fd)
            clock.sleep(0.05 if moment == "+" else 0)
        return name

    return noting


@pytest.mark.parametrize(
    "wants", [{"armoflow.cpus": "2"}, {"armoflow.cpus": "99"}, {"armoflow.memory": str(2**60)}]
)
def test_a_task_of_several_slots_runs_while_the_others_are_idle(
    tmp_path: Path, wants: dict[str, str]
) -> None:
    @on_a_lane()
    async def check(lane: Lane) -> None:
        log = tmp_path / "log"
        log.touch()
        names = ["a", "b", "LARGE", "c", "d", "LARGER", "e"]
        tasks = []
        for name in names:
            options = ApiOptions(options=wants) if name.isupper() else None
            tasks += lane.submit(call(noting_in(str(log)), name), options=options)
        assert await lane.ended(tasks) == names
        order = log.read_text().split()
        for name in ("LARGE", "LARGER"):
            begun = order.index(f"+{name}")
            assert order[begun + 1] == f"-{name}"
            ended = {one[1:] for one in order[:begun] if one[0] == "-"}
            assert {one[1:] for one in order[:begun] if one[0] == "+"} == ended
        assert order.index("+LARGE") < order.index("+e")  # nobody keeps it waiting

    check(tmp_path)


def test_a_task_of_several_slots_that_is_cancelled_leaves_them(tmp_path: Path) -> None:
    @on_a_lane()
    async def check(lane: Lane) -> None:
        begun = tmp_path / "begun"

        def hang(path: str) -> None:
            import time as clock
            from pathlib import Path as Place

            Place(path).touch()
            clock.sleep(3600)

        def fine() -> str:
            return "fine"

        two = ApiOptions(options={"armoflow.cpus": "2"})
        running, waiting = lane.submit(
            call(hang, str(begun)), call(hang, str(tmp_path / "never")), options=two
        )
        after = lane.submit(call(fine), call(fine))
        await file_appears(begun)
        state = lane.engine.state
        changes = state.cancel_tasks(lane.engine.now(), [waiting.id, running.id])
        lane.engine.apply(changes)
        assert await lane.ended(after) == ["fine", "fine"]
        assert not (tmp_path / "never").exists()

    check(tmp_path)
