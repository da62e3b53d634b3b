"""Memory that ends anywhere in a command: no outcome is lost, here or after a restart."""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from engine_support import Running, in_loop
from serving import serve

from armoflow import Client, task
from armoflow.agent.effects import ChildTask, CreatedResult, Effects
from armoflow.engine import commits, core, rounds, scheduler
from armoflow.engine.agents.lane import LaneAgent
from armoflow.engine.records import FINAL, NewTask, ResultStatus, StateError, TaskStatus
from armoflow.engine.state import State, committing
from armoflow.errors import EngineError

STATE = str(Path(committing.__file__).parent)
PLACES = (core.__file__, commits.__file__, rounds.__file__, scheduler.__file__)
SEEDS = 100


@task(max_retries=2)
def double(number: int) -> int:
    return 2 * number


class Ending:
    """Memory ends at a line of the engine's commands, the so-manieth that is run."""

    def __init__(self, line: int) -> None:
        self.left = line
        self.place = ""

    def trace(self, frame: FrameType, event: str, _: Any) -> Any:
        """A trace function."""
        name = frame.f_code.co_filename
        if not (name.startswith(STATE) or name in PLACES):
            return None
        if event == "line":
            self.left -= 1
            if self.left == 0:
                self.place = f"{Path(name).name}:{frame.f_lineno}"
                raise MemoryError("no memory left")
        return self.trace

    @contextmanager
    def armed(self) -> Iterator[None]:
        """It may end in what is run here."""
        before = sys.gettrace()
        sys.settrace(self.trace)
        try:
            yield
        except MemoryError:
            pass
        finally:
            sys.settrace(before)


def effects_of(running: Running, task_id: str, dice: random.Random) -> Effects:
    """What a task does: some hand their output to a child."""
    engine = running.engine
    task = engine.state.tasks[task_id]
    if task.depth > 1 or dice.random() < 0.5:
        return Effects(data=dict.fromkeys(task.outputs, b"value"))
    between = CreatedResult(engine.new_id(), "between")
    return Effects(
        [between],
        {"~1": b"code"},
        [ChildTask("~1", [], [between.id]), ChildTask("~1", [between.id], [*task.outputs])],
    )


async def play(running: Running, ending: Ending, dice: random.Random) -> None:
    """Run what is queued, to its end, or to the engine's."""
    engine = running.engine
    while not engine.failed.done():
        with ending.armed():
            running.take(3)
        held = [*engine.scheduler.running]
        # What was marked as running, and never came to its agent, is of no agent that is there.
        lost = [
            task.id
            for task in engine.state.tasks.values()
            if task.status is TaskStatus.PROCESSING and task.id not in held
        ]
        if engine.failed.done():
            break
        assert not lost
        if not held:
            break
        for task_id in held:
            task = engine.state.tasks.get(task_id)
            if task is None or task.status is not TaskStatus.PROCESSING:
                continue
            way = dice.random()
            effects = effects_of(running, task_id, dice)
            with ending.armed(), suppress(StateError):
                if way < 0.7:
                    engine.complete([(task_id, effects)])
                elif way < 0.8:
                    engine.fail(task_id, "it failed", retry=True)
                elif way < 0.9:
                    engine.fail(task_id, "it failed")
                else:
                    engine.apply(engine.state.cancel_tasks(engine.now(), [task_id]))
                    engine.apply(engine.state.stopped(engine.now(), [task_id]))
            if engine.failed.done():
                break
        with suppress(EngineError):
            await engine.committed()


@pytest.mark.parametrize("seed", range(SEEDS))
@in_loop
async def test_no_outcome_is_lost_wherever_memory_ends(tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    ending = Ending(dice.randrange(1, 6_000))
    outputs: list[str] = []
    async with Running(tmp_path) as running:
        engine = running.engine
        running.open_session()
        await engine.committed()
        before: tuple[str, ...] = ()
        for number in range(6):
            task: NewTask | None = None
            with ending.armed():
                task = running.submit(dependencies=before if number % 2 else ())
            if engine.failed.done() or task is None:
                break
            with suppress(EngineError):
                await engine.committed()
                outputs.append(task.outputs[0])  # acknowledged
            before = task.outputs
        await play(running, ending, dice)
        ended = engine.failed.done()
        assert not ended or "memory ended" in str(engine.failed.exception())
    if ended:
        async with Running(tmp_path) as running:
            ending.left = 0
            await play(running, ending, dice)
            await check(running, outputs, ending)
    else:
        async with Running(tmp_path) as running:
            await check(running, outputs, ending)


async def check(running: Running, outputs: list[str], ending: Ending) -> None:
    engine = running.engine
    await engine.committed()
    found = await engine.read_results(outputs)
    assert found.keys() == set(outputs), ending.place
    final = (ResultStatus.COMPLETED, ResultStatus.ABORTED)
    assert all(result.status in final for result in found.values()), ending.place
    assert all(task.status in FINAL for task in engine.state.tasks.values()), ending.place


@in_loop
async def test_a_success_that_cannot_be_committed_fails_its_own_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Running(tmp_path) as running:
        engine = running.engine
        running.open_session()
        tasks = [running.submit() for _ in range(5)]
        running.take()
        commit = State._commit

        def sometimes(state: State, changes: Any, now: float, success: Any) -> None:
            if success[0] == tasks[2].id:
                raise KeyError("of the engine's own")
            commit(state, changes, now, success)

        monkeypatch.setattr(State, "_commit", sometimes)
        engine.complete([(one.id, Effects(data={one.outputs[0]: b"value"})) for one in tasks])
        await engine.committed()
        ends = [engine.state.results[one.outputs[0]].status for one in tasks]
        expected = [ResultStatus.COMPLETED] * 5
        expected[2] = ResultStatus.ABORTED
        assert ends == expected
        record = await engine.read_task(tasks[2].id)
        assert record is not None and "could not be committed: KeyError" in record.error


@in_loop
async def test_ends_that_the_lane_cannot_take_are_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve(tmp_path / "state", workers=1) as serving:
        failures = ["first"]

        def sometimes(agent: LaneAgent, *arguments: Any) -> None:
            if failures:
                failures.pop()
                raise KeyError("of the engine's own")
            end(agent, *arguments)

        end = LaneAgent._end
        monkeypatch.setattr(LaneAgent, "_end", sometimes)

        def work() -> int:
            with Client(serving.server.address.url) as client:
                return client.compute(double(2), timeout=60)

        assert await asyncio.to_thread(work) == 4
        assert not failures
