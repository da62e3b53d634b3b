"""What graphs cost that tasks return, on a private engine of 2 workers.

    python -m benchmarks.micro.inline [--inline SECONDS] [--rounds 3]

Recursions of 10,000 levels: a call that returns the next one, the same with ``fuse=False``, and one
with a step left to do at each level; a tree of 8,191 calls returned by tasks; and a tree of 256
leaves of 10 ms each, of which the table says how busy it keeps the workers. Medians of wall clock,
after one round that is not counted. ``--inline 0`` gives every call a task of its own.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

from armoflow import Client, task

LEVELS = 10_000
LEAF_SECONDS = 0.01
LEAVES = 256
WORKERS = 2


@task
def down(levels: int) -> Any:
    return down(levels - 1) if levels else 0


@task(fuse=False)
def down_unfused(levels: int) -> Any:
    return down_unfused(levels - 1) if levels else 0


@task
def increment(number: int) -> int:
    return number + 1


@task
def climb(levels: int) -> Any:
    return increment(climb(levels - 1)) if levels else 0


@task
def add(first: int, second: int) -> int:
    return first + second


@task
def tree(depth: int) -> Any:
    return add(tree(depth - 1), tree(depth - 1)) if depth else 1


@task
def leaf(seconds: float) -> int:
    time.sleep(seconds)  # so that the share says something on a busy machine, too
    return 1


@task
def working_tree(depth: int) -> Any:
    if depth:
        return add(working_tree(depth - 1), working_tree(depth - 1))
    return leaf(LEAF_SECONDS)


ROWS: dict[str, tuple[Callable[[], Any], Any, Callable[[float], str]]] = {
    "recursion": (lambda: down(LEVELS), 0, lambda s: f"{s / LEVELS * 1e3:.3f} ms a level"),
    "recursion, unfused": (
        lambda: down_unfused(LEVELS),
        0,
        lambda s: f"{s / LEVELS * 1e3:.3f} ms a level",
    ),
    "recursion with a step": (
        lambda: climb(LEVELS),
        LEVELS,
        lambda s: f"{s / LEVELS * 1e3:.3f} ms a level",
    ),
    # And 4,095 additions.
    "tree of 8,191 calls": (lambda: tree(12), 2**12, lambda s: f"{s:.3f} s"),
    "tree with leaves of 10 ms": (
        lambda: working_tree(8),
        LEAVES,
        lambda s: f"{LEAVES * LEAF_SECONDS / WORKERS / s:.0%} busy",
    ),
}
"""Of each row: the graph, its value, and how its seconds are told."""


def main() -> None:
    parser = argparse.ArgumentParser(description="What graphs cost that tasks return.")
    parser.add_argument("--inline", type=float, help="Client(inline_seconds=...)")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with Client(workers=WORKERS, inline_seconds=arguments.inline) as client:
        for name, (make, value, told) in ROWS.items():
            seconds = []
            for _ in range(arguments.rounds + 1):
                began = time.perf_counter()
                found = client.compute(make())
                seconds.append(time.perf_counter() - began)
                assert found == value, found
            print(f"{name:28}{told(statistics.median(seconds[1:]))}", flush=True)


if __name__ == "__main__":
    main()
