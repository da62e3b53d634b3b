"""No-op tasks, one by one: one task per item, from submission to all values in hand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from benchmarks.suite.functions import identity
from benchmarks.suite.measure import Meter
from benchmarks.suite.model import RATE, Metric, check_value
from benchmarks.suite.systems.base import System
from benchmarks.suite.workloads.base import Workload, short_count


@dataclass(frozen=True)
class NoOpMap(Workload):
    """The system's own way of one task per item, for example ``map``."""

    metric: ClassVar[Metric] = RATE
    tasks: int

    @property
    def name(self) -> str:
        return f"noop-{short_count(self.tasks)}"

    @property
    def title(self) -> str:
        return f"{self.tasks:,} no-op tasks, one by one"

    @property
    def smaller(self) -> tuple[str, float] | None:
        return (f"noop-{short_count(self.tasks // 10)}", 10.0) if self.tasks > 1_000 else None

    def run(self, system: System, meter: Meter) -> dict[str, Any]:
        items = list(range(self.tasks))
        with meter.section():
            values = self.execute(system, items)
        check_value(values, items, "the list of values")
        return {
            "rate": self.tasks / meter.seconds,
            "cpu_per_task": meter.cpu_seconds / self.tasks,
        }

    def execute(self, system: System, items: list[int]) -> list[Any]:
        return system.map_each(identity, items)


@dataclass(frozen=True)
class NoOpCalls(NoOpMap):
    """A call of its own per task: what a script with many different tasks costs."""

    @property
    def name(self) -> str:
        return f"calls-{short_count(self.tasks)}"

    @property
    def title(self) -> str:
        return f"{self.tasks:,} no-op tasks, each a call of its own"

    @property
    def smaller(self) -> tuple[str, float] | None:
        return ("noop-1k", self.tasks / 1_000)

    def execute(self, system: System, items: list[int]) -> list[Any]:
        return system.values([system.call(identity, item) for item in items])


FULL = (NoOpMap(1_000), NoOpMap(10_000), NoOpMap(100_000), NoOpCalls(10_000))
QUICK = (NoOpMap(1_000),)
