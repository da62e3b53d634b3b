"""Measures what the model of scale needs to know, and writes it into ``costs.json``.

    python -m benchmarks.scale.calibrate                      # both engines, about two minutes
    python -m benchmarks.scale.calibrate --engine embedded

Runs of different shapes (one call at a time, a task for each item, small and large batches) are
measured stage by stage, with the stopwatches of ``benchmarks.micro.budget``. What a stage costs for
each call, task and item is the straight line through these runs, by least squares. CPU time counts,
not wall time; medians of a few rounds.

A cluster's client and workers are measured over the socket agent with all extensions off. What its
control plane and agents cost cannot be measured on one machine: that stays fitted to the figures
that ArmoniK's makers published.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
import psutil

from armoflow import Client, task
from armoflow.orchestrator.sizes import PATIENCE, AdaptiveSizer
from benchmarks.micro import stages
from benchmarks.micro.stopwatch import REST, Stopwatch
from benchmarks.scale.costs import COSTS
from benchmarks.suite.report import describe_machine
from benchmarks.suite.systems.armoflow import SocketAgent

WORKERS = 2
SETTLE = 0.2
"""Seconds after a run in which the client lets the results of the run go."""

AGENT_AND_WORKER = 3_000.0
"""Microseconds of a task on a cluster's worker and agent: fitted to 99.3 % use at 1 s a task."""

Seconds = Mapping[tuple[str, str], float]
"""CPU seconds by role and stage."""


@task
def nothing(number: int) -> int:
    """What is measured is all around it."""
    return number


@task(batch_size=1)
def pause(number: int) -> int:
    """Takes time, but no CPU: its worker is sent one at a time."""
    time.sleep(0.004)
    return number


class Shape(NamedTuple):
    """A run that is measured.

    Attributes:
        calls: Times that ``compute`` is called.
        tasks: Tasks in each call.
        items: Items in each task; 0: plain calls.
        function: What runs.
    """

    calls: int
    tasks: int
    items: int
    function: Any = nothing

    @property
    def amounts(self) -> tuple[int, int, int]:
        """Calls, tasks and items in all."""
        return self.calls, self.calls * self.tasks, self.calls * self.tasks * max(self.items, 1)

    def run(self, client: Client) -> None:
        """Run it, and let go of its results."""
        for number in range(self.calls):
            if not self.items:
                assert client.compute(self.function(number)) == number
            else:
                items = list(range(self.tasks * self.items))
                mapped = self.function.with_options(batch_size=self.items).map(items)
                assert client.compute(mapped) == items
        time.sleep(SETTLE)


EMBEDDED = (Shape(300, 1, 0), Shape(1, 10_000, 1), Shape(1, 5_000, 20), Shape(1, 300, 1_000))
SLOW = Shape(1, 400, 1, pause)
CLUSTER = (Shape(30, 1, 0), Shape(1, 300, 1), Shape(1, 200, 100), Shape(1, 80, 5_000))


class Line(NamedTuple):
    """Microseconds for each call, task and item."""

    call: float
    task: float
    item: float


def fit(amounts: Sequence[Sequence[float]], seconds: Sequence[float]) -> Line:
    """The line through measured runs; nothing costs less than nothing.

    Runs count alike, however long they took: it is the relative error that is made small.

    Example:
        >>> fit([(1, 1, 1), (1, 100, 100), (1, 10, 1000)], [30.1e-6, 2020e-6, 310e-6])
        Line(call=10.0, task=20.0, item=0.1)
    """
    weights = 1.0 / np.maximum(np.asarray(seconds, dtype=float), 1e-6)
    matrix = np.asarray(amounts, dtype=float) * weights[:, None]
    wanted = np.asarray(seconds, dtype=float) * weights
    used = list(range(matrix.shape[1]))
    found = np.zeros(matrix.shape[1])
    while used:
        solution = np.linalg.lstsq(matrix[:, used], wanted, rcond=None)[0]
        if solution.min() >= 0:
            found[used] = solution
            break
        del used[int(solution.argmin())]
    return Line(*(round(1e6 * value, 6) for value in found.tolist()))


class Measured:
    """Runs and what they took."""

    def __init__(self, shapes: Sequence[Shape], rounds: Sequence[Sequence[Seconds]]) -> None:
        self._amounts = [shape.amounts for shape in shapes]
        self._seconds: list[Seconds] = [_medians(column) for column in zip(*rounds, strict=True)]

    def line(self, role: str, *names: str) -> Line:
        """What some stages of a role cost together."""
        return fit(self._amounts, [self.seconds(at, role, names) for at in range(self.count)])

    @property
    def count(self) -> int:
        return len(self._amounts)

    def seconds(self, shape: int, role: str, names: Iterable[str]) -> float:
        return sum(self._seconds[shape].get((role, name), 0.0) for name in names)


def _medians(rounds: Sequence[Seconds]) -> Seconds:
    return {key: statistics.median(found.get(key, 0.0) for found in rounds) for key in rounds[0]}


# --- the embedded engine ------------------------------------------------------------------------


def measure_embedded(rounds: int) -> dict[str, Any]:
    """What changes in the embedded engine's entry."""
    with tempfile.TemporaryDirectory(prefix="armoflow-") as name:
        directory = Path(name)
        watch = stages.start_watch("client", directory)
        with (
            stages.timed_engine(WORKERS, directory) as endpoint,
            watch.timing(stages.CLIENT),
            Client(endpoint, workers=WORKERS) as client,
        ):
            found = _rounds(client, (*EMBEDDED, SLOW), watch, directory, rounds)
            durations = _durations_arrive(client)
    fast = Measured(EMBEDDED, [one[:-1] for one in found])
    slow = Measured([SLOW], [one[-1:] for one in found])
    return {
        "cores": os.cpu_count(),
        "durations": durations,
        "patience": PATIENCE,
        "microseconds": _rounded(embedded_costs(fast, slow)),
    }


def _rounds(
    client: Client, shapes: Sequence[Shape], watch: Stopwatch, directory: Path, rounds: int
) -> list[list[Seconds]]:
    found: list[list[Seconds]] = []
    for number in range(rounds + 1):
        taken: list[Seconds] = []
        for shape in shapes:
            watch.resume()
            before = stages.Reading(directory)
            shape.run(client)
            taken.append(stages.Reading(directory).since(before))
        if number:  # the first round warms up
            found.append(taken)
    return found


def embedded_costs(fast: Measured, slow: Measured) -> dict[str, float]:
    """Microseconds of the model's stages.

    Args:
        fast: Runs whose tasks are sent to workers many at a time.
        slow: One run whose tasks are sent one by one.
    """
    check = fast.line("client", stages.CHECK)
    plan = fast.line("client", *_PLANNING, stages.RPC, REST)
    news = fast.line("client", stages.NOTIFY, stages.FREE)
    decode = fast.line("client", stages.GATHER)
    submit = fast.line("engine", *_SUBMITTING)
    deal = fast.line("engine", *_DEALING)
    end = fast.line("engine", *_ENDING)
    queue = fast.line("engine", stages.JOURNAL)
    write = fast.line("engine", stages.WRITER)
    work = fast.line("worker", *_WORK)
    each = slow.line("engine", *_SUBMITTING, *_DEALING, *_ENDING)
    alone = slow.line("worker", *_WORK)
    usual = submit.task + deal.task + end.task
    return {
        "check_item": check.item,
        "client_call": plan.call + check.call + decode.call + news.call,
        "client_task": plan.task + check.task,
        "client_item": plan.item + news.item,
        "notify_task": news.task,
        "gather_task": decode.task,
        "gather_item": decode.item,
        "engine_call": submit.call + deal.call + end.call + queue.call,
        # What the loop does for the journal is done twice for each task.
        "engine_submit": submit.task + queue.task / 2,
        "engine_item": submit.item + deal.item + end.item + queue.item + write.item,
        "engine_frame": max(_per_task(each) - usual, 0.0),
        "engine_dispatch": deal.task,
        "engine_complete": end.task + queue.task / 2,
        "journal_commit": write.call,
        "journal_task": write.task / 2,
        "worker_frame": max(_per_task(alone) - work.task - work.item, 0.0),
        "worker_task": work.task,
        "worker_item": work.item,
        "agent_task": 0.0,
    }


_PLANNING = (stages.PLAN, stages.PICKLE, stages.LAY_OUT, stages.SUBMIT)
_WORK = (stages.RUN, stages.FRAMES, REST)
_SUBMITTING = (stages.RPC, REST, stages.TAKE_IN, stages.FREE)
_DEALING = (stages.DISPATCH, stages.START)
_ENDING = (stages.COMPLETE, stages.END, stages.NOTIFY)


def _per_task(line: Line) -> float:
    """One run of one-item tasks does not tell what is the task's and what the item's."""
    return line.call / SLOW.tasks + line.task + line.item


def _durations_arrive(client: Client) -> bool:
    """Whether the engine tells a plan how long the tasks took."""
    arrived: list[float] = []
    measured = AdaptiveSizer.measured

    def note(self: AdaptiveSizer, items: int, seconds: float) -> None:
        arrived.append(seconds)
        measured(self, items, seconds)

    with mock.patch.object(AdaptiveSizer, "measured", note):
        client.compute(nothing.map(range(1_000)))
    return bool(arrived)


# --- a cluster ----------------------------------------------------------------------------------


def measure_cluster(rounds: int) -> dict[str, Any]:
    """What changes in the cluster's entry: client and workers."""
    with tempfile.TemporaryDirectory(prefix="b") as name:
        directory = Path(name)
        watch = stages.start_watch("client", directory)
        with watch.timing(stages.CLIENT):
            system = SocketAgent(WORKERS, directory)
            system.start()
            try:
                found = _cluster_rounds(system, watch, directory, rounds)
            finally:
                system.stop()
    return {"microseconds": _rounded(cluster_costs(Measured(CLUSTER, found)))}


def _cluster_rounds(
    system: SocketAgent, watch: Stopwatch, directory: Path, rounds: int
) -> list[list[Seconds]]:
    """Like those of the embedded engine; workers are seen from outside."""
    engine = psutil.Process(system._engine.pid)
    found: list[list[Seconds]] = []
    for number in range(rounds + 1):
        taken: list[Seconds] = []
        for shape in CLUSTER:
            watch.resume()
            before, worked = stages.Reading(directory), _workers_seconds(engine)
            shape.run(system._client)
            spent: dict[tuple[str, str], float] = stages.Reading(directory).since(before)
            spent["worker", stages.RUN] = _workers_seconds(engine) - worked
            taken.append(spent)
        if number:
            found.append(taken)
    return found


def _workers_seconds(engine: psutil.Process) -> float:
    times = [process.cpu_times() for process in engine.children(recursive=True)]
    return float(sum(time.user + time.system for time in times))


def cluster_costs(runs: Measured) -> dict[str, float]:
    """Microseconds of client and worker."""
    check = runs.line("client", stages.CHECK)
    plan = runs.line("client", *_PLANNING, stages.RPC)
    news = runs.line("client", stages.NOTIFY, stages.FREE)
    decode = runs.line("client", stages.GATHER)
    loop = runs.line("client", REST)
    work = runs.line("worker", *_WORK)
    return {
        "check_item": check.item,
        "client_call": plan.call + check.call + decode.call + news.call + loop.call,
        # gRPC below its calls works for both directions: half for each.
        "client_task": plan.task + check.task + loop.task / 2,
        "client_item": plan.item + news.item + loop.item,
        "notify_task": news.task + loop.task / 2,
        "gather_task": decode.task,
        "gather_item": decode.item,
        "worker_task": work.task,
        "worker_item": work.item,
        "agent_task": max(AGENT_AND_WORKER - work.task, 0.0),
    }


# --- the file -----------------------------------------------------------------------------------


def _rounded(costs: Mapping[str, float]) -> dict[str, float]:
    """Three digits say all that such a measurement knows."""
    return {name: float(f"{value:.3g}") for name, value in costs.items()}


def merge(entry: dict[str, Any], change: Mapping[str, Any], source: str) -> None:
    """Take over what was measured into the entry of an engine."""
    entry.update({key: value for key, value in change.items() if key != "microseconds"})
    entry["microseconds"].update(change["microseconds"])
    entry["source"], entry["measured"] = source, True


def _measured_when(machine: Mapping[str, Any]) -> str:
    return (
        f"measured by `python -m benchmarks.scale.calibrate` on {machine['date'][:10]}, commit "
        f"{machine['commit']}, {machine['cores']} cores, load {machine['load_before'][0]:.1f}"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, and write the file."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale.calibrate")
    parser.add_argument("--costs", type=Path, default=COSTS, help="JSON file to change")
    parser.add_argument("--engine", choices=("embedded", "cluster", "both"), default="both")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args(arguments)
    when = _measured_when(describe_machine())
    data = json.loads(options.costs.read_text())
    if options.engine != "cluster":
        merge(data["embedded"], measure_embedded(options.rounds), when)
    if options.engine != "embedded":
        source = (
            f"client and worker: {when}, over the socket agent with extensions off; engine and "
            "agent: not measured but fitted to ArmoniK's published figures (about 4,500 no-op "
            "tasks/s with 2,000 task handlers, 99.3 % worker use with tasks of 1 s)"
        )
        merge(data["cluster"], measure_cluster(options.rounds), source)
    options.costs.write_text(json.dumps(data, indent=2) + "\n")
    json.dump(data, sys.stdout, indent=2)
    print()


if __name__ == "__main__":
    main()
