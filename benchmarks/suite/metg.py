"""Minimum effective task granularity: the metric of Task Bench.

E. Slaughter et al., "Task Bench: A Parameterized Benchmark for Evaluating Parallel Runtime
Performance", SC'20. Granularity is wall time x cores / tasks; efficiency is the share of the
machine's peak that the kernels reach; METG(50 %) is the smallest granularity at which a system
still reaches half of the peak.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

GOAL = 0.5
_LARGEST_KERNEL = 2.0
_BRACKET_RATIO = 1.15


@dataclass(frozen=True, slots=True)
class Point:
    """One run of a task graph.

    Attributes:
        kernel: Seconds of computation in each task.
        granularity: Wall time x workers / tasks.
    """

    kernel: float
    granularity: float

    @property
    def efficiency(self) -> float:
        return self.kernel / self.granularity


@dataclass(frozen=True, slots=True)
class Search:
    """What a search found.

    Attributes:
        metg: METG(50 %) in seconds, or None if half of the peak was never reached.
        points: Everything measured, from the coarsest to the finest.
    """

    metg: float | None
    points: list[Point]


def find_metg(elapsed_for: Callable[[float], float], tasks: int, workers: int) -> Search:
    """Search the smallest granularity with an efficiency of one half.

    Args:
        elapsed_for: Runs the graph with a kernel of so many seconds; returns the wall time.
        tasks: Tasks of the graph.
        workers: Workers of the system.

    Example:
        >>> def overhead_of_one_millisecond(kernel):
        ...     return 100 * (kernel + 0.001) / 2
        >>> round(find_metg(overhead_of_one_millisecond, 100, 2).metg, 4)
        0.002
    """
    points: list[Point] = []

    def measure(kernel: float) -> Point:
        point = Point(kernel, elapsed_for(kernel) * workers / tasks)
        points.append(point)
        return point

    # Where overhead and work add up, half of the time is work when the kernel takes as long as
    # an empty task: a good place to begin.
    first = measure(max(1e-6, measure(0.0).granularity))
    coarse, fine = _bracket(measure, first)
    while coarse and fine and coarse.kernel / fine.kernel > _BRACKET_RATIO:
        middle = measure(math.sqrt(coarse.kernel * fine.kernel))
        coarse, fine = (middle, fine) if middle.efficiency >= GOAL else (coarse, middle)
    points.sort(key=lambda point: -point.kernel)
    if coarse is None:
        return Search(None, points)
    return Search(_interpolate(coarse, fine) if fine else coarse.granularity, points)


def _bracket(measure: Callable[[float], Point], point: Point) -> tuple[Point | None, Point | None]:
    """Two points, a factor of two apart, on both sides of the goal (None: there is none)."""
    if point.efficiency >= GOAL:
        coarse = point
        while coarse.kernel > 1e-7:
            finer = measure(coarse.kernel / 2)
            if finer.efficiency < GOAL:
                return coarse, finer
            coarse = finer
        return coarse, None
    fine = point
    while fine.kernel < _LARGEST_KERNEL:
        coarser = measure(fine.kernel * 2)
        if coarser.efficiency >= GOAL:
            return coarser, fine
        fine = coarser
    return None, fine


def _interpolate(coarse: Point, fine: Point) -> float:
    """The granularity at the goal between two points around it, on logarithmic axes."""
    span = coarse.efficiency - fine.efficiency
    share = (coarse.efficiency - GOAL) / span if span > 0 else 0.0
    logarithm = (1 - share) * math.log(coarse.granularity) + share * math.log(fine.granularity)
    return math.exp(logarithm)
