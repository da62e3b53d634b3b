"""Data goes when no retry may need it any more."""

from __future__ import annotations

import asyncio
import gc
import logging
import warnings
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from armoflow import config
from armoflow.codec.payload import Operation, Payload
from armoflow.errors import ArmoflowError, EngineError, EngineUnreachableError
from armoflow.orchestrator.constant import Constant
from armoflow.orchestrator.freeing import Freeing
from armoflow.orchestrator.planned import PlannedTask, Result
from armoflow.orchestrator.queue import PlanQueue
from armoflow.protocol.engine_info import EngineInfo
from armoflow.protocol.submission import WireOptions
from armoflow.protocol.transport import EndedTasks


class Engine:
    """A transport that says which tasks are over, and remembers what was deleted."""

    def __init__(self, version: str = "0.40.1") -> None:
        self.info = EngineInfo(version, (), 1024)
        self.over: set[str] = set()
        self.sizes: dict[str, int] = {}
        self.deleted: list[str] = []
        self.asked: list[list[str]] = []
        self.error: ArmoflowError | None = None

    async def ended_tasks(self, session_id: str, tasks: dict[str, Sequence[str]]) -> EndedTasks:
        self.asked.append(list(tasks))
        if self.error is not None:
            raise self.error
        return EndedTasks(self.over & set(tasks), self.sizes)

    async def delete(self, session_id: str, result_ids: Sequence[str]) -> None:
        self.deleted += result_ids


class Stage:
    """A freeing under way; its engine, and how often plans were told."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.told = 0
        self.session: str | None = "session"
        self._calls: set[asyncio.Task[None]] = set()
        transport: Any = engine
        self.freeing = Freeing(transport, lambda: self.session, self._spare, self._freed)

    def _freed(self) -> None:
        self.told += 1

    def _spare(self, without: str, call: Callable[[], Awaitable[None]]) -> None:
        self._calls.add(asyncio.ensure_future(call()))

    def end(self, task: PlannedTask) -> None:
        """A task's outputs have come; it lets go of everything."""
        task.on_end = self.freeing.ended
        for result in (*task.inputs, *task.outputs):
            result.on_release = self.freeing.release
        task.let_go()

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            await asyncio.sleep(0.005)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "SETTLE_DELAY", 0.01)
    monkeypatch.setattr(config, "SETTLE_INTERVAL", 0.01)
    monkeypatch.setattr(config, "RELEASE_DELAY", 0.0)


def play(scene: Callable[[Stage], Awaitable[None]], engine: Engine | None = None) -> Engine:
    """Run a scene in which it is asked for tasks."""
    played = engine or Engine()

    async def run() -> None:
        stage = Stage(played)
        asking = asyncio.ensure_future(stage.freeing.unsettled.run())
        await asyncio.wait_for(scene(stage), 30)
        asking.cancel()

    asyncio.run(run())
    return played


def planned(name: str, *inputs: Result) -> PlannedTask:
    task = PlannedTask(Payload(Operation.MAP, name), inputs, [result(f"{name}-out")], OPTIONS)
    task.task_id, task.payload_id = name, f"{name}-payload"
    task.size = 10
    return task


OPTIONS = WireOptions(60.0)


def result(name: str) -> Result:
    made = Result(name)
    made.id = name
    return made


def test_what_a_retry_may_need_stays_until_the_task_is_over() -> None:
    async def scene(stage: Stage) -> None:
        engine = stage.engine
        stage.end(planned("task", result("input")))
        await stage.until(lambda: len(engine.asked) >= 3)
        assert engine.deleted == []
        engine.over.add("task")
        await stage.until(lambda: len(engine.deleted) == 3)

    engine = play(scene)
    assert sorted(engine.deleted) == ["input", "task-out", "task-payload"]


def test_tasks_that_end_one_after_the_other_are_asked_for_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(config, "SETTLE_INTERVAL", 3600.0)
    monkeypatch.setattr(config, "SETTLE_DELAY", 0.0)  # so that all are due when they are looked at
    monkeypatch.setattr(config, "BATCH_TASKS", 3)

    async def scene(stage: Stage) -> None:
        engine = stage.engine
        for name in "abc":
            stage.end(planned(name))
        await stage.until(lambda: len(engine.asked) == 1)  # a whole batch: more may be due
        stage.end(planned("d"))
        await stage.until(lambda: len(engine.asked) == 2)
        stage.end(planned("e"))
        await asyncio.sleep(0.05)  # it would be asked for by now

    engine = Engine()
    engine.over |= set("abcde")
    assert [sorted(asked) for asked in play(scene, engine).asked] == [["a", "b", "c"], ["d"]]


def test_what_two_tasks_need_waits_for_both() -> None:
    async def scene(stage: Stage) -> None:
        engine = stage.engine
        shared = result("shared")
        first, second = planned("first", shared), planned("second", shared)
        del shared
        stage.end(first)
        stage.end(second)
        engine.over.add("first")
        await stage.until(lambda: "first-payload" in engine.deleted)
        assert "shared" not in engine.deleted
        engine.over.add("second")
        await stage.until(lambda: "shared" in engine.deleted)

    play(scene)


def test_what_somebody_still_holds_stays() -> None:
    async def scene(stage: Stage) -> None:
        engine = stage.engine
        held = result("held")
        stage.end(planned("task", held))
        engine.over.add("task")
        await stage.until(lambda: "task-payload" in engine.deleted)
        assert "held" not in engine.deleted
        del held
        await stage.until(lambda: "held" in engine.deleted)

    play(scene)


def test_constants_wait_too() -> None:
    async def scene(stage: Stage) -> None:
        engine = stage.engine
        constant = Constant.stored("code", "code")
        constant.on_release = stage.freeing.release
        task = planned("task")
        task.constants = (constant,)
        del constant
        stage.end(task)
        await stage.until(lambda: len(engine.asked) >= 2)
        assert "code" not in engine.deleted
        engine.over.add("task")
        await stage.until(lambda: "code" in engine.deleted)

    play(scene)


def test_the_payload_of_a_failed_task_stays_where_tasks_end_at_once() -> None:
    async def scene(stage: Stage) -> None:
        failed = planned("failed")
        failed.broken = True
        stage.end(failed)
        stage.end(planned("task"))
        await stage.until(lambda: "task-payload" in stage.engine.deleted)
        assert "failed-payload" not in stage.engine.deleted

    play(scene, Engine("0.40.1-armoflow"))


def test_inputs_and_payload_of_a_failed_task_stay() -> None:
    """So that it can be run again to see why; its completed outputs go."""

    async def scene(stage: Stage) -> None:
        engine = stage.engine
        held = result("input")
        failed = planned("failed", held)
        failed.broken = True
        stage.end(failed)
        engine.over.add("failed")
        await stage.until(lambda: "failed-out" in engine.deleted)
        assert held.on_release is None  # whoever lets it go, and however late
        stage.end(planned("task"))
        engine.over.add("task")
        await stage.until(lambda: "task-payload" in engine.deleted)
        assert not {"input", "failed-payload"} & set(engine.deleted)

    play(scene)


def test_where_tasks_end_with_their_results_nothing_is_asked() -> None:
    async def scene(stage: Stage) -> None:
        stage.end(planned("task", result("input")))
        await stage.until(lambda: len(stage.engine.deleted) == 3)

    assert play(scene, Engine("0.41.0-armoflow")).asked == []


def test_what_cancelled_tasks_need_goes_once_the_engine_has_cancelled_them() -> None:
    async def scene(stage: Stage) -> None:
        told = asyncio.Event()
        cancelling = asyncio.ensure_future(told.wait())
        stage.freeing.after(cancelling)
        stage.freeing.release("payload")
        await stage.until(lambda: bool(stage._calls))
        await asyncio.sleep(0.01)
        assert stage.engine.deleted == []
        told.set()
        await stage.until(lambda: stage.engine.deleted == ["payload"])
        stage.freeing.release("other")  # nothing is being cancelled any more
        await stage.until(lambda: stage.engine.deleted == ["payload", "other"])

    play(scene, Engine("armoflow"))


def test_a_task_that_was_never_submitted_is_not_asked_for() -> None:
    async def scene(stage: Stage) -> None:
        task = planned("task", result("input"))
        task.task_id = ""
        stage.end(task)
        await stage.until(lambda: len(stage.engine.deleted) == 3)

    assert play(scene).asked == []


def test_plans_wait_for_what_cannot_be_freed_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "UNSETTLED_BYTES", 500_000)

    async def scene(stage: Stage) -> None:
        engine = stage.engine
        engine.sizes["big-out"] = 1_000_000  # an engine's events do not say how large data is
        unsettled = stage.freeing.unsettled
        queue = PlanQueue([], lambda: unsettled.bytes)
        task = planned("big")
        held = task.outputs[0]
        held.on_release = stage.freeing.release
        stage.end(task)
        await stage.until(lambda: len(engine.asked) >= 1)
        assert unsettled.bytes == 10  # the payload
        del held
        await stage.until(lambda: unsettled.bytes > 500_000)
        assert not queue._has_room()
        engine.over.add("big")
        await stage.until(lambda: unsettled.bytes == 0)
        assert queue._has_room()
        assert stage.told

    play(scene)


def test_a_task_that_never_ends_holds_up_no_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "SETTLE_PATIENCE", 0.05)

    async def scene(stage: Stage) -> None:
        stage.end(planned("stuck"))
        await stage.until(lambda: stage.freeing.unsettled.bytes > 0)
        await stage.until(lambda: stage.freeing.unsettled.bytes == 0)
        assert stage.engine.deleted == []

    play(scene)


def test_an_engine_that_is_away_is_asked_again() -> None:
    async def scene(stage: Stage) -> None:
        engine = stage.engine
        engine.error = EngineUnreachableError("away")
        engine.over.add("task")
        stage.end(planned("task"))
        await stage.until(lambda: len(engine.asked) >= 2)
        engine.error = None
        await stage.until(lambda: "task-payload" in engine.deleted)

    play(scene)


def test_an_engine_that_does_not_say_keeps_everything(caplog: pytest.LogCaptureFixture) -> None:
    async def scene(stage: Stage) -> None:
        engine = stage.engine
        engine.error = EngineError("listing: no", "PERMISSION_DENIED")
        stage.end(planned("task", result("input")))
        await stage.until(lambda: len(engine.asked) == 1)
        stage.end(planned("other", result("second input")))
        stage.freeing.release("third")
        await asyncio.sleep(0.05)
        assert stage.freeing.unsettled.bytes == 0

    with caplog.at_level(logging.WARNING):
        engine = play(scene)
    assert engine.deleted == []
    assert len(engine.asked) == 1
    assert [record.message for record in caplog.records] == [
        "what ended tasks needed stays until the session ends: listing: no"
    ]


def test_the_end_of_a_session_ends_the_waiting() -> None:
    async def scene(stage: Stage) -> None:
        unsettled = stage.freeing.unsettled
        stage.end(planned("task", result("input")))
        stage.session = None
        unsettled.forget()
        assert unsettled.bytes == 0
        stage.session = "other"
        stage.end(planned("next"))
        stage.engine.over.add("next")
        await stage.until(lambda: "next-payload" in stage.engine.deleted)

    assert "task-payload" not in play(scene).deleted


def test_a_deletion_that_is_given_up_is_a_call_that_was_never_begun() -> None:
    """As when the client is closed before the loop comes to it: the session's end deletes more."""
    engine: Any = Engine()
    dropped: list[str] = []

    async def run() -> None:
        freeing = Freeing(
            engine, lambda: "session", lambda what, _: dropped.append(what), lambda: None
        )
        freeing.release("result")
        while not dropped:
            await asyncio.sleep(0.001)

    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        asyncio.run(run())
        gc.collect()
    assert engine.deleted == []
    assert not [warning for warning in told if "never awaited" in str(warning.message)]
