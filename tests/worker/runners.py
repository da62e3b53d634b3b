"""A runner in this process, with a fake agent."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from seats import encode, read, read_slots

from armoflow.agent.effects import Effects, StagedFile
from armoflow.codec.envelope import Slot
from armoflow.codec.payload import Payload
from armoflow.worker.data import DataSource
from armoflow.worker.failures import UnreadableDataError
from armoflow.worker.mark import Mark, MarkWriter, create_mark_file
from armoflow.worker.runner import EngineTask, Runner, RunnerAgent
from armoflow.worker.task_progress import TaskPaused, TaskProgress


class FakeAgent(RunnerAgent):
    def __init__(self) -> None:
        self.stored: dict[str, bytes] = {}
        self.calls: list[tuple[str, Any]] = []
        self.made = 0

    def fetch(self, result_id: str) -> DataSource:
        self.calls.append(("fetch", result_id))
        if result_id not in self.stored:
            raise UnreadableDataError(f"no data for {result_id}")
        return self.stored[result_id]

    def new_results(self, names: Sequence[str]) -> list[str]:
        self.calls.append(("new_results", list(names)))
        return [self._id() for _ in names]

    def store_results(self, items: Sequence[tuple[str, bytes]]) -> list[str]:
        self.calls.append(("store_results", [name for name, _ in items]))
        ids = [self._id() for _ in items]
        self.stored.update(zip(ids, (data for _, data in items), strict=True))
        return ids

    def _id(self) -> str:
        self.made += 1
        return f"made-{self.made}"


class LocalRunner:
    def __init__(self, directory: Path) -> None:
        self.agent = FakeAgent()
        self.pauses: list[TaskPaused] = []
        self.shipped: list[tuple[int, int, bytes, bytes]] = []
        self.mark = Mark(create_mark_file(str(directory)))
        self.recorder = MarkWriter(self.mark, lambda *entry: self.shipped.append(entry))
        self.runner = Runner(self.agent, self.recorder, str(directory))
        self.serial = 0

    def effects(
        self,
        payload: Payload | bytes,
        inputs: Mapping[str, Any] | None = None,
        *,
        outputs: int = 1,
        folder: str | None = None,
        progress: TaskProgress | None = None,
        task_id: str = "task",
    ) -> Effects:
        data = payload if isinstance(payload, bytes) else encode(payload)
        names = [f"output-{number}" for number in range(outputs)]
        while True:
            self.serial += 1
            task = EngineTask(
                self.serial, task_id, "session", names, data, inputs or {}, folder, progress
            )
            self.recorder.begin(task.serial)
            try:
                return self.runner.run(task)
            except TaskPaused as pause:
                self.pauses.append(pause)
                progress = TaskProgress.decode(pause.spent, [], pause.saved)
                time.sleep(max(0.0, (pause.due - time.monotonic_ns()) * 1e-9))

    def run(self, payload: Payload, inputs: Mapping[str, Any] | None = None, **options: Any) -> Any:
        """The values of the first output, or of all of them if there are several."""
        effects = self.effects(payload, inputs, **options)
        outputs = [
            read(content(data)) for name, data in effects.data.items() if name.startswith("output")
        ]
        return outputs[0] if len(outputs) == 1 else outputs

    def slots(self, payload: Payload, inputs: Mapping[str, Any] | None = None) -> list[Slot]:
        return read_slots(content(self.effects(payload, inputs).data["output-0"]))


def content(data: bytes | StagedFile) -> bytes:
    if isinstance(data, bytes):
        return data
    found = Path(data.path).read_bytes()
    assert len(found) == data.size
    return found
