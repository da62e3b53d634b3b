"""What small tasks cost where every engine task costs what a real cluster's costs.

    python -m benchmarks.cluster [--rounds 5] [--only ROW] [--endpoint URL]

One engine with 2 agents that takes the time ArmoniK.Core 0.40.1 took on 2 cores (``python -m
tests.realistic --costed``): standard calls only, 15 ms of an agent for each task, 70 ms more for
one with children, 10 ms for a submission, and so on. Or a cluster, by its address. Each round of a
row has a client of its own, which knows nothing of the row's task, on agents that are warm. The
table has the median, the goal, and by how much the median keeps it.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from armoflow import Client, task
from tests.realistic.process import Realistic

ROUND_TRIPS = 15


@task
def warm(number: int) -> int:
    return number


@task
def double(number: int) -> int:
    return 2 * number


@task
def down(levels: int) -> Any:
    return down(levels - 1) if levels else 0


@task
def add(first: int, second: int) -> int:
    return first + second


@task
def leaves(depth: int) -> Any:
    return add(leaves(depth - 1), leaves(depth - 1)) if depth else 1


@task(batch_size=1, fuse=False)
def nap(number: int) -> int:
    time.sleep(0.05)
    return number


def expect(value: object, right: object) -> None:
    if value != right:
        raise AssertionError(f"the value is wrong: {value!r}")


def one_task(client: Client) -> float:
    """The median of some, one after the other."""
    times = []
    for number in range(ROUND_TRIPS):
        begin = time.perf_counter()
        expect(client.compute(double(number)), 2 * number)
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


def by_compute(client: Client) -> None:
    values = client.compute(*(double(number) for number in range(300)))
    expect(list(values), [2 * number for number in range(300)])


def by_submit(client: Client) -> None:
    futures = [client.submit(double, number) for number in range(300)]
    expect([future.result() for future in futures], [2 * number for number in range(300)])


def by_map(client: Client) -> None:
    values = client.compute(double.map(range(3000)))
    expect(list(values), [2 * number for number in range(3000)])


def chain(client: Client) -> None:
    value = double(1)
    for _ in range(49):
        value = double(value)
    expect(client.compute(value), 2**50)


def recursion(levels: int) -> Callable[[Client], None]:
    return lambda client: expect(client.compute(down(levels)), 0)


def tree(client: Client) -> None:
    expect(client.compute(leaves(6)), 64)


def written(client: Client) -> None:
    level = [double(number) for number in range(64)]
    while len(level) > 1:
        level = [add(*pair) for pair in zip(level[::2], level[1::2], strict=True)]
    expect(client.compute(level[0]), 63 * 64)


def written_again(client: Client) -> float:
    """Once it is known how long such calls take."""
    written(client)
    begin = time.perf_counter()
    written(client)
    return time.perf_counter() - begin


def some(client: Client) -> None:
    values = client.compute(*(double(number) for number in range(20)))
    expect(list(values), [2 * number for number in range(20)])


def flood(client: Client) -> None:
    """Queue 600 tasks of 50 ms, and come back when the first hundred have ended."""
    futures = [client.submit(nap, number) for number in range(600)]
    for future in futures[:100]:
        future.result()


@dataclass(frozen=True)
class Row:
    """A workload and its goal.

    Attributes:
        name: What the table calls it.
        goal: In ``unit``.
        run: Does it; returns the seconds, unless all of it counts.
        items: How many a rate counts; 0: seconds count.
        beside: What another client has begun before.
    """

    name: str
    goal: float
    run: Callable[[Client], float | None]
    items: int = 0
    beside: Callable[[Client], None] | None = None

    def figure(self, seconds: float) -> float:
        return self.items / seconds if self.items else seconds

    def margin(self, figure: float) -> float:
        """By what part of the goal it is better than the goal; negative: it is worse."""
        return figure / self.goal - 1 if self.items else 1 - figure / self.goal

    def show(self, figure: float) -> str:
        if self.items:
            return f"{figure:,.0f}/s"
        return f"{figure * 1e3:.0f} ms" if figure < 1 else f"{figure:.2f} s"


ROWS = {
    "one": Row("one task, warm", 0.040, one_task),
    "compute": Row("300 calls of one small task in one compute", 1500, by_compute, 300),
    "submit": Row("the same by client.submit", 1000, by_submit, 300),
    "map": Row("map of 3,000", 5000, by_map, 3000),
    "chain": Row("chain of 50", 0.1, chain),
    "recursion-80": Row("recursion of 80 levels by child tasks", 1.0, recursion(80)),
    "recursion-200": Row("recursion of 200 levels by child tasks", 2.0, recursion(200)),
    "tree": Row("tree of 127 calls returned by tasks", 1.0, tree),
    "written": Row("tree of 127 calls in one compute", 1.0, written),
    "again": Row("the same again", 0.5, written_again),
    "behind": Row("20 calls behind another client's 600 of 50 ms", 3.0, some, beside=flood),
}


def measure(row: Row, endpoint: str) -> float:
    """One round, in a client of its own."""
    with Client(endpoint) as other, Client(endpoint) as client:
        client.compute(warm(1))
        if row.beside is not None:
            row.beside(other)
        begin = time.perf_counter()
        seconds = row.run(client)
        return row.figure(seconds or time.perf_counter() - begin)


@contextmanager
def engine(endpoint: str | None, *arguments: str) -> Iterator[str]:
    """The address of a cluster, or of an engine that costs what one costs."""
    if endpoint:
        yield endpoint
        return
    with tempfile.TemporaryDirectory(prefix="afc-") as directory:
        started = Realistic(Path(directory), "--costed", *arguments)
        try:
            yield started.endpoint
        finally:
            started.stop()


def main() -> None:
    """Measure, and print a row after the other."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.cluster",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", action="append", choices=ROWS, help="may be repeated")
    parser.add_argument("--endpoint", help="of a cluster; default: an engine of its own")
    chosen = parser.parse_args()
    rows = [ROWS[name] for name in chosen.only or ROWS]
    with engine(chosen.endpoint, "--workers", "2") as endpoint:
        with Client(endpoint) as client:
            client.compute(*(nap(number) for number in range(20)))
        print("| work | goal | median | worst | margin |")
        print("|---|---|---|---|---|", flush=True)
        for row in rows:
            figures = [measure(row, endpoint) for _ in range(chosen.rounds)]
            median = statistics.median(figures)
            worst = min(figures, key=row.margin)
            print(
                f"| {row.name} | {row.show(row.goal)} | {row.show(median)} | {row.show(worst)} "
                f"| {row.margin(median):+.0%} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
