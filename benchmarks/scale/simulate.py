"""Scale by arithmetic: what many workers would do, by a discrete-event model.

    python -m benchmarks.scale.simulate          # 1,000 and 10,000 workers, 10 million items
    python -m benchmarks.scale.simulate --check  # against runs on this machine, 1 to 4 workers

What each stage costs is read from a JSON file (``costs.json`` beside this module), which says for
each engine where its numbers are from.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from benchmarks.scale.costs import COSTS, Costs, Scenario
from benchmarks.scale.simulation import predict
from benchmarks.suite.measure import OtherPrograms
from benchmarks.suite.model import Status
from benchmarks.suite.report import Summary
from benchmarks.suite.runner import Plan, Runner


def scale_table(costs: Costs, items: int, workers: Sequence[int]) -> str:
    """Markdown: what so many workers do with so many items, with and without packing."""
    lines = [
        f"{items:,} items, submitted by one client; the last column is what engine and workers "
        "would do with clients enough.",
        "",
        "| workers | item takes | packing | tasks | elapsed | items/s | worker use | pace set by "
        "| clients enough |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for count in workers:
        for seconds in (0.0, 0.001, 0.01, 0.1, 1.0):
            for packed in (1, None):
                scenario = Scenario(items, seconds, count, packed)
                found = predict(costs, scenario)
                alone = predict(costs.with_free_client(), scenario)
                size = scenario.batches(costs).size
                lines.append(
                    f"| {count:,} | {seconds * 1000:g} ms | "
                    f"{'none' if packed == 1 else f'{size:,} items'} | {found.tasks:,} | "
                    f"{found.elapsed:,.0f} s | {found.rate:,.0f} | {found.worker_use:.1%} | "
                    f"{found.busiest} | {alone.elapsed:,.0f} s, {alone.worker_use:.1%} used |"
                )
    return "\n".join(lines)


def published_table(costs: Costs) -> str:
    """Markdown: the model beside ArmoniK's published figures, which are not of our client."""
    engine = costs.with_free_client()
    rate = predict(engine, Scenario(10_000_000, 0.0, 2_000)).rate
    use = predict(engine, Scenario(10_000_000, 1.0, 2_000)).worker_use
    own = predict(costs, Scenario(10_000_000, 0.0, 2_000)).rate
    return "\n".join(
        [
            "| published | model |",
            "| --- | --- |",
            f"| about 4,500 no-op tasks/s with 2,000 task handlers | {rate:,.0f}/s "
            f"({own:,.0f}/s with one client of ours) |",
            f"| 99.3 % worker use with tasks of 1 s | {use:.1%} |",
        ]
    )


CHECKED = (("noop-10k", 10_000, 1), ("batched-100k", 100_000, None))
"""Workloads that the model is compared with: name, items, items per task."""


class Measured(NamedTuple):
    """A run on this machine.

    Attributes:
        rate: Items per second.
        cores: Cores that other programs left to it, on average.
    """

    rate: float
    cores: float


def check(costs: Costs, tolerance: float, measure: Callable[[str, int], Measured | None]) -> bool:
    """Print the model beside runs of the embedded engine with 1 to 4 workers.

    Args:
        costs: Costs of the embedded engine.
        tolerance: Greatest factor between model and run.
        measure: Runs a workload with so many workers.

    Returns:
        Whether every run was within the tolerance.
    """
    print("| work | workers | cores left | measured | model | model / measured |")
    print("| --- | --- | --- | --- | --- | --- |")
    good = True
    for workload, items, packed in CHECKED:
        for workers in (1, 2, 3, 4):
            measured = measure(workload, workers)
            if measured is None:
                print(f"| {workload} | {workers} | | failed | | |", flush=True)
                good = False
                continue
            machine = dataclasses.replace(costs, cores=measured.cores)
            model = predict(machine, Scenario(items, 0.0, workers, packed)).rate
            ratio = model / measured.rate
            good = good and 1 / tolerance <= ratio <= tolerance
            print(
                f"| {workload} | {workers} | {measured.cores:.1f} | {measured.rate:,.0f}/s | "
                f"{model:,.0f}/s | {ratio:.2f} |",
                flush=True,
            )
    return good


def _measure(workload: str, workers: int, *, repeats: int, timeout: float) -> Measured | None:
    plan = Plan(["armoflow"], [workload], repeats=repeats, workers=workers, timeout=timeout)
    with OtherPrograms() as others:
        outcomes = Runner(plan, report=_say).run()
    rate = Summary.of(outcomes, quick=False).median(workload, "armoflow")
    if rate is None:
        return None
    sections = [outcome.details["section"] for outcome in outcomes if outcome.status is Status.OK]
    left = statistics.median(others.cores_left(*section) for section in sections)
    return Measured(rate, left)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables; with ``--check`` exit code 1 if the model is off."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scale.simulate",
        description="What many workers would do, by a discrete-event model.",
    )
    parser.add_argument("--costs", type=Path, default=COSTS, help="JSON file of stage costs")
    parser.add_argument("--items", type=int, default=10_000_000)
    parser.add_argument("--workers", type=int, nargs="+", default=[1_000, 10_000])
    parser.add_argument("--check", action="store_true", help="compare with runs on this machine")
    parser.add_argument("--tolerance", type=float, default=1.5, help="with --check: a factor")
    parser.add_argument("--repeats", type=int, default=1, help="with --check: runs of each")
    parser.add_argument("--timeout", type=float, default=120.0, help="with --check: per run")
    options = parser.parse_args(arguments)
    costs = Costs.read("embedded" if options.check else "cluster", options.costs)
    print(f"Costs: {costs.source}.")
    if not costs.measured:
        print("Some of these costs are placeholders: the tables show the model, not the product.")
    print()
    if options.check:
        measure = partial(_measure, repeats=options.repeats, timeout=options.timeout)
        return 0 if check(costs, options.tolerance, measure) else 1
    print(published_table(costs), end="\n\n")
    print(scale_table(costs, options.items, options.workers))
    return 0


if __name__ == "__main__":
    sys.exit(main())
