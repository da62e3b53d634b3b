"""Every workload, on systems that run tasks in this process."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from fake_systems import Inline, InlineLevels

from benchmarks.suite.functions import add, increment, square
from benchmarks.suite.measure import Meter
from benchmarks.suite.model import WrongValueError
from benchmarks.suite.systems import EXTRA_SYSTEMS, SYSTEMS, load_system
from benchmarks.suite.systems.base import in_chunks
from benchmarks.suite.workloads import FULL, QUICK, find_workload
from benchmarks.suite.workloads.arrays import FanOut, ReduceArrays, ShareArray
from benchmarks.suite.workloads.base import Workload, reduce_pairwise
from benchmarks.suite.workloads.batched import BatchedMap
from benchmarks.suite.workloads.chain import Chain
from benchmarks.suite.workloads.dynamic import Spread
from benchmarks.suite.workloads.latency import RoundTrip
from benchmarks.suite.workloads.noop import NoOpCalls, NoOpMap
from benchmarks.suite.workloads.queued import QueuedTasks
from benchmarks.suite.workloads.startup import StartUp
from benchmarks.suite.workloads.task_bench import PATTERNS, Grid
from benchmarks.suite.workloads.tree import Tree

SMALL: list[Workload] = [
    NoOpMap(50),
    NoOpCalls(50),
    BatchedMap(5_000),
    RoundTrip(10),
    Chain(20),
    Tree(37),
    Spread(3, 2),
    ReduceArrays(5, 1),
    ShareArray(1, 4),
    FanOut(3, 1),
]


def start(kind: type[Any], directory: Path) -> Any:
    system = kind(2, directory)
    system.start()
    return system


@pytest.mark.parametrize("workload", SMALL, ids=lambda workload: workload.name)
@pytest.mark.parametrize("kind", [Inline, InlineLevels])
def test_workload_runs_and_is_right(kind: type[Any], workload: Workload, tmp_path: Path) -> None:
    if workload.needs - kind.capabilities:
        pytest.skip("this system cannot do that")
    system = start(kind, tmp_path)
    meter = Meter()
    workload.warm_up(system)
    numbers = workload.run(system, meter)
    system.stop()
    measured = {"seconds": meter.seconds, **numbers}
    assert meter.seconds > 0
    if workload.metric.key != "live_peak":  # that one is measured from outside
        assert measured[workload.metric.key] > 0


@pytest.mark.parametrize("workload", SMALL, ids=lambda workload: workload.name)
def test_a_wrong_value_is_noticed(workload: Workload, tmp_path: Path) -> None:
    class Off(Inline):
        """Adds one to every value."""

        def values(self, handles: Any) -> list[Any]:
            return [handle + 1 for handle in handles]

        def map_each(self, function: Any, items: Any) -> list[Any]:
            return self.values(items)

        def map_batched(self, function: Any, items: Any) -> list[Any]:
            return self.values(items)

        def spread(self, branching: int, depth: int) -> int:
            return 1

    with pytest.raises(WrongValueError):
        workload.run(start(Off, tmp_path), Meter())


def test_queued_tasks_wait_behind_held_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Meter, "cpu_share", lambda self: 0.0)
    began: list[bool] = []
    released = threading.Event()

    class Watched(Inline):
        def queue(self, function: Any, items: Any) -> Any:
            queued = super().queue(function, items)
            if len(queued) > 1:
                began.extend(future.running() or future.done() for future in queued)
                released.set()
            return queued

    numbers = QueuedTasks(100).run(start(Watched, tmp_path), Meter())
    assert "queued_memory" in numbers
    assert released.is_set()
    assert not any(began)


def test_start_up_runs_a_script_of_its_own(tmp_path: Path) -> None:
    kind = load_system("process-pool")
    numbers = StartUp().run(kind(1, tmp_path), Meter())
    assert 0 < numbers["first_result"] <= numbers["start_and_stop"]


def test_names_are_unique_and_found() -> None:
    for name, workload in FULL.items():
        assert find_workload(name, quick=False) is workload
        if workload.smaller:
            assert workload.smaller[0] in FULL
    for name, workload in QUICK.items():
        assert find_workload(name, quick=True) is workload
    with pytest.raises(ValueError, match="unknown workload 'nope'"):
        find_workload("nope", quick=False)


def test_every_adapter_loads_without_its_system() -> None:
    for name in [*SYSTEMS, *EXTRA_SYSTEMS]:
        assert load_system(name).name == name
    with pytest.raises(ValueError, match="unknown system 'nope'"):
        load_system("nope")


def test_levels_run_each_call_once_and_in_order(tmp_path: Path) -> None:
    system = start(InlineLevels, tmp_path)
    leaves = [system.call(square, number) for number in range(5)]
    root = reduce_pairwise(system, add, leaves)
    again = system.call(increment, root)
    assert system.values([again, root, leaves[1]]) == [31, 30, 1]
    assert system.levels == [5, 2, 1, 1, 1]
    assert system.values([root]) == [30]
    assert system.levels == [5, 2, 1, 1, 1]  # what ran is not run again


def test_chunks() -> None:
    assert in_chunks(range(5), 2) == [[0, 1], [2, 3], [4]]
    assert in_chunks([], 2) == []


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("width", [1, 2, 5, 16])
def test_grids_have_the_shape_of_their_pattern(pattern: str, width: int) -> None:
    grid = Grid(pattern, width, steps=6)
    made: list[tuple[int, int]] = []

    def make(step: int, column: int, inputs: list[Any]) -> tuple[int, int]:
        made.append((step, column))
        assert all(before == step - 1 for before, _ in inputs)
        assert [other for _, other in inputs] == grid.inputs(step, column)
        return step, column

    ends = grid.build(make)
    assert len(made) == len(set(made)) == grid.tasks()
    used = {(step - 1, other) for step, column in made for other in grid.inputs(step, column)}
    assert sorted(ends) == sorted(set(made) - used)


def test_patterns_are_those_of_the_paper() -> None:
    assert Grid("trivial", 4, 4).inputs(2, 1) == []
    assert Grid("no_comm", 4, 4).inputs(2, 1) == [1]
    assert Grid("stencil_1d", 4, 4).inputs(2, 0) == [0, 1]
    assert Grid("stencil_1d", 4, 4).inputs(2, 2) == [1, 2, 3]
    assert [Grid("fft", 8, 9).inputs(step, 2) for step in (1, 2, 3, 4)] == [
        [1, 2, 3],
        [0, 2, 4],
        [2, 6],
        [1, 2, 3],
    ]
    assert [Grid("tree", 8, 9).columns(step) for step in range(5)] == [1, 2, 4, 8, 8]
    assert Grid("tree", 8, 9).inputs(2, 3) == [1]
    assert Grid("all_to_all", 4, 4).inputs(1, 0) == [0, 1, 2, 3]
    nearest = Grid("random_nearest", 16, 32)
    assert all(
        column in inputs and all(abs(other - column) <= 2 for other in inputs)
        for step in range(1, 32)
        for column in range(16)
        for inputs in [nearest.inputs(step, column)]
    )


def test_grid_values_depend_on_every_input() -> None:
    from benchmarks.suite.functions import grid_task, grid_value

    assert grid_task(0, 3, 4, 1, 2) == grid_value(3, 4, (1, 2)) != grid_value(3, 4, (2, 1))
