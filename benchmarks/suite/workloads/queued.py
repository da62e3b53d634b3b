"""Memory of tasks that wait: every worker is held, then many tasks are handed over."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from benchmarks.suite.functions import hold, identity
from benchmarks.suite.measure import Meter
from benchmarks.suite.model import Metric, check_value
from benchmarks.suite.systems.base import Capability, System
from benchmarks.suite.workloads.base import Workload, short_count


@dataclass(frozen=True)
class QueuedTasks(Workload):
    metric: ClassVar[Metric] = Metric("queued_memory", "memory of 100,000 queued tasks", "B")
    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.QUEUE})
    tasks: int

    @property
    def name(self) -> str:
        return f"queued-{short_count(self.tasks)}"

    @property
    def title(self) -> str:
        return f"memory per 100,000 queued tasks over idle, with {self.tasks:,} queued"

    @property
    def smaller(self) -> tuple[str, float] | None:
        return ("noop-10k", self.tasks / 10_000)

    def run(self, system: System, meter: Meter) -> dict[str, Any]:
        items = list(range(self.tasks))
        with held_workers(system):
            idle_share = meter.cpu_share()
            idle = meter.memory()
            with meter.section():
                queued = system.queue(identity, items)
            meter.wait_until_idle(idle_share)
            memory = meter.memory() - idle
        check_value(system.drain(queued), items, "the list of values")
        return {
            "queued_memory": memory * 100_000 / self.tasks,
            "queue_rate": self.tasks / meter.seconds,
        }


@contextmanager
def held_workers(system: System) -> Iterator[None]:
    """Every worker of the system busy with a task that ends when the block does."""
    directory = Path(tempfile.mkdtemp())
    release = directory / "release"
    os.mkfifo(release)
    # Opened for both: neither this open nor those of the tasks wait for another side.
    release_pipe = os.open(release, os.O_RDWR)
    holders = []
    try:
        for number in range(system.workers):
            started = directory / f"started-{number}"
            os.mkfifo(started)
            holders.append(system.queue(hold, [(str(started), str(release))]))
            started.read_text()  # returns when the task has started and said so
        yield
    finally:
        os.write(release_pipe, b"." * system.workers)
    for holder in holders:
        check_value(system.drain(holder), [1], "the value of a task that held a worker")
    os.close(release_pipe)


FULL = (QueuedTasks(20_000), QueuedTasks(100_000))
QUICK: tuple[QueuedTasks, ...] = ()
