"""Many small calls by every door of a client, beside ``ProcessPoolExecutor`` in the same run.

``python -m benchmarks.micro.doors`` prints a table: seconds for each door, and how many times as
fast as the pool it is.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import statistics
import time
from collections.abc import Callable

from armoflow import Client, task
from benchmarks.suite.targets import margin_of

WORKERS = 2


def same(number: int) -> int:
    """The least that a function does."""
    return number


same_task = task(same)
alone_task = same_task.with_options(batch_size=1)


def by_compute(client: Client, count: int) -> None:
    """All in one compute."""
    client.compute(*[same_task(number) for number in range(count)])


def by_submit(client: Client, count: int) -> None:
    """One by one."""
    for future in [client.submit(same_task, number) for number in range(count)]:
        future.result()


def by_map(client: Client, count: int) -> None:
    """A future for each item."""
    for future in client.map(same_task, range(count)):
        future.result()


def unpacked(client: Client, count: int) -> None:
    """All in one compute, with an engine task for each."""
    client.compute(*[alone_task(number) for number in range(count)])


DOORS: dict[str, tuple[Callable[[Client, int], None], float]] = {
    "compute": (by_compute, 5.0),
    "submit": (by_submit, 2.0),
    "map": (by_map, 5.0),
    "compute, unpacked": (unpacked, 1.2),
}
"""Each door, and how many times as quick as the pool it is to be."""


def by_pool(pool: concurrent.futures.Executor, count: int) -> None:
    """The pool's own door."""
    for future in [pool.submit(same, number) for number in range(count)]:
        future.result()


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    seconds: dict[str, list[float]] = {name: [] for name in ("pool", *DOORS)}
    with concurrent.futures.ProcessPoolExecutor(WORKERS) as pool, Client(workers=WORKERS) as client:
        by_pool(pool, 100)
        by_compute(client, 100)
        for _ in range(arguments.rounds):
            seconds["pool"].append(_timed(lambda: by_pool(pool, arguments.calls)))
            for name, (run, _) in DOORS.items():
                seconds[name].append(_timed(lambda run=run: run(client, arguments.calls)))  # type: ignore[misc]
    medians = {name: statistics.median(each) for name, each in seconds.items()}
    print("| door | median | times the pool's rate | goal | margin |")
    print("|---|---|---|---|---|")
    print(f"| ProcessPoolExecutor | {medians['pool']:.2f} s | | | |")
    for name, (_, goal) in DOORS.items():
        times = medians["pool"] / medians[name]
        margin = margin_of(times, goal, at_least=True)
        print(f"| {name} | {medians[name]:.2f} s | {times:.1f} | {goal:g} | {margin:+.0%} |")


def _timed(run: Callable[[], None]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
