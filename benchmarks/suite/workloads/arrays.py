"""Large values: made by tasks, shared by tasks, and reduced before memory runs out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from benchmarks.suite.functions import add, make_array, sum_array, sum_part
from benchmarks.suite.measure import Meter
from benchmarks.suite.model import LIVE_PEAK, Metric, check_value
from benchmarks.suite.systems.base import System
from benchmarks.suite.workloads.base import Workload, reduce_pairwise

ELEMENTS_PER_MEGABYTE = 1_000_000 // 8


@dataclass(frozen=True)
class ArrayWorkload(Workload):
    """Data is what is measured: every worker has imported numpy before."""

    def warm_up(self, system: System) -> None:
        super().warm_up(system)
        arrays = [system.call(make_array, number, 1) for number in range(4 * system.workers)]
        values = [float(array[0]) for array in system.values(arrays)]
        check_value(values, list(range(4 * system.workers)), "the warm-up's arrays")


@dataclass(frozen=True)
class ReduceArrays(ArrayWorkload):
    """Arrays made by tasks and added pairwise; the sum comes back whole."""

    arrays: int
    megabytes: int

    @property
    def name(self) -> str:
        return f"arrays-{self.arrays}x{self.megabytes}mb"

    @property
    def title(self) -> str:
        return f"{self.arrays} arrays of {self.megabytes} MB, reduced pairwise"

    def run(self, system: System, meter: Meter) -> dict[str, Any]:
        elements = self.megabytes * ELEMENTS_PER_MEGABYTE
        with meter.section():
            made = [system.call(make_array, number, elements) for number in range(self.arrays)]
            (result,) = system.values([reduce_pairwise(system, add, made)])
        expected = float(sum(range(self.arrays)))
        check_value(
            (len(result), float(result.min()), float(result.max())),
            (elements, expected, expected),
            "length, least and greatest of the sum",
        )
        return {}


@dataclass(frozen=True)
class ShareArray(ArrayWorkload):
    """One large array of the script, given to several tasks."""

    megabytes: int
    tasks: int

    @property
    def name(self) -> str:
        return f"share-{self.megabytes}mb"

    @property
    def title(self) -> str:
        return f"one array of {self.megabytes} MB given to {self.tasks} tasks"

    @property
    def smaller(self) -> tuple[str, float] | None:
        # By the bytes that move in a system that sends every argument and value by value.
        return ("arrays-32x8mb", self.megabytes * self.tasks / 1_000)

    def run(self, system: System, meter: Meter) -> dict[str, Any]:
        import numpy

        array = numpy.arange(self.megabytes * ELEMENTS_PER_MEGABYTE, dtype=float)
        expected = [sum_part(array, part, self.tasks) for part in range(self.tasks)]
        with meter.section():
            shared = system.share(array)
            values = system.values(
                [system.call(sum_part, shared, part, self.tasks) for part in range(self.tasks)]
            )
        check_value(values, expected, "the list of partial sums")
        return {}


@dataclass(frozen=True)
class FanOut(ArrayWorkload):
    """Large arrays, each reduced to a number: how many of them are alive at once?"""

    metric: ClassVar[Metric] = LIVE_PEAK
    sample_interval: ClassVar[float] = 0.05
    arrays: int
    megabytes: int

    @property
    def name(self) -> str:
        return f"live-{self.arrays}x{self.megabytes}mb"

    @property
    def title(self) -> str:
        return (
            f"fan-out of {self.arrays} arrays of {self.megabytes} MB reduced to one number: "
            "peak of memory and store over idle"
        )

    @property
    def smaller(self) -> tuple[str, float] | None:
        return ("arrays-32x8mb", 2 * self.megabytes * self.arrays / 1_000)

    def run(self, system: System, meter: Meter) -> dict[str, Any]:
        with meter.section():
            (value,) = system.values([self._graph(system)])
        expected = float(self.elements * sum(range(self.arrays)))
        check_value(value, expected, "the sum of all elements")
        return {}

    @property
    def elements(self) -> int:
        return self.megabytes * ELEMENTS_PER_MEGABYTE

    def _graph(self, system: System) -> Any:
        # No handle of an array is kept: what nobody can ask for any more may be freed.
        sums = [
            system.call(sum_array, system.call(make_array, number, self.elements))
            for number in range(self.arrays)
        ]
        return reduce_pairwise(system, add, sums)


FULL = (ReduceArrays(32, 8), ShareArray(256, 16), FanOut(200, 16))
QUICK = (ReduceArrays(8, 8),)
