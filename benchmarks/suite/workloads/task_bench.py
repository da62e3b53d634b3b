"""Task Bench: grids of tasks in which each step depends on the one before, in several patterns.

The patterns are those of Slaughter et al. (SC'20). Tasks run a compute kernel; the result is the
smallest task that a system still runs at half of the machine's peak, METG(50 %).
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from benchmarks.suite.functions import grid_task, grid_value
from benchmarks.suite.kernel import calibrate
from benchmarks.suite.measure import Meter
from benchmarks.suite.metg import find_metg
from benchmarks.suite.model import Metric, check_value
from benchmarks.suite.systems.base import System
from benchmarks.suite.workloads.base import Workload

_RADIX = 5
_FRACTION_CONNECTED = 0.25


def _trivial(step: int, column: int, width: int) -> list[int]:
    return []


def _no_comm(step: int, column: int, width: int) -> list[int]:
    return [column]


def _stencil_1d(step: int, column: int, width: int) -> list[int]:
    return list(range(max(0, column - 1), min(column + 1, width - 1) + 1))


def _fft(step: int, column: int, width: int) -> list[int]:
    distance = 1 << ((step - 1) % max(1, (width - 1).bit_length()))
    columns = (column - distance, column, column + distance)
    return [other for other in columns if 0 <= other < width]


def _tree(step: int, column: int, width: int) -> list[int]:
    return [column // 2]


def _random_nearest(step: int, column: int, width: int) -> list[int]:
    first, last = max(0, column - _RADIX // 2), min(column + (_RADIX - 1) // 2, width - 1)

    def chosen(other: int) -> bool:
        draw = zlib.crc32(f"{step}/{column}/{other}".encode()) / 2**32
        return other == column or draw < _FRACTION_CONNECTED

    return [other for other in range(first, last + 1) if chosen(other)]


def _all_to_all(step: int, column: int, width: int) -> list[int]:
    return list(range(width))


Pattern = Callable[[int, int, int], list[int]]

PATTERNS: dict[str, Pattern] = {
    "trivial": _trivial,
    "no_comm": _no_comm,
    "stencil_1d": _stencil_1d,
    "fft": _fft,
    "tree": _tree,
    "random_nearest": _random_nearest,
    "all_to_all": _all_to_all,
}


@dataclass(frozen=True)
class Grid:
    """A task graph of Task Bench.

    Attributes:
        pattern: A key of ``PATTERNS``.
        width: Most tasks in a step.
        steps: Steps.
    """

    pattern: str
    width: int
    steps: int

    def columns(self, step: int) -> int:
        """Tasks of one step: a tree doubles until it has its width, the others have it at once."""
        return min(self.width, 1 << min(step, 62)) if self.pattern == "tree" else self.width

    def inputs(self, step: int, column: int) -> list[int]:
        """Columns of the step before that a task depends on."""
        if step == 0:
            return []
        columns = PATTERNS[self.pattern](step, column, self.width)
        return [other for other in columns if other < self.columns(step - 1)]

    def tasks(self) -> int:
        """All tasks of the graph."""
        return sum(self.columns(step) for step in range(self.steps))

    def build(self, make: Callable[[int, int, list[Any]], Any]) -> list[Any]:
        """Make every task in order; returns those that no other task depends on."""
        previous: list[Any] = []
        ends: list[Any] = []
        for step in range(self.steps):
            used: set[int] = set()
            current = []
            for column in range(self.columns(step)):
                columns = self.inputs(step, column)
                used.update(columns)
                current.append(make(step, column, [previous[other] for other in columns]))
            ends += [handle for column, handle in enumerate(previous) if column not in used]
            previous = current
        return ends + previous

    def expected(self) -> list[int]:
        """The values of what ``build`` returns."""
        return self.build(lambda step, column, inputs: grid_value(step, column, tuple(inputs)))


@dataclass(frozen=True)
class TaskBench(Workload):
    metric: ClassVar[Metric] = Metric("metg", "METG(50 %)", "s")
    grid: Grid

    @property
    def name(self) -> str:
        return f"metg-{self.grid.pattern}"

    @property
    def title(self) -> str:
        grid = self.grid
        return f"Task Bench {grid.pattern}, {grid.width} x {grid.steps}: METG(50 %)"

    def elapsed(self, system: System, iterations: int) -> float:
        """Seconds of the whole graph with so many iterations of the kernel in each task."""
        began = time.perf_counter()
        ends = self.grid.build(
            lambda step, column, inputs: system.call(grid_task, iterations, step, column, *inputs)
        )
        values = system.values(ends)
        elapsed = time.perf_counter() - began
        check_value(values, self.grid.expected(), "the list of the last tasks' values")
        return elapsed

    def run(self, system: System, meter: Meter) -> dict[str, Any]:
        rate = calibrate(system.workers)

        def elapsed_for(kernel: float) -> float:
            return self.elapsed(system, round(kernel * rate))

        with meter.section():
            search = find_metg(elapsed_for, self.grid.tasks(), system.workers)
        if search.metg is None:
            raise RuntimeError("half of the peak was not reached with any task")
        points = [{**asdict(point), "efficiency": point.efficiency} for point in search.points]
        return {
            "metg": search.metg,
            "empty_task": search.points[-1].granularity,
            "calibration": rate,
            "points": points,
        }


FULL = tuple(TaskBench(Grid(pattern, 16, 32)) for pattern in PATTERNS)
QUICK = (TaskBench(Grid("stencil_1d", 16, 8)),)
