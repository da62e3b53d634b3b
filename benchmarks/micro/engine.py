"""What a task costs in the engine's core: event loop, writer thread, memory.

    python -m benchmarks.micro.engine [tasks] [group]

No agent and no RPC: tasks are submitted with their payloads, taken and completed in groups.
"""

from __future__ import annotations

import asyncio
import gc
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from armoflow.agent.effects import Effects
from armoflow.engine import journal as journal_module
from armoflow.engine.core import Engine
from armoflow.engine.engine_options import EngineOptions
from armoflow.engine.records import ApiOptions, Changes, NewResult, NewTask, TaskRecord

PAYLOAD = b"p" * 200
VALUE = b"v" * 50


class Meter:
    """CPU seconds of the calling thread, by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def wrap(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def measured(*arguments: Any, **values: Any) -> Any:
            start = time.thread_time()
            try:
                return function(*arguments, **values)
            finally:
                spent = time.thread_time() - start
                self.seconds[name] = self.seconds.get(name, 0.0) + spent

        return measured


class NoAgent:
    def wake(self) -> None: ...

    def interrupt(self, task: TaskRecord) -> None: ...

    async def start(self) -> None: ...

    async def stop(self) -> None: ...


def measure_journal(meter: Meter) -> None:
    kind: Any = journal_module.Journal
    for name in ("_flush", "_written"):
        setattr(kind, name, meter.wrap("commit", getattr(kind, name)))
    kind._write = meter.wrap("writer thread", kind._write)


def submit(engine: Engine, session: str, count: int, meter: Meter) -> None:
    now = engine.now()
    tasks = [
        NewTask(engine.new_id(), engine.new_id(), (), (engine.new_id(),)) for _ in range(count)
    ]
    outputs = [NewResult(task.outputs[0], "output") for task in tasks]
    payloads = [NewResult(task.payload_id, "payload") for task in tasks]
    state = engine.state
    changes: list[Changes] = []

    def command() -> None:
        changes.append(state.create_results(now, session, outputs + payloads))
        changes.append(state.submit_tasks(now, session, None, tasks))

    stored = meter.wrap("put", lambda: [engine.objects.put(PAYLOAD) for _ in tasks])()
    meter.wrap("state", command)()
    uploads = [(task.payload_id, data) for task, data in zip(tasks, stored, strict=True)]
    changes.append(meter.wrap("state", state.complete_results)(now, session, uploads))
    for change in changes:
        meter.wrap("apply", engine.apply)(change)


async def run(directory: Path, count: int, group: int, deep: bool, meter: Meter) -> None:
    engine = Engine(EngineOptions(directory))
    await engine.start()
    agent = NoAgent()
    engine.scheduler.add_agent("default", agent)
    session = engine.new_id()
    options = ApiOptions(max_duration=60.0, max_retries=1, priority=1)
    await engine.apply(engine.state.create_session(engine.now(), session, options, ()))
    engine.state.run = meter.wrap("state", engine.state.run)  # type: ignore[method-assign]
    engine.state.complete_tasks = meter.wrap(  # type: ignore[method-assign]
        "state", engine.state.complete_tasks
    )
    start, cpu = time.perf_counter(), time.process_time()

    async def work(left: int) -> None:
        while left:
            tasks = meter.wrap("take", engine.scheduler.take)("default", group, agent, "lane")
            completions = [(task.id, Effects(data={task.outputs[0]: VALUE})) for task in tasks]
            meter.wrap("complete", engine.complete)(completions)
            left -= len(tasks)
            await asyncio.sleep(0)

    if deep:
        for begin in range(0, count, group):
            submit(engine, session, min(group, count - begin), meter)
            await asyncio.sleep(0)
        await engine.committed()
        await work(count)
    else:
        for begin in range(0, count, group):
            size = min(group, count - begin)
            submit(engine, session, size, meter)
            await asyncio.sleep(0)
            await work(size)
    await engine.committed()
    wall, cpu = time.perf_counter() - start, time.process_time() - cpu
    await engine.stop()
    micro = {name: seconds / count * 1e6 for name, seconds in meter.seconds.items()}
    inner = micro["state"]
    # `take` and `complete` contain their state commands: those of submission are measured apart.
    loop = micro["apply"] + micro["put"] + micro["commit"] + micro["take"] + micro["complete"]
    print(
        f"{'queue of all' if deep else 'shallow queue':14s} {count / wall:9,.0f} tasks/s"
        f"  process {cpu / count * 1e6:5.1f} us  writer thread {micro['writer thread']:5.1f} us"
        f"  loop without submission's state {loop:5.1f} us  state (all) {inner:5.1f} us"
    )
    print("    " + "  ".join(f"{name} {value:.1f}" for name, value in micro.items()))


async def memory(directory: Path, count: int) -> None:
    engine = Engine(EngineOptions(directory))
    await engine.start()
    session = engine.new_id()
    options = ApiOptions(max_duration=60.0, max_retries=1, priority=1)
    await engine.apply(engine.state.create_session(engine.now(), session, options, ()))
    gc.collect()
    before = resident()
    for _ in range(0, count, 500):
        submit(engine, session, 500, Meter())
        await engine.committed()
    gc.collect()
    print(
        f"{count:,} queued tasks: {(resident() - before) / 2**20:.0f} MiB, "
        f"process {resident() / 2**20:.0f} MiB, peak "
        f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB"
    )
    await engine.stop()


async def latency(directory: Path, rounds: int = 1000) -> None:
    engine = Engine(EngineOptions(directory))
    await engine.start()
    session = engine.new_id()
    options = ApiOptions(max_duration=60.0, max_retries=1, priority=1)
    await engine.apply(engine.state.create_session(engine.now(), session, options, ()))
    spent = []
    for _ in range(rounds):
        start = time.perf_counter()
        submit(engine, session, 1, Meter())
        await engine.committed()
        spent.append(time.perf_counter() - start)
    spent.sort()
    print(
        f"submission of one task to its commit: median {spent[rounds // 2] * 1e6:.0f} us, "
        f"99 % {spent[rounds * 99 // 100] * 1e6:.0f} us"
    )
    await engine.stop()


def resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    group = int(sys.argv[2]) if len(sys.argv) > 2 else 64
    root = Path(tempfile.mkdtemp(prefix="armoflow-"))
    meter = Meter()
    try:
        asyncio.run(memory(root / "memory", 100_000))
        asyncio.run(latency(root / "latency"))
        measure_journal(meter)
        for deep in (False, True):
            meter.seconds.clear()
            asyncio.run(run(root / f"run-{deep}", count, group, deep, meter))
    finally:
        shutil.rmtree(root)


if __name__ == "__main__":
    main()
