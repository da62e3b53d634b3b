"""Two checkouts of armoflow beside each other: ``python -m benchmarks.compare OTHER_CHECKOUT``.

Each round runs every workload once in either checkout, with its own virtual environment, in turns:
what the machine does meanwhile falls on both. The table shows medians, and the median of the ratios
of the rounds; the exit code is 1 where this checkout is slower by more than ``--tolerance``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.suite.model import CPU
from benchmarks.suite.report import format_value
from benchmarks.suite.workloads import FULL, QUICK, find_workload

HERE = Path(__file__).resolve().parent.parent


@dataclass(slots=True)
class Comparison:
    """What was measured of one workload, round by round.

    Attributes:
        before: The other checkout's numbers.
        after: This one's.
        at_least: More is better.
    """

    unit: str
    at_least: bool
    before: list[float] = field(default_factory=list)
    after: list[float] = field(default_factory=list)

    @property
    def slowdown(self) -> float:
        """Median of the rounds' ratios; above 1 this checkout is slower.

        Example:
            >>> Comparison("/s", at_least=True, before=[100.0], after=[50.0]).slowdown
            2.0
            >>> Comparison("s", at_least=False, before=[1.0, 1.0], after=[2.0, 3.0]).slowdown
            2.5
        """
        pairs = zip(self.before, self.after, strict=True)
        return statistics.median(b / a if self.at_least else a / b for b, a in pairs)


def compare(
    other: Path, names: Sequence[str], rounds: int, *, cpu: bool = False
) -> dict[str, Comparison]:
    """Measure workloads in both checkouts: their own numbers, or the CPU time of all processes."""
    metrics = {name: CPU if cpu else find_workload(name, quick=False).metric for name in names}
    comparisons = {
        name: Comparison(metric.unit, metric.higher_is_better) for name, metric in metrics.items()
    }
    for number in range(rounds):
        for name, comparison in comparisons.items():
            sides = [(other, comparison.before), (HERE, comparison.after)]
            for checkout, values in sides if number % 2 == 0 else reversed(sides):
                values.append(measure(checkout, name, metrics[name].key))
            before, after = comparison.before[-1], comparison.after[-1]
            print(
                f"round {number + 1} {name}: {format_value(before, comparison.unit)} before, "
                f"{format_value(after, comparison.unit)} after",
                flush=True,
            )
    return comparisons


def measure(checkout: Path, name: str, key: str) -> float:
    """A number of one trial of a workload in a checkout."""
    command = [str(checkout / ".venv" / "bin" / "python"), "-m", "benchmarks"]
    with tempfile.TemporaryDirectory(prefix="armoflow-compare-") as results:
        options = ["--system", "armoflow", "--workload", name, "--repeats", "1"]
        ended = subprocess.run(
            [*command, *options, "--results", results],
            cwd=checkout,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if ended.returncode:
            sys.exit(f"{name} failed in {checkout}:\n{ended.stdout}")
        report = json.loads(Path(results, "results.json").read_text())
    value: float = report["medians"][name]["armoflow"][key]
    return value


def table(comparisons: dict[str, Comparison]) -> str:
    """The comparison in Markdown."""
    lines = ["| workload | before | after | slower by |", "|---|---|---|---|"]
    for name, comparison in comparisons.items():
        before, after = (
            format_value(statistics.median(values), comparison.unit)
            for values in (comparison.before, comparison.after)
        )
        lines.append(f"| {name} | {before} | {after} | {comparison.slowdown - 1:+.1%} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare", description=__doc__)
    parser.add_argument("other", type=Path, help="a checkout with a .venv of its own")
    parser.add_argument("--rounds", type=int, default=3, help="(default: 3)")
    parser.add_argument("--workload", action="append", choices=[*FULL, *QUICK], metavar="NAME")
    parser.add_argument(
        "--cpu", action="store_true", help="compare CPU time, where the machine is not quiet"
    )
    parser.add_argument("--tolerance", type=float, default=0.05, help="(default: 0.05)")
    options = parser.parse_args(arguments)
    other = options.other.resolve()
    for checkout in (other, HERE):
        if not (checkout / ".venv" / "bin" / "python").exists():
            parser.error(f"{checkout} has no .venv: run 'make bench' there first")
    names = options.workload or list(FULL)
    comparisons = compare(other, names, options.rounds, cpu=options.cpu)
    print(table(comparisons))
    slower = [name for name, one in comparisons.items() if one.slowdown > 1 + options.tolerance]
    if slower:
        print(f"slower by more than {options.tolerance:.0%}: {', '.join(slower)}")
    return 1 if slower else 0


if __name__ == "__main__":
    sys.exit(main())
