"""Tasks that spawn tasks, recursively."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from benchmarks.suite.measure import Meter
from benchmarks.suite.model import check_value
from benchmarks.suite.systems.base import Capability, System
from benchmarks.suite.workloads.base import Workload


@dataclass(frozen=True)
class Spread(Workload):
    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.DYNAMIC})
    branching: int
    depth: int

    @property
    def leaves(self) -> int:
        return int(self.branching**self.depth)

    @property
    def name(self) -> str:
        return f"spread-{self.leaves}"

    @property
    def title(self) -> str:
        return f"recursive fan-out to {self.leaves} leaves, {self.branching} tasks from each task"

    def warm_up(self, system: System) -> None:
        super().warm_up(system)
        check_value(system.spread(2, 1), 2, "the warm-up's result")

    def run(self, system: System, meter: Meter) -> dict[str, Any]:
        with meter.section():
            leaves = system.spread(self.branching, self.depth)
        check_value(leaves, self.leaves, "the number of leaves")
        return {"seconds_per_leaf": meter.seconds / self.leaves}


FULL = (Spread(8, 3),)
QUICK: tuple[Spread, ...] = ()
