"""Scale by arithmetic: what many workers would do, by a discrete-event model.

    python -m benchmarks.simulate            # 1,000 and 10,000 workers, 10 million items
    python -m benchmarks.simulate --check    # model against runs on this machine, 1 to 4 workers

What each stage costs is read from a JSON file (``costs.json`` beside this module), which says for
each engine where its numbers are from.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.report import Summary
from benchmarks.runner import Plan, Runner
from benchmarks.simulation import COSTS, Costs, Scenario, predict


def scale_table(costs: Costs, items: int, workers: Sequence[int]) -> str:
    """Markdown: what so many workers do with so many items, with and without packing."""
    lines = [
        "| workers | item takes | packing | tasks | elapsed | items/s | worker use | pace set by |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for count in workers:
        for seconds in (0.0, 0.001, 0.01, 0.1, 1.0):
            for packed in (1, None):
                scenario = Scenario(items, seconds, count, packed)
                found = predict(costs, scenario)
                batch = scenario.batch(costs)
                lines.append(
                    f"| {count:,} | {seconds * 1000:g} ms | "
                    f"{'none' if packed == 1 else f'{batch:,} items'} | {found.tasks:,} | "
                    f"{found.elapsed:,.0f} s | {found.rate:,.0f} | {found.worker_use:.1%} | "
                    f"{found.busiest} |"
                )
    return "\n".join(lines)


def published_table(costs: Costs) -> str:
    """Markdown: the model beside ArmoniK's published figures."""
    rate = predict(costs, Scenario(10_000_000, 0.0, 2_000)).rate
    use = predict(costs, Scenario(10_000_000, 1.0, 2_000)).worker_use
    return "\n".join(
        [
            "| published | model |",
            "| --- | --- |",
            f"| about 4,500 no-op tasks/s with 2,000 task handlers | {rate:,.0f}/s |",
            f"| 99.3 % worker use with tasks of 1 s | {use:.1%} |",
        ]
    )


def check(costs: Costs, tolerance: float, timeout: float) -> bool:
    """Print the model beside runs of the embedded engine with 1 to 4 workers.

    Args:
        costs: Costs of the embedded engine.
        tolerance: Greatest factor between model and run.
        timeout: Seconds for one run.

    Returns:
        Whether every run was within the tolerance.
    """
    print("| work | workers | measured | model | model / measured |")
    print("| --- | --- | --- | --- | --- |")
    good = True
    for workload, items, packed in (("noop-10k", 10_000, 1), ("batched-100k", 100_000, None)):
        for workers in (1, 2, 3, 4):
            model = predict(costs, Scenario(items, 0.0, workers, packed)).rate
            measured = _measure(workload, workers, timeout)
            if measured is None:
                print(f"| {workload} | {workers} | failed | {model:,.0f}/s | |", flush=True)
                good = False
                continue
            ratio = model / measured
            good = good and 1 / tolerance <= ratio <= tolerance
            print(
                f"| {workload} | {workers} | {measured:,.0f}/s | {model:,.0f}/s | {ratio:.2f} |",
                flush=True,
            )
    return good


def _measure(workload: str, workers: int, timeout: float) -> float | None:
    plan = Plan(["armoflow"], [workload], workers=workers, timeout=timeout)
    outcomes = Runner(plan, report=lambda line: print(line, file=sys.stderr, flush=True)).run()
    return Summary.of(outcomes, quick=False).median(workload, "armoflow")


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables; with ``--check`` exit code 1 if the model is off."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.simulate",
        description="What many workers would do, by a discrete-event model.",
    )
    parser.add_argument("--costs", type=Path, default=COSTS, help="JSON file of stage costs")
    parser.add_argument("--items", type=int, default=10_000_000)
    parser.add_argument("--workers", type=int, nargs="+", default=[1_000, 10_000])
    parser.add_argument("--check", action="store_true", help="compare with runs on this machine")
    parser.add_argument("--tolerance", type=float, default=1.5, help="with --check: a factor")
    parser.add_argument("--timeout", type=float, default=120.0, help="with --check: per run")
    options = parser.parse_args(arguments)
    costs = Costs.read("embedded" if options.check else "cluster", options.costs)
    print(f"Costs: {costs.source}.")
    if not costs.measured:
        print("Some of these costs are placeholders: the tables show the model, not the product.")
    print()
    if options.check:
        return 0 if check(costs, options.tolerance, options.timeout) else 1
    print(published_table(costs), end="\n\n")
    print(scale_table(costs, options.items, options.workers))
    return 0


if __name__ == "__main__":
    sys.exit(main())
