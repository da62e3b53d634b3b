"""From the queue to the engine: whoever cancels a task at any moment, the engine is told of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, cast

import pytest

from armoflow import config
from armoflow.codec.payload import Operation, Payload
from armoflow.orchestrator.backlog import Backlog
from armoflow.orchestrator.cancelling import Canceller
from armoflow.orchestrator.planned import PlannedTask, Result
from armoflow.orchestrator.run import Run
from armoflow.orchestrator.submit import Pipeline
from armoflow.orchestrator.targets import WaitingTarget
from armoflow.orchestrator.tracker import Tracker
from armoflow.protocol.submission import WireOptions
from armoflow.protocol.transport import Transport


class Wire:
    """A transport that takes two turns of the loop for a submission."""

    batches = 1
    collecting = 0.0

    def __init__(self) -> None:
        self.given: list[str] = []

    async def submit(
        self,
        session_id: str,
        tasks: Sequence[PlannedTask],
        named: Callable[[], None],
        note: object = None,
    ) -> None:
        for task in tasks:
            task.task_id = task.outputs[0].id = task.name
        named()
        self.given += [task.task_id for task in tasks]
        for _ in range(2):
            await asyncio.sleep(0)


class Plan:
    """A run of one target, as those see it who cancel it."""

    planned = True
    stopped = False
    planner = object()

    def __init__(self, target: WaitingTarget) -> None:
        self.targets = [target]

    def live(self) -> bool:
        return any(not target.cancelled for target in self.targets)

    def stop(self) -> None:
        self.stopped = True


def make_pipeline(
    wire: Wire, tracker: Tracker, tell: Callable[[Sequence[PlannedTask]], None], backlog: Backlog
) -> Pipeline:
    async def session() -> str:
        return "session"

    async def settle() -> None:
        raise AssertionError("nothing is refused")

    return Pipeline(
        cast(Transport, wire),
        session,
        tracker,
        settle,
        tell,
        backlog=backlog,
        release=lambda _, size: None,
        unfreed=lambda: 0,
        session_ended=lambda error: None,
    )


def make_task(name: str) -> PlannedTask:
    return PlannedTask(Payload(Operation.CALL, name), [], [Result(name)], WireOptions(60.0))


async def cancelled_after(turns: int) -> tuple[list[str], list[str]]:
    """What the engine was given, and told to cancel, if all is cancelled so many turns later."""
    told: list[str] = []
    wire = Wire()
    tracker = Tracker()

    def tell(tasks: Sequence[PlannedTask]) -> None:
        told.extend(task.task_id for task in tasks if task.task_id)

    pipeline = make_pipeline(wire, tracker, tell, Backlog(None))
    target = WaitingTarget(cast(Any, None), lambda *_: None, lambda _: None)
    run = cast(Run, Plan(target))
    for name in "abc":
        task = make_task(name)
        task.run = run.planner
        pipeline.put(task)
    running = asyncio.create_task(pipeline.run())
    for _ in range(turns):
        await asyncio.sleep(0)
    assert Canceller(tracker, pipeline, tell).cancel(run, target)
    for _ in range(12):
        await asyncio.sleep(0)
    assert not tracker.open
    running.cancel()
    return wire.given, told


@pytest.mark.parametrize("turns", range(12))
def test_what_the_engine_has_is_cancelled_there(turns: int) -> None:
    given, told = asyncio.run(cancelled_after(turns))
    assert sorted(told) == given
    if turns > 8:
        assert given == ["a", "b", "c"]


def test_the_last_is_cancelled_first() -> None:
    """Else those that wait would take the place of those that are stopped."""
    _, told = asyncio.run(cancelled_after(12))
    assert told == ["c", "b", "a"]


def test_a_batch_ends_with_the_task_that_names_very_many_results(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each of a batch's results costs the engine, whoever's it is."""
    monkeypatch.setattr(config, "BATCH_LINKS", 10)
    wire = Wire()
    batches: list[list[str]] = []
    submit = wire.submit

    async def watched(session: str, tasks: Sequence[PlannedTask], *rest: Any) -> None:
        batches.append([task.name for task in tasks])
        await submit(session, tasks, *rest)

    wire.submit = watched  # type: ignore[method-assign]

    async def run() -> None:
        pipeline = make_pipeline(wire, Tracker(), lambda tasks: None, Backlog(None))
        for name, count in (("a", 1), ("b", 1), ("c", 9), ("d", 4), ("e", 12), ("f", 1)):
            outputs = [Result(f"{name}{number}") for number in range(count)]
            task = PlannedTask(Payload(Operation.CALL, name), [], outputs, WireOptions(60.0))
            pipeline.put(task)
        running = asyncio.create_task(pipeline.run())
        while sum(map(len, batches)) < 6:
            await asyncio.sleep(0)
        running.cancel()

    asyncio.run(asyncio.wait_for(run(), 30))
    assert batches == [["a", "b", "c"], ["d", "e"], ["f"]]


class Defect(Exception):
    """What nobody has thought of."""


class FaultyBacklog(Backlog):
    def offer(self, task: PlannedTask) -> bool:
        if task.name == "b":
            raise Defect("met")
        return super().offer(task)


def test_who_waits_for_what_a_defect_has_met_is_told_and_others_go_on() -> None:
    async def run() -> list[str]:
        wire, tracker = Wire(), Tracker()
        pipeline = make_pipeline(wire, tracker, lambda tasks: None, FaultyBacklog(None))
        met = [make_task(name) for name in "abc"]
        results = [task.outputs[0] for task in met]
        for task in met:
            pipeline.put(task)
        running = asyncio.create_task(pipeline.run())
        for _ in range(12):
            await asyncio.sleep(0)
        assert [str(each.blame and each.blame.exception(b"", 0)) for each in results] == ["met"] * 3
        pipeline.put(make_task("d"))
        for _ in range(12):
            await asyncio.sleep(0)
        assert not running.done()
        running.cancel()
        return wire.given

    assert asyncio.run(run()) == ["d"]
