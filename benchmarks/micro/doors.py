"""Many small calls by every door of a client, beside ``ProcessPoolExecutor`` in the same run.

``python -m benchmarks.micro.doors`` prints a table: seconds for each door, and how many times as
fast as the pool it is.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import functools
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from armoflow import Client, task
from benchmarks.suite.targets import margin_of

WORKERS = 2


def same(number: int) -> int:
    """The least that a function does."""
    return number


def add(first: int, second: int) -> int:
    """The least that a function of two does."""
    return first + second


same_task = task(same)
add_task = task(add)
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


def tree(client: Client, count: int) -> None:
    """Their values added up pairwise, in one compute."""
    level = [same_task(number) for number in range(count)]
    while len(level) > 1:
        level = [add_task(*pair) for pair in _pairs(level)]
    client.compute(level[0])


def by_pool(pool: concurrent.futures.Executor, count: int) -> None:
    """The pool's own door."""
    for future in [pool.submit(same, number) for number in range(count)]:
        future.result()


def tree_by_pool(pool: concurrent.futures.Executor, count: int) -> None:
    """The same level by level, for a pool's tasks cannot wait for each other."""
    level = [future.result() for future in [pool.submit(same, number) for number in range(count)]]
    while len(level) > 1:
        level = [future.result() for future in [pool.submit(add, *pair) for pair in _pairs(level)]]


def _pairs(level: list[Any]) -> Iterator[tuple[Any, Any]]:
    return zip(level[::2], level[1::2], strict=True)


Pool = concurrent.futures.Executor


class Door(NamedTuple):
    """One way to make many calls.

    Attributes:
        run: Makes them.
        goal: How many times as quick as the pool it is to be.
        pool: The same by the pool.
        calls: How many; None: as the command says.
    """

    run: Callable[[Client, int], None]
    goal: float
    pool: Callable[[Pool, int], None] = by_pool
    calls: int | None = None


DOORS: dict[str, Door] = {
    "compute": Door(by_compute, 5.0),
    "submit": Door(by_submit, 2.0),
    "map": Door(by_map, 5.0),
    "compute, unpacked": Door(unpacked, 1.2),
    "tree of 4,096 leaves": Door(tree, 1 / 0.3, tree_by_pool, 4096),
}


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    own: dict[str, list[float]] = {name: [] for name in DOORS}
    pools: dict[str, list[float]] = {name: [] for name in DOORS}
    with concurrent.futures.ProcessPoolExecutor(WORKERS) as pool, Client(workers=WORKERS) as client:
        by_pool(pool, 100)
        by_compute(client, 100)
        tree(client, 256)
        for _ in range(arguments.rounds):
            for name, door in DOORS.items():
                count = door.calls or arguments.calls
                pools[name].append(_timed(functools.partial(door.pool, pool, count)))
                own[name].append(_timed(functools.partial(door.run, client, count)))
    print("| door | median | ProcessPoolExecutor | times its rate | goal | margin |")
    print("|---|---|---|---|---|---|")
    for name, door in DOORS.items():
        here, there = statistics.median(own[name]), statistics.median(pools[name])
        margin = margin_of(there / here, door.goal, at_least=True)
        print(
            f"| {name} | {here:.2f} s | {there:.2f} s | {there / here:.1f} | {door.goal:.3g} "
            f"| {margin:+.0%} |"
        )


def _timed(run: Callable[[], None]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
