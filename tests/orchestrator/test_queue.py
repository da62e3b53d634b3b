"""The queue between planning threads and the loop: nothing is lost or out of order."""

from __future__ import annotations

import asyncio
import threading

import pytest

from armoflow import config
from armoflow.codec.payload import Operation, Payload
from armoflow.errors import ClientClosedError
from armoflow.orchestrator.constant import Constant
from armoflow.orchestrator.planned import PlannedTask, Result
from armoflow.orchestrator.queue import PlanQueue
from armoflow.protocol.submission import WireOptions

THREADS = 4
EACH = 2_000


def planned(name: str, size: int = 1) -> PlannedTask:
    task = PlannedTask(Payload(Operation.CALL, name), [], [Result(name)], WireOptions(60.0))
    task.size = size
    return task


def counted(queue: PlanQueue) -> tuple[int, int, int]:
    return len(queue), queue.bytes, queue.items


def test_threads_put_while_the_loop_looks_and_takes() -> None:
    async def run() -> None:
        queue = PlanQueue([])
        taken: dict[str, list[int]] = {}

        def plan(thread: int) -> None:
            for number in range(EACH):
                queue.put(planned(f"{thread}/{number}"))

        threads = [
            threading.Thread(target=plan, args=(number,), daemon=True) for number in range(THREADS)
        ]
        for thread in threads:
            thread.start()
        left = THREADS * EACH
        while left:
            await queue.wait()
            while len(queue):
                assert all(isinstance(task, PlannedTask) for task in queue.tasks())
                entry = queue.take()
                assert isinstance(entry, PlannedTask)
                thread_name, number = entry.name.split("/")
                taken.setdefault(thread_name, []).append(int(number))
                left -= 1
                queue.freed()
        for thread in threads:
            thread.join()
        assert [len(numbers) for numbers in taken.values()] == [EACH] * THREADS
        assert all(numbers == sorted(numbers) for numbers in taken.values())
        assert counted(queue) == (0, 0, 0)

    asyncio.run(run())


def test_a_plan_waits_for_room_and_goes_on_when_it_is_told() -> None:
    under_way: list[int] = []

    async def run() -> None:
        queue = PlanQueue(under_way)
        under_way.extend(range(config.TASKS_UNDER_WAY))
        put = asyncio.create_task(asyncio.to_thread(queue.put, planned("a")))
        while not queue._waiting:
            await asyncio.sleep(0.001)
        queue.freed()  # there is none yet
        queue.put(lambda: None)  # what is to be told never waits
        assert len(queue) == 1
        under_way.clear()
        queue.freed()
        await put
        assert len(queue) == 2

    asyncio.run(run())


def test_closing_lets_waiting_plans_go() -> None:
    async def run() -> None:
        queue = PlanQueue(range(config.TASKS_UNDER_WAY))
        put = asyncio.create_task(asyncio.to_thread(queue.put, planned("a")))
        while not queue._waiting:
            await asyncio.sleep(0.001)
        queue.close()
        with pytest.raises(ClientClosedError):
            await put
        with pytest.raises(ClientClosedError):
            queue.put(lambda: None)
        assert queue.closed
        assert queue.take() is None

    asyncio.run(run())


def test_what_is_dropped_is_not_counted_and_what_is_to_be_told_stays_in_order() -> None:
    async def run() -> None:
        queue = PlanQueue([])
        told: list[int] = []
        for number in range(3):
            queue.put(planned("task", size=5))
            queue.put(Constant("constant", [b"data"]))
            queue.put(lambda number=number: told.append(number))  # type: ignore[misc]
        assert counted(queue) == (9, 27, 3)
        queue.drop()
        assert counted(queue) == (3, 0, 0)
        while (entry := queue.take()) is not None:
            assert callable(entry)
            entry()
        assert told == [0, 1, 2]

    asyncio.run(run())
