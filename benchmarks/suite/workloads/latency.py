"""One task at a time: how long a warm system takes from submission to the value."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from typing import Any, ClassVar

from benchmarks.suite.functions import identity
from benchmarks.suite.measure import Meter
from benchmarks.suite.model import Metric, check_value
from benchmarks.suite.systems.base import System
from benchmarks.suite.workloads.base import Workload

WARM_ROUNDS = 20


@dataclass(frozen=True)
class RoundTrip(Workload):
    metric: ClassVar[Metric] = Metric("p50", "median round trip", "s")
    rounds: int

    @property
    def name(self) -> str:
        return "round-trip"

    @property
    def title(self) -> str:
        return f"round trip of one task, warm, median of {self.rounds}"

    def warm_up(self, system: System) -> None:
        super().warm_up(system)
        for number in range(WARM_ROUNDS):
            system.round_trip(identity, number)

    def run(self, system: System, meter: Meter) -> dict[str, Any]:
        durations = []
        with meter.section():
            for number in range(self.rounds):
                began = time.perf_counter()
                value = system.round_trip(identity, number)
                durations.append(time.perf_counter() - began)
                check_value(value, number, f"round {number}")
        return {"p50": statistics.median(durations), "p99": percentile(durations, 99)}


def percentile(values: list[float], percent: int) -> float:
    """The smallest value that at least ``percent`` per cent of the values do not exceed.

    Example:
        >>> percentile([3.0, 1.0, 2.0, 4.0], 50)
        2.0
    """
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]


FULL = (RoundTrip(300),)
QUICK = (RoundTrip(100),)
