"""Tasks that each need the one before, all submitted at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from benchmarks.suite.functions import increment
from benchmarks.suite.measure import Meter
from benchmarks.suite.model import check_value
from benchmarks.suite.systems.base import Capability, System
from benchmarks.suite.workloads.base import Workload


@dataclass(frozen=True)
class Chain(Workload):
    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.GRAPHS})
    length: int

    @property
    def name(self) -> str:
        return f"chain-{self.length}"

    @property
    def title(self) -> str:
        return f"chain of {self.length} tasks, submitted at once"

    def run(self, system: System, meter: Meter) -> dict[str, Any]:
        with meter.section():
            handle: Any = 0
            for _ in range(self.length):
                handle = system.call(increment, handle)
            values = system.values([handle])
        check_value(values, [self.length], "the end of the chain")
        return {"seconds_per_task": meter.seconds / self.length}


FULL = (Chain(500),)
QUICK = (Chain(500),)
