"""The search for the smallest effective task, on systems made of arithmetic."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.suite.metg import GOAL, find_metg
from benchmarks.suite.workloads.latency import percentile


@given(overhead=st.floats(1e-6, 0.1), tasks=st.integers(1, 1000), workers=st.integers(1, 64))
def test_overhead_that_adds_up(overhead: float, tasks: int, workers: int) -> None:
    search = find_metg(lambda kernel: tasks * (kernel + overhead) / workers, tasks, workers)
    assert search.metg == pytest.approx(2 * overhead, rel=0.02)


@given(interval=st.floats(1e-5, 0.1))
def test_a_dispatcher_that_overlaps_with_the_work(interval: float) -> None:
    # One dispatcher feeds four workers: half of the peak is reached at twice its interval x 4 / 2.
    def elapsed(kernel: float) -> float:
        return 100 * max(interval, kernel / 4)

    search = find_metg(elapsed, 100, 4)
    assert search.metg == pytest.approx(4 * interval, rel=0.1)


def test_a_system_that_never_gets_there_has_none() -> None:
    search = find_metg(lambda kernel: 10 * kernel + 1e-3, 10, 4)
    assert search.metg is None
    assert all(point.efficiency < GOAL for point in search.points)


def test_a_system_without_overhead_ends_too() -> None:
    search = find_metg(lambda kernel: max(kernel, 1e-12), 1, 1)
    assert search.metg is not None
    assert search.metg < 1e-6


def test_points_go_from_coarse_to_fine() -> None:
    points = find_metg(lambda kernel: 50 * (kernel + 0.01), 100, 2).points
    assert [point.kernel for point in points] == sorted(
        (point.kernel for point in points), reverse=True
    )
    assert points[-1].kernel == 0.0


def test_percentile() -> None:
    assert percentile([1.0], 99) == 1.0
    assert percentile([float(number) for number in range(1, 101)], 99) == 99.0
