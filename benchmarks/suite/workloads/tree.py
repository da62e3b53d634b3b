"""A map and a pairwise tree over its results, all submitted at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from benchmarks.suite.functions import add, square
from benchmarks.suite.measure import Meter
from benchmarks.suite.model import check_value
from benchmarks.suite.systems.base import System
from benchmarks.suite.workloads.base import Workload, reduce_pairwise, short_count


@dataclass(frozen=True)
class Tree(Workload):
    leaves: int

    @property
    def name(self) -> str:
        return f"tree-{short_count(self.leaves)}"

    @property
    def title(self) -> str:
        return f"map of {self.leaves:,} and a pairwise tree ({2 * self.leaves - 1:,} tasks)"

    def run(self, system: System, meter: Meter) -> dict[str, Any]:
        with meter.section():
            leaves = [system.call(square, number) for number in range(self.leaves)]
            root = reduce_pairwise(system, add, leaves)
            values = system.values([root])
        expected = sum(number * number for number in range(self.leaves))
        check_value(values, [expected], "the root of the tree")
        return {"rate": (2 * self.leaves - 1) / meter.seconds}


FULL = (Tree(4096),)
QUICK: tuple[Tree, ...] = ()
