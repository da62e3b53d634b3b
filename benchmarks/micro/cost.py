"""What a task costs client, engine and workers: processor time of each, and wall time.

    python -m benchmarks.micro.cost

Processor time tells where to look; wall time is worth what the machine's quietness is worth, so the
load average is printed too. Medians of some rounds.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import psutil

from armoflow import Client, task

ROUNDS = 5
START = """
from armoflow import Client, task

@task
def inc(number):
    return number + 1

with Client(workers=2) as client:
    assert client.compute(inc(1)) == 2
    print("first", flush=True)
"""


@task
def inc(number: int) -> int:
    return number + 1


@task
def add(first: int, second: int) -> int:
    return first + second


class Costs:
    """Reads the processor time of the client, its engine and the workers."""

    def __init__(self, client: Client) -> None:
        client.compute(inc(1))
        self._client = psutil.Process()
        (self._engine,) = [
            child
            for child in self._client.children()
            if any("armoflow.engine" in argument for argument in child.cmdline())
        ]

    def snapshot(self) -> tuple[float, float, float]:
        workers = self._engine.children(recursive=True)
        return _cpu(self._client), _cpu(self._engine), sum(map(_cpu, workers))

    def measure(self, what: str, count: int, run: Callable[[], object]) -> None:
        """Print microseconds per task (or item) of a run of so many."""
        run()
        walls, costs = [], []
        for _ in range(ROUNDS):
            before, started = self.snapshot(), time.perf_counter()
            run()
            walls.append(time.perf_counter() - started)
            after = self.snapshot()
            costs.append([end - start for start, end in zip(before, after, strict=True)])
        client, engine, workers = (
            1e6 * statistics.median(cost[part] for cost in costs) / count for part in range(3)
        )
        wall = statistics.median(walls)
        print(
            f"{what:24} {1e6 * wall / count:9.2f} us wall each ({count / wall:9,.0f}/s, "
            f"{wall:6.3f} s)   cpu: client {client:7.2f}  engine {engine:7.2f}  "
            f"workers {workers:7.2f}"
        )


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def chain(length: int, step: Any = inc) -> object:
    value = step(0)
    for _ in range(length - 1):
        value = step(value)
    return value


def main() -> None:
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    with Client(workers=2) as client:
        costs = Costs(client)
        alone = inc.with_options(batch_size=1, fuse=False)
        costs.measure(
            "10,000 tasks", 10_000, lambda: client.compute(*[alone(n) for n in range(10_000)])
        )
        costs.measure(
            "10,000 calls, packed", 10_000, lambda: client.compute(*[inc(n) for n in range(10_000)])
        )
        costs.measure("map of 300,000", 300_000, lambda: client.compute(inc.map(range(300_000))))
        tree = alone.map(range(4096))
        reduce = add.with_options(batch_size=1, fuse=False)
        costs.measure("tree of 4,096 leaves", 8191, lambda: client.compute(tree.reduce(reduce)))
        costs.measure("chain of 500 tasks", 500, lambda: client.compute(chain(500, alone)))
        costs.measure("chain of 500, fused", 500, lambda: client.compute(chain(500)))
        trips = []
        for number in range(500):
            started = time.perf_counter()
            client.compute(alone(number))
            trips.append(1000 * (time.perf_counter() - started))
        trips.sort()
        print(f"round trip               p50 {trips[250]:.2f} ms, p99 {trips[494]:.2f} ms")
    starts = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        with subprocess.Popen([sys.executable, "-c", START], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"first\n"
            starts.append(time.perf_counter() - started)
    print(f"start to first result    {statistics.median(starts):.2f} s")
    print(f"load average {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
