"""What running a task costs below the engine: in the runner alone, and through a child process.

    python -m benchmarks.micro.lane

CPU time is what counts here (wall time on a busy machine says little): of the runner per packed
item and per task, and of owner and child together per task that goes through the socket.
"""

from __future__ import annotations

import asyncio
import os
import resource
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from armoflow.agent.effects import Effects
from armoflow.agent.passages import Passage
from armoflow.codec.functions import encode_function
from armoflow.codec.payload import CodeReference, Operation, Payload, Piece, Settings, Values
from armoflow.codec.payload_layout import pack_payload
from armoflow.codec.pickling import dumps
from armoflow.worker.mark import Mark, MarkWriter, create_mark_file
from armoflow.worker.runner import EngineTask, Runner, RunnerAgent
from armoflow.worker.spares import Spares
from armoflow.worker.supervisor import ChildSupervisor
from armoflow.worker.work import Assignment, TaskEnding


def code() -> CodeReference:
    def same(value: Any) -> Any:  # inside, so that it travels by value
        return value

    encoded = encode_function(same)
    return CodeReference(encoded.digest, encoded.data)


def packed(count: int) -> bytes:
    column: list[Piece] = [Values(dumps(list(range(count))).data, count)]
    payload = Payload(
        Operation.MAP,
        "same",
        code(),
        columns=[column],
        count=count,
        collection=True,
        settings=Settings(packed=True),
    )
    return b"".join(pack_payload(payload))


def single(value: int) -> bytes:
    payload = Payload(Operation.CALL, "same", code(), arguments=dumps(((value,), {})))
    return b"".join(pack_payload(payload))


class NoAgent(RunnerAgent):
    """Of tasks that ask for nothing."""

    def new_results(self, names: Sequence[str]) -> list[str]:
        raise NotImplementedError(names)

    def store_results(self, items: Sequence[tuple[str, bytes]]) -> list[str]:
        raise NotImplementedError


def measure_runner(payloads: Sequence[bytes]) -> float:
    """CPU seconds to run these in this process, the best of five."""
    recorder = MarkWriter(Mark(create_mark_file(tempfile.gettempdir())), lambda *_: None)
    runner = Runner(NoAgent(), recorder, tempfile.gettempdir())
    tasks = [EngineTask(1, "task", "session", ["output"], payload, {}) for payload in payloads]

    def run() -> float:
        started = time.process_time()
        for task in tasks:
            recorder.begin(task.serial)
            effects: Effects = runner.run(task)
            assert effects.data
        return time.process_time() - started

    return min(run() for _ in range(5))


class Bench:
    """A host that feeds one supervisor within its window."""

    def __init__(self, directory: Path) -> None:
        self.spares = Spares(directory, os.environ, delay=None)
        self.supervisor = ChildSupervisor(self, self.spares)
        self._works: list[Assignment] = []
        self._left = 0
        self._done = asyncio.Event()

    def completed(self, supervisor: ChildSupervisor, outcomes: Sequence[TaskEnding]) -> None:
        self._left -= len(outcomes)
        room = supervisor.room
        if self._works and room >= min(len(self._works), supervisor.window.size // 2):
            supervisor.send(self._works[-room:])
            del self._works[-room:]
        if not self._left:
            self._done.set()

    def returned(self, supervisor: ChildSupervisor, works: Sequence[Assignment]) -> None:
        self._works.extend(works)

    def lagging(self, supervisor: ChildSupervisor, running: Assignment) -> None:
        pass

    def paused(self, supervisor: ChildSupervisor, work: Assignment, seconds: float) -> None:
        raise NotImplementedError

    def printed(self, passages: Sequence[Passage]) -> None:
        pass

    async def answer(self, work: Assignment, method: str, argument: Any) -> Any:
        raise NotImplementedError(method)

    async def run(self, payloads: Sequence[bytes]) -> None:
        self._works = [
            Assignment(f"task-{number}", "session", [f"output-{number}"], payload, {})
            for number, payload in enumerate(payloads)
        ]
        self._left = len(self._works)
        self._done.clear()
        self.supervisor.send([self._works.pop()])
        await self._done.wait()


def child_cpu(pid: int) -> float:
    ticks = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(ticks[11]) + int(ticks[12])) / os.sysconf("SC_CLK_TCK")


async def measure_child(report: Callable[[str, float, str], None]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        bench = Bench(Path(directory) / "seat")
        started = time.perf_counter()
        await bench.supervisor.start()
        report("start of a child, wall", (time.perf_counter() - started) * 1e3, "ms")
        try:
            await bench.run([single(0)] * 1000)
            trips = []
            for _ in range(200):
                started = time.perf_counter()
                await bench.run([single(0)])
                trips.append(time.perf_counter() - started)
            report("round trip, wall, median", sorted(trips)[100] * 1e6, "us")
            payloads = [single(number) for number in range(20_000)]
            pid = bench.supervisor.pid or 0
            owner, child, wall = time.process_time(), child_cpu(pid), time.perf_counter()
            await bench.run(payloads)
            count = len(payloads)
            report("owner per task, CPU", (time.process_time() - owner) / count * 1e6, "us")
            report("child per task, CPU", (child_cpu(pid) - child) / count * 1e6, "us")
            report("tasks per second, wall", count / (time.perf_counter() - wall), "/s")
        finally:
            await bench.supervisor.stop()
            await bench.spares.stop()


def main() -> None:
    def report(name: str, value: float, unit: str) -> None:
        print(f"{name:40} {value:12,.2f} {unit}")

    for count in (1, 100, 10_000, 100_000):
        seconds = measure_runner([packed(count)] * max(1, 10_000 // count))
        items = count * max(1, 10_000 // count)
        report(f"runner, packed by {count}, per item, CPU", seconds / items * 1e6, "us")
    seconds = measure_runner([single(number) for number in range(10_000)])
    report("runner, one by one, per task, CPU", seconds / 10_000 * 1e6, "us")
    asyncio.run(measure_child(report))
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    report("memory of the child, peak", peak, "MiB")


if __name__ == "__main__":
    main()
