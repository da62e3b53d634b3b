"""Many small items, with each system's own batching."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from benchmarks.suite.functions import identity
from benchmarks.suite.measure import Meter
from benchmarks.suite.model import RATE, Metric, check_value
from benchmarks.suite.systems.base import System
from benchmarks.suite.workloads.base import Workload, short_count


@dataclass(frozen=True)
class BatchedMap(Workload):
    metric: ClassVar[Metric] = RATE
    items: int

    @property
    def name(self) -> str:
        return f"batched-{short_count(self.items)}"

    @property
    def title(self) -> str:
        return f"map of {self.items:,} no-op items, batched as the system does it"

    @property
    def smaller(self) -> tuple[str, float] | None:
        return ("batched-100k", self.items / 100_000) if self.items > 100_000 else None

    def warm_up(self, system: System) -> None:
        super().warm_up(system)
        items = list(range(2_000 * system.workers))
        check_value(system.map_batched(identity, items), items, "the warm-up's result")

    def run(self, system: System, meter: Meter) -> dict[str, Any]:
        items = list(range(self.items))
        with meter.section():
            values = system.map_batched(identity, items)
        check_value(values, items, "the list of values")
        return {
            "rate": self.items / meter.seconds,
            "cpu_per_item": meter.cpu_seconds / self.items,
        }


FULL = (BatchedMap(100_000), BatchedMap(1_000_000))
QUICK = (BatchedMap(100_000),)
