"""The command line of the benchmarks."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.suite import plots, report
from benchmarks.suite.model import Outcome, Status
from benchmarks.suite.runner import Plan, Runner
from benchmarks.suite.systems import EXTRA_SYSTEMS, SYSTEMS, load_system
from benchmarks.suite.workloads import FULL, QUICK

QUICK_SECONDS = 280.0
"""A quick run starts nothing after this, and whatever runs then is ended: done in 5 minutes."""

RESULTS = Path(__file__).parents[1] / "results"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the arguments select; exit code 1 if a trial failed or returned a wrong value."""
    options = _parse(arguments)
    if options.list:
        _list_all()
        return 0
    plan = Plan(
        systems=options.system or list(SYSTEMS),
        workloads=options.workload or list(QUICK if options.quick else FULL),
        repeats=options.repeats or (1 if options.quick else 3),
        workers=options.workers,
        quick=options.quick,
        timeout=options.timeout or (40.0 if options.quick else 300.0),
        budget=options.budget or (20.0 if options.quick else 90.0),
        time_limit=options.time_limit or (QUICK_SECONDS if options.quick else None),
    )
    return run(plan, options.results)


def run(plan: Plan, results: Path) -> int:
    """Run a plan and write its report after every trial, so that an interrupted run has one too."""
    results.mkdir(parents=True, exist_ok=True)
    machine = report.describe_machine()
    settings = dataclasses.asdict(plan)

    def write(outcomes: list[Outcome]) -> None:
        data = report.to_json(machine, settings, outcomes)
        (results / "results.json").write_text(json.dumps(data, indent=1) + "\n")
        (results / "results.md").write_text(report.to_markdown(machine, settings, outcomes))

    try:
        outcomes = Runner(plan, report=_say, on_outcome=write).run()
    except KeyboardInterrupt:
        _say(f"interrupted; what was measured is in {results}")
        return 130
    if not outcomes:
        _say("nothing was run")
        return 1
    drawn = plots.draw_plots(outcomes, results, quick=plan.quick)
    if not drawn:
        _say("no plots: matplotlib is not installed")
    _say((results / "results.md").read_text())
    _say(f"written to {results}")
    return 1 if any(outcome.status in _BAD for outcome in outcomes) else 0


_BAD = (Status.FAILED, Status.TIMEOUT)


def _say(line: str) -> None:
    print(line, flush=True)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Runs workloads on armoflow and on its neighbours, side by side.",
    )
    parser.add_argument(
        "--system", action="append", type=_system, metavar="NAME", help="only this one (repeatable)"
    )
    parser.add_argument(
        "--workload", action="append", metavar="NAME", help="only this one (repeatable)"
    )
    parser.add_argument("--quick", action="store_true", help="small sizes, done in 5 minutes")
    parser.add_argument("--repeats", type=int, help="rounds (default 3; 1 with --quick)")
    parser.add_argument("--workers", type=int, default=2, help="workers per system (default 2)")
    parser.add_argument("--timeout", type=float, help="seconds for one trial")
    parser.add_argument(
        "--budget",
        type=float,
        help="leave out what would take longer, going by its smaller form (default 90 s)",
    )
    parser.add_argument("--time-limit", type=float, help="seconds for the whole run")
    parser.add_argument("--results", type=Path, default=RESULTS, help="directory for the report")
    parser.add_argument("--list", action="store_true", help="list systems and workloads")
    options = parser.parse_args(arguments)
    known = {**FULL, **QUICK}
    unknown = [name for name in options.workload or [] if name not in known]
    if unknown:
        parser.error(f"unknown workload {unknown[0]!r}: known are {', '.join(known)}")
    return options


def _system(name: str) -> str:
    try:
        load_system(name)
    except (ValueError, ImportError, AttributeError) as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return name


def _list_all() -> None:
    print("systems:")
    for name in [*SYSTEMS, *EXTRA_SYSTEMS]:
        missing = load_system(name).missing()
        print(f"  {name:<18} {'not installed: ' + ', '.join(missing) if missing else ''}")
    for title, workloads in (("workloads:", FULL), ("with --quick:", QUICK)):
        print(title)
        for name, workload in workloads.items():
            print(f"  {name:<18} {workload.title}")


if __name__ == "__main__":
    sys.exit(main())
