"""Two checkouts of armoflow run by run: ``python -m benchmarks.turns OTHER_CHECKOUT``.

What ``compare`` measures in processes of minutes apart differs by 10 to 20 % in one state already.
Here both checkouts wait with warm workers and take turns, a run of less than a second each, so that
the machine's moods fall on both. Both run the same code of the benchmarks, from this checkout. For
Task Bench every run is a graph with one of a few kernels, the same for both, and METG(50 %) is read
from the straight line through the medians of the runs with each kernel.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.suite.kernel import calibrate
from benchmarks.suite.measure import Meter, adopt_orphans
from benchmarks.suite.metg import GOAL
from benchmarks.suite.report import format_value
from benchmarks.suite.systems.armoflow import Embedded
from benchmarks.suite.workloads import FULL, find_workload
from benchmarks.suite.workloads.task_bench import TaskBench

HERE = Path(__file__).resolve().parent.parent
WORKERS = 2
KERNELS = (0.65, 0.8, 1.0, 1.25, 1.55)
"""Kernels of a grid's runs, by the one that takes about half of the time."""
DEFAULT = [name for name in FULL if name.startswith(("metg-", "arrays-"))]


@dataclass(frozen=True, slots=True)
class Turns:
    """What was measured of one workload: a number of each start of the two checkouts.

    Attributes:
        before: The other checkout's medians, in seconds.
        after: This one's.
    """

    before: list[float]
    after: list[float]

    @property
    def ratios(self) -> list[float]:
        """Of each start, in order; above 1 this checkout is slower."""
        return sorted(after / before for before, after in zip(self.before, self.after, strict=True))


class Side:
    """A checkout with warm workers, in a process of its own: runs a workload when it is told."""

    def __init__(self, checkout: Path, name: str, packages: Path) -> None:
        self._process = subprocess.Popen(
            [str(checkout / ".venv" / "bin" / "python"), "-m", "benchmarks.turns", "--serve", name],
            cwd=packages,
            # The benchmarks are this checkout's, armoflow is that of the environment.
            env=os.environ | {"PYTHONPATH": str(packages)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._answer()

    def run(self, iterations: int = 0) -> float:
        """Seconds of one run; of a grid of Task Bench with so many iterations in each task."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{iterations}\n")
        self._process.stdin.flush()
        return float(self._answer())

    def stop(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def _answer(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            sys.exit(f"a side ended with exit code {self._process.wait()}")
        return line


@contextlib.contextmanager
def both_sides(other: Path, name: str) -> Iterator[tuple[Side, Side]]:
    """The other checkout and this one, warm."""
    with tempfile.TemporaryDirectory(prefix="armoflow-turns-") as directory:
        packages = Path(directory)
        (packages / "benchmarks").symlink_to(HERE / "benchmarks")
        sides = Side(other, name, packages), Side(HERE, name, packages)
        try:
            yield sides
        finally:
            for side in sides:
                side.stop()


def measure(other: Path, name: str, starts: int, rounds: int) -> Turns:
    """Let both checkouts take turns; each start is of fresh processes."""
    workload = find_workload(name, quick=False)
    turns = Turns([], [])
    for _ in range(starts):
        with both_sides(other, name) as sides:
            if isinstance(workload, TaskBench):
                before, after = _grid(sides, workload.grid.tasks(), rounds)
            else:
                runs = [_turn(sides, number % 2) for number in range(rounds)]
                before, after = (statistics.median(seconds) for seconds in zip(*runs, strict=True))
        turns.before.append(before)
        turns.after.append(after)
    return turns


def _turn(sides: tuple[Side, Side], first: int, iterations: int = 0) -> tuple[float, float]:
    """Seconds of a run of each side, one after the other."""
    seconds = {which: sides[which].run(iterations) for which in (first, 1 - first)}
    return seconds[0], seconds[1]


def _grid(sides: tuple[Side, Side], tasks: int, rounds: int) -> tuple[float, float]:
    """METG(50 %) of both sides."""
    rate = calibrate(WORKERS)

    def granularities(kernel: float, first: int) -> tuple[float, float]:
        seconds = _turn(sides, first, round(kernel * rate))
        return seconds[0] * WORKERS / tasks, seconds[1] * WORKERS / tasks

    middle = 0.0
    for number in range(8):
        middle = GOAL * statistics.mean(granularities(middle, number % 2))
    measured: dict[float, list[tuple[float, float]]] = {factor * middle: [] for factor in KERNELS}
    for number in range(rounds):
        for kernel, pairs in measured.items():
            pairs.append(granularities(kernel, number % 2))
    return _metg(measured, 0), _metg(measured, 1)


def _metg(measured: Mapping[float, Sequence[tuple[float, float]]], side: int) -> float:
    """Where the kernels are half of what the straight line through the medians says.

    Around there what a task costs besides hardly depends on its kernel, and all runs count.
    """
    medians = [statistics.median(pair[side] for pair in pairs) for pairs in measured.values()]
    slope, empty = statistics.linear_regression([*measured], medians)
    if slope >= 1 / GOAL:
        sys.exit(f"an efficiency of {GOAL} is reached nowhere: {medians} s with {[*measured]} s")
    return empty / (1 / GOAL - slope) / GOAL


def serve(name: str) -> None:
    """One side: starts, says so, and runs the workload for each line that it reads."""
    adopt_orphans()
    workload = find_workload(name, quick=False)
    with tempfile.TemporaryDirectory() as directory:
        system = Embedded(WORKERS, Path(directory))
        system.start()
        workload.warm_up(system)
        print("ready", flush=True)
        for line in sys.stdin:
            if isinstance(workload, TaskBench):
                seconds = workload.elapsed(system, int(line))
            else:
                meter = Meter()
                workload.run(system, meter)
                seconds = meter.seconds
            print(seconds, flush=True)
        system.stop()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.turns", description=__doc__)
    parser.add_argument("other", type=Path, nargs="?", help="a checkout with a .venv of its own")
    parser.add_argument("--starts", type=int, default=5, help="of fresh processes (default: 5)")
    parser.add_argument("--rounds", type=int, default=9, help="runs in each start (default: 9)")
    parser.add_argument("--workload", action="append", choices=list(FULL), metavar="NAME")
    parser.add_argument("--tolerance", type=float, default=0.05, help="(default: 0.05)")
    parser.add_argument("--serve", metavar="NAME", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.serve:
        serve(options.serve)
        return 0
    if options.other is None:
        parser.error("name the other checkout")
    return _report(options)


def _report(options: Any) -> int:
    print("| workload | before | after | slower by | of each start |\n|---|---|---|---|---|")
    slower = []
    for name in options.workload or DEFAULT:
        turns = measure(options.other.resolve(), name, options.starts, options.rounds)
        ratio = statistics.median(turns.ratios)
        before, after = (
            format_value(statistics.median(values), "s") for values in (turns.before, turns.after)
        )
        each = ", ".join(f"{one - 1:+.1%}" for one in turns.ratios)
        print(f"| {name} | {before} | {after} | {ratio - 1:+.1%} | {each} |", flush=True)
        if ratio > 1 + options.tolerance:
            slower.append(name)
    if slower:
        print(f"slower by more than {options.tolerance:.0%}: {', '.join(slower)}")
    return 1 if slower else 0


if __name__ == "__main__":
    sys.exit(main())
