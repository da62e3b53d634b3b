"""An engine with a lane, for the tests of both."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from seats import KEY, PATIENCE, call, encode, read

from armoflow.codec.failure import ErrorRecord
from armoflow.codec.payload import Payload
from armoflow.codec.pickling import dumps
from armoflow.engine.agents.lane import LaneAgent
from armoflow.engine.core import Engine
from armoflow.engine.engine_options import EngineOptions
from armoflow.engine.records import (
    FINAL,
    ApiOptions,
    NewResult,
    NewTask,
    ResultStatus,
)
from armoflow.worker.environment import worker_environment
from armoflow.worker.prefetch import Prefetch
from tests.processes import own_children

QUICK = 1e-5
"""Seconds of tasks of which a child gets many ahead."""


class Steady(Prefetch):
    """The window of a child whose tasks took this long: how long they take here counts no more."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        for _ in range(20):  # it grows step by step
            super().observe(1, seconds)

    def observe(self, count: int, seconds: float) -> None:
        pass


class Lane:
    """An engine with a lane and a session."""

    def __init__(self, directory: Path, workers: int = 2, **options: Any) -> None:
        self.directory = directory
        self.engine = Engine(EngineOptions(directory / "state", **options))
        self.workers = workers
        self.session = ""
        self.others = own_children()  # engines that other tests of this process keep

    async def __aenter__(self) -> Lane:
        await self.engine.start()
        await self.hire()
        self.session = self.open_session()
        return self

    def open_session(self) -> str:
        """Another session; its id."""
        engine, session = self.engine, self.engine.new_id()
        options = ApiOptions(max_duration=600.0, max_retries=2, priority=1)
        engine.apply(engine.state.create_session(engine.now(), session, options, ()))
        return session

    async def hire(self) -> None:
        agents = self.directory / "state" / "agents"
        self.agent = LaneAgent(
            self.engine,
            "default",
            self.workers,
            agents,
            environment=worker_environment(),
            spare_delay=None,
        )
        await self.agent.start()

    async def __aexit__(self, *_: object) -> None:
        await self.agent.stop()
        await self.engine.stop()
        assert own_children() <= self.others
        assert not list((self.directory / "state" / "agents").iterdir())

    def pace(self, seconds: float) -> None:
        """Give children as much as where tasks take this long, however slow this machine is."""
        for seat in self.agent._seats:
            seat.window = Steady(seconds)

    def submit(self, *payloads: Payload, options: ApiOptions | None = None) -> list[NewTask]:
        engine = self.engine
        tasks, results = [], []
        for payload in payloads:
            task = NewTask(
                engine.new_id(),
                engine.new_id(),
                tuple(payload.inputs),
                (engine.new_id(),),
                options,
            )
            data = engine.objects.put(encode(payload))
            results.append(NewResult(task.payload_id, "payload", stored=data))
            results.append(NewResult(task.outputs[0], "output"))
            tasks.append(task)
        engine.apply(engine.state.create_results(engine.now(), self.session, results))
        engine.apply(engine.state.submit_tasks(engine.now(), self.session, None, tasks))
        return tasks

    async def ended(self, tasks: Sequence[NewTask]) -> list[Any]:
        """The values of these tasks, or their errors, when all have ended."""
        await self._end(tasks)
        return [await self.value(task) for task in tasks]

    async def slots(self, task: NewTask) -> list[Any]:
        """The values of a packed task, when it has ended."""
        await self._end([task])
        return await self._read(task)

    async def _end(self, tasks: Sequence[NewTask]) -> None:
        told = asyncio.Event()
        listener = self.engine.listen(self.session, lambda *_: told.set())

        def final(task: NewTask) -> bool:
            return self.result(task).status is not ResultStatus.CREATED

        try:
            while not all(map(final, tasks)):
                await asyncio.wait_for(told.wait(), PATIENCE)
                told.clear()
        finally:
            listener.close()

    def result(self, task: NewTask) -> Any:
        return self.engine.state.results[task.outputs[0]]

    async def value(self, task: NewTask) -> Any:
        result = self.result(task)
        if result.status is not ResultStatus.COMPLETED:
            return await self.error(task)
        (value,) = await self._read(task)
        return value

    async def _read(self, task: NewTask) -> list[Any]:
        data = await self.engine.objects.read(self.result(task).opaque_id)
        return read(data if isinstance(data, bytes) else data.read_bytes())

    async def error(self, task: NewTask) -> ErrorRecord | str:
        await self.engine.committed()
        record = await self.engine.read_task(task.id)
        assert record is not None
        assert record.status in FINAL
        return ErrorRecord.find(record.error, KEY) or record.error


def on_a_lane(**options: Any) -> Callable[[Callable[[Lane], Awaitable[None]]], Any]:
    def decorate(test: Callable[[Lane], Awaitable[None]]) -> Any:
        def run(tmp_path: Path) -> None:
            async def bounded() -> None:
                async with Lane(tmp_path, **options) as lane:
                    await asyncio.wait_for(test(lane), PATIENCE)

            asyncio.run(bounded())

        run.__name__ = test.__name__
        return run

    return decorate


def consuming(function: Callable[..., Any], *tasks: NewTask) -> Payload:
    """A call with the outputs of other tasks as its arguments."""
    payload = call(function)
    marks = [object() for _ in tasks]
    payload.arguments = dumps(
        (tuple(marks), {}),
        lambda part: ("slot", marks.index(part), 0) if part in marks else None,
    )
    payload.inputs = [task.outputs[0] for task in tasks]
    return payload


def meeting(folder: str) -> Callable[[str, Sequence[str]], str]:
    """A task that says it is here and waits until others have been here."""

    def meet(name: str, others: Sequence[str]) -> str:
        import time as clock
        from pathlib import Path as Place

        Place(folder, name).touch()
        while not all(Place(folder, other).exists() for other in others):
            clock.sleep(0.005)
        return name

    return meet
