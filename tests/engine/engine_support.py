"""What the tests of the engine share."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from armoflow.engine.core import Engine
from armoflow.engine.engine_options import EngineOptions
from armoflow.engine.records import (
    ApiOptions,
    Event,
    NewResult,
    NewTask,
    ResultRecord,
    TaskRecord,
)


def in_loop(function: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run an asynchronous test in an event loop of its own."""

    @functools.wraps(function)
    def run(*arguments: Any, **values: Any) -> None:
        async def bounded() -> None:
            await asyncio.wait_for(function(*arguments, **values), 100)

        asyncio.run(bounded())

    return run


class Heard(NamedTuple):
    """A final change of a result, and the task that owns it, if that is in memory then."""

    record: ResultRecord
    status: int
    owner: TaskRecord | None


class Changes:
    """Final changes of the results of a session from now on, those that have come together."""

    def __init__(self, engine: Engine, session_id: str) -> None:
        self._tasks = engine.state.tasks
        self._come: list[Heard] = []
        self._some = asyncio.Event()
        engine.listen(session_id, self._hear)

    def _hear(self, _: str, batch: Sequence[Event]) -> None:
        for _, record, status in batch:
            assert isinstance(record, ResultRecord)
            self._come.append(Heard(record, status, self._tasks.get(record.owner_task_id)))
        self._some.set()

    def __aiter__(self) -> Changes:
        return self

    async def __anext__(self) -> Sequence[Heard]:
        await self._some.wait()
        self._some.clear()
        come, self._come = self._come, []
        return come


class FakeAgent:
    def __init__(self) -> None:
        self.woken = asyncio.Event()
        self.interrupted: list[str] = []

    def wake(self) -> None:
        self.woken.set()

    def interrupt(self, task: TaskRecord) -> None:
        self.interrupted.append(task.id)

    async def start(self) -> None: ...

    async def stop(self) -> None: ...


class Running:
    """An engine with an open session and an agent."""

    def __init__(self, directory: Path, **options: object) -> None:
        self.engine = Engine(EngineOptions(directory, **options))  # type: ignore[arg-type]
        self.agent = FakeAgent()
        self.session = ""

    async def __aenter__(self) -> Running:
        await self.engine.start()
        self.engine.scheduler.add_agent("default", self.agent)
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.wait_for(self.engine.stop(), 30)

    def open_session(self, labels: Mapping[str, str] | None = None) -> str:
        engine = self.engine
        self.session = engine.new_id()
        options = ApiOptions(max_duration=60.0, max_retries=2, priority=1, options=labels or {})
        engine.apply(engine.state.create_session(engine.now(), self.session, options, ()))
        return self.session

    def submit(self, data: bytes = b"payload", dependencies: tuple[str, ...] = ()) -> NewTask:
        engine, now = self.engine, self.engine.now()
        task = NewTask(engine.new_id(), engine.new_id(), dependencies, (engine.new_id(),))
        results = [
            NewResult(task.payload_id, "payload", stored=engine.objects.put(data)),
            NewResult(task.outputs[0], "output"),
        ]
        engine.apply(engine.state.create_results(now, self.session, results))
        engine.apply(engine.state.submit_tasks(now, self.session, None, [task]))
        return task

    def take(self, count: int = 100) -> list[str]:
        tasks = self.engine.scheduler.take("default", count, self.agent, "127.1.0.1/agent")
        return [task.id for task in tasks]
