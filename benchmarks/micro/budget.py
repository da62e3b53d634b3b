"""The budget of a small task: microseconds of CPU that each stage of its way takes.

    python -m benchmarks.micro.budget

10,000 calls of a function that does nothing, each a task of its own, on the embedded engine with
two workers. Rounds with stopwatches at the stages' boundaries take turns with rounds without; the
latter say what client, engine and workers take in total, and what no stage explains is a line of
the table, too. Medians of the rounds; waiting and other processes do not count.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from armoflow import Client, task
from benchmarks.micro import stages
from benchmarks.micro.cost import Costs
from benchmarks.micro.stopwatch import REST, Stopwatch

ROUNDS = 5
TASKS = 10_000
WORKERS = 2

SETTLE = 0.2
"""Seconds after a round in which the client lets the results of the round go."""

ROWS: tuple[tuple[str, str, str, str], ...] = (
    ("client", stages.BUILD, "build", "nodes of the graph"),
    ("client", stages.CHECK, "check", "what a graph may not hold"),
    ("client", stages.PICKLE, "pickle", "arguments, with their references"),
    ("client", stages.PLAN, "plan", "all else of the planner"),
    ("client", stages.LAY_OUT, "payload layout", "code, arguments, settings as one payload"),
    ("client", stages.SUBMIT, "submit", "batches, ids, tracker, contents of frames"),
    ("client", stages.RPC, "RPC: frames", "msgpack, calls of gRPC"),
    ("client", REST, "RPC: loop", "event loop, gRPC below its calls"),
    ("engine", stages.RPC, "RPC: frames", "msgpack, calls of gRPC"),
    ("engine", REST, "RPC: loop", "event loop, gRPC below its calls"),
    ("engine", stages.TAKE_IN, "state machine: submit", "records, payloads into the store"),
    ("engine", stages.START, "state machine: run", ""),
    ("engine", stages.END, "state machine: complete", "and eviction, once committed"),
    ("engine", stages.JOURNAL, "journal: loop", "batches, rows, intake of commits"),
    ("engine", stages.WRITER, "journal: thread", "SQLite"),
    ("engine", stages.DISPATCH, "dispatch", "queue, lane's dealing, frames to children"),
    ("worker", stages.FRAMES, "run: frames", "tasks in, completions out"),
    ("worker", stages.RUN, "run: task", "unpack payload, call, pack result"),
    ("engine", stages.COMPLETE, "complete", "frames of children, storing results"),
    ("engine", stages.NOTIFY, "notify", "watchers, changes"),
    ("client", stages.NOTIFY, "notify", "changes, tracker, targets"),
    ("client", stages.GATHER, "gather", "targets, decoding values"),
    ("client", stages.FREE, "free", "results that nobody needs"),
    ("engine", stages.FREE, "free", "their deletion"),
)
"""Role, stage, its name in the table, what is in it: in the order of a task's way."""


@task(batch_size=1, fuse=False)
def nothing(number: int) -> int:
    """What is measured is all around it."""
    return number


Budget = dict[tuple[str, str], float]
"""Microseconds per task by role and stage."""


def measure(rounds: int, tasks: int) -> tuple[Budget, dict[str, float]]:
    """The budget, and what each role takes in total without stopwatches."""
    budgets: list[Budget] = []
    totals: list[tuple[float, ...]] = []
    with tempfile.TemporaryDirectory(prefix="armoflow-") as name, contextlib.ExitStack() as stack:
        directory = Path(name)
        watch = stages.start_watch("client", directory)
        endpoint = stack.enter_context(stages.timed_engine(WORKERS, directory))
        plain = stack.enter_context(Client(workers=WORKERS))
        with watch.timing(stages.CLIENT):  # what it starts now is timed for good
            timed = stack.enter_context(Client(endpoint, workers=WORKERS))
        costs = Costs(plain)
        for number in range(rounds + 1):
            taken = _run_plain(plain, costs, tasks)
            with watch.timing(stages.CLIENT):
                found = _run_timed(timed, watch, directory, tasks)
            if number:  # the first round warms up
                budgets.append(found)
                totals.append(taken)
    return _medians(budgets, tasks), {
        role: 1e6 * statistics.median(taken[part] for taken in totals) / tasks
        for part, role in enumerate(("client", "engine", "worker"))
    }


def _run_plain(client: Client, costs: Costs, tasks: int) -> tuple[float, ...]:
    before = costs.snapshot()
    _compute(client, [nothing(number) for number in range(tasks)])
    return tuple(end - start for end, start in zip(costs.snapshot(), before, strict=True))


def _run_timed(client: Client, watch: Stopwatch, directory: Path, tasks: int) -> Budget:
    watch.resume()
    before = stages.Reading(directory)
    with watch.stage(stages.BUILD):
        calls = [nothing(number) for number in range(tasks)]
    _compute(client, calls)
    return stages.Reading(directory).since(before)


def _compute(client: Client, calls: list[Any]) -> None:
    values = client.compute(*calls)
    assert values == tuple(range(len(calls)))
    calls.clear()
    time.sleep(SETTLE)


def _medians(budgets: Sequence[Budget], tasks: int) -> Budget:
    return {
        key: 1e6 * statistics.median(budget.get(key, 0.0) for budget in budgets) / tasks
        for key in budgets[0]
    }


def table(budget: Budget, totals: dict[str, float]) -> str:
    """Markdown: each stage, what no stage explains, and the total."""
    whole = sum(totals.values())
    lines = ["| stage | where | us per task | share | |", "| --- | --- | ---: | ---: | --- |"]

    def add(stage: str, where: str, cost: float, what: str) -> None:
        lines.append(f"| {stage} | {where} | {cost:.1f} | {cost / whole:.0%} | {what} |")

    for role, stage, name, what in ROWS:
        add(name, role, budget[role, stage], what)
    for role, total in totals.items():
        explained = sum(budget[role, stage] for where, stage, _, _ in ROWS if where == role)
        add("unattributed", role, total - explained, f"of {total:.1f} in total")
    add("total", "all", whole, "measured without stopwatches")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--tasks", type=int, default=TASKS)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = parser.parse_args(arguments)
    load = os.getloadavg()[0]
    budget, totals = measure(options.rounds, options.tasks)
    print(table(budget, totals))
    print(f"\nload average {load:.1f} before, {os.getloadavg()[0]:.1f} after")


if __name__ == "__main__":
    main()
