"""What the lane has to get of a task before a child can run it: data, and packages.

Most of it is in memory; what is not is read, or installed, while others have the children.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

from armoflow.codec.recording import record_loss
from armoflow.engine.agents.turns import Turns
from armoflow.engine.core import Engine
from armoflow.engine.records import ResultStatus, TaskRecord
from armoflow.tracing import trace_of
from armoflow.worker.data import DataSource
from armoflow.worker.home import Home
from armoflow.worker.preparations import Preparations, requirements_of
from armoflow.worker.work import Assignment, History

logger = logging.getLogger(__name__)


class Intake:
    """Makes work of tasks.

    Args:
        engine: Has their data.
        turns: Is told which of them wait.
        preparations: Installs what they need.
        ready: Takes the work of one.
        wake: Called when there is some that had to be waited for.
    """

    def __init__(
        self,
        engine: Engine,
        turns: Turns,
        preparations: Preparations,
        *,
        ready: Callable[[Assignment], None],
        wake: Callable[[], None],
    ) -> None:
        self._engine = engine
        self._turns = turns
        self._preparations = preparations
        self._ready = ready
        self._wake = wake
        self._loop = asyncio.get_running_loop()
        self._unread: dict[str, TaskRecord] = {}
        self._unprepared: dict[str, TaskRecord] = {}
        self._reading: set[asyncio.Task[None]] = set()

    @property
    def unread(self) -> int:
        """Of how many tasks data is being read."""
        return len(self._unread)

    @property
    def tasks(self) -> list[TaskRecord]:
        """Those of which there is no work yet."""
        return [*self._unread.values(), *self._unprepared.values()]

    def drop(self, task_id: str) -> None:
        """A task is not to be run any more."""
        self._unread.pop(task_id, None)
        self._unprepared.pop(task_id, None)

    async def stop(self) -> None:
        """Read no more."""
        for reading in self._reading:
            reading.cancel()
        await asyncio.gather(*self._reading, return_exceptions=True)

    def take(self, tasks: Sequence[TaskRecord]) -> None:
        """Make work of tasks, now or when what they need is there."""
        missing = []
        payload_id, payload = "", None  # those of tasks side by side are often the same
        for task in tasks:
            options = task.options.options
            if options and self._preparations.lacks(requirements_of(options)):
                self._unprepared[task.id] = task
                self._turns.wait([task])
                self._keep(self._get_ready(task))
                continue
            if task.payload_id is not payload_id:
                payload_id, payload = task.payload_id, self.peek(task.payload_id)
            work = None if payload is None else self._prepare(task, payload)
            if work is None:
                missing.append(task)
            else:
                self._ready(work)
        if missing:
            self._unread.update((task.id, task) for task in missing)
            self._keep(self._read(missing))

    def _keep(self, coroutine: Coroutine[Any, Any, None]) -> None:
        reading = self._loop.create_task(coroutine)
        self._reading.add(reading)
        reading.add_done_callback(self._reading.discard)

    async def _get_ready(self, task: TaskRecord) -> None:
        """Run a task once what it needs is installed; meanwhile others have the children."""
        await self._preparations.get(requirements_of(task.options.options))
        if self._unprepared.pop(task.id, None) is not None:
            self._unread[task.id] = task
            await self._read([task])

    def _prepare(self, task: TaskRecord, payload: DataSource) -> Assignment | None:
        """The work of a task, or None if some of its data is not in memory."""
        inputs: dict[str, DataSource] = {}
        for result_id in task.dependencies:
            data = self.peek(result_id)
            if data is None:
                return None
            inputs[result_id] = data
        return self._make(task, payload, inputs)

    def _make(
        self, task: TaskRecord, payload: DataSource, inputs: dict[str, DataSource]
    ) -> Assignment:
        work = work_of(task, payload, inputs)
        if task.options.options:
            found, work.refused = self._preparations.found(requirements_of(task.options.options))
            devices = self._engine.scheduler.devices.of(task.id)
            if found is not None or devices is not None:
                work.home = Home(found, devices)
        history = self._engine.pauses.take(task.id)
        if history is not None:
            assert isinstance(history, History)
            work.past = history
        return work

    def peek(self, result_id: str) -> DataSource | None:
        """The data of a result, if it is in memory."""
        result = self._engine.state.results.get(result_id)
        data = None if result is None else self._engine.objects.peek(result.opaque_id)
        return data if data is None or isinstance(data, bytes) else source_of(data)

    async def _read(self, tasks: Sequence[TaskRecord]) -> None:
        """Read data that is not in memory, then run the tasks that need it."""
        try:
            data = await self._load(tasks)
        except Exception as error:  # whatever it is: nobody else would end these tasks
            logger.warning("the inputs of %d task(s) cannot be read: %s", len(tasks), error)
            for task in tasks:
                if self._unread.pop(task.id, None) is not None:
                    text = f"the inputs of task {task.id} cannot be read: {error}"
                    self._engine.fail(task.id, text, retry=True)
        else:
            for task in tasks:
                if self._unread.pop(task.id, None) is not None:
                    self._add_read(task, data)
        self._wake()

    async def _load(self, tasks: Sequence[TaskRecord]) -> dict[str, DataSource]:
        """The data of tasks, by the ids of results; what is not stored is missing."""
        needed = dict.fromkeys(
            result_id for task in tasks for result_id in (task.payload_id, *task.dependencies)
        )
        opaque_ids = {}
        for result_id in needed:
            result = await self._engine.read_result(result_id)
            if result is not None and result.status is ResultStatus.COMPLETED:
                opaque_ids[result_id] = result.opaque_id
        found = await self._engine.objects.read_many(opaque_ids.values())
        return {
            result_id: source_of(found[opaque_id])
            for result_id, opaque_id in opaque_ids.items()
            if opaque_id in found
        }

    def _add_read(self, task: TaskRecord, data: dict[str, DataSource]) -> None:
        for result_id in (task.payload_id, *task.dependencies):
            if result_id not in data:
                loss = record_loss(f"input {result_id} has no data", node=task.id)
                self._engine.fail(task.id, loss.to_text())
                return
        inputs = {result_id: data[result_id] for result_id in task.dependencies}
        self._ready(self._make(task, data[task.payload_id], inputs))


def work_of(task: TaskRecord, payload: DataSource, inputs: dict[str, DataSource]) -> Assignment:
    """What a child is sent of a task."""
    return Assignment(
        task.id,
        task.session_id,
        task.outputs,
        payload,
        inputs,
        key=task,
        limit=task.options.max_duration,
        trace=trace_of(task.options.options) if task.options.options else (),
    )


def source_of(data: bytes | Path) -> DataSource:
    """What a child is sent of data: itself, or where it is."""
    return data if isinstance(data, bytes) else [str(data), 0]
