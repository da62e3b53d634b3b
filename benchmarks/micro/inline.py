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
from typing import Any, NamedTuple

from armoflow import Client, task
from benchmarks.suite.targets import margin_of

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


class Row(NamedTuple):
    """One graph.

    Attributes:
        make: Makes it.
        value: What it comes to.
        figure: What its seconds amount to.
        goal: Of that.
        unit: Of that.
        at_least: More is better.
    """

    make: Callable[[], Any]
    value: Any
    figure: Callable[[float], float]
    goal: float
    unit: str
    at_least: bool = False


def _per_level(seconds: float) -> float:
    return seconds / LEVELS * 1e3


ROWS: dict[str, Row] = {
    "recursion": Row(lambda: down(LEVELS), 0, _per_level, 3, "ms a level"),
    "recursion, unfused": Row(lambda: down_unfused(LEVELS), 0, _per_level, 3, "ms a level"),
    "recursion with a step": Row(lambda: climb(LEVELS), LEVELS, _per_level, 3, "ms a level"),
    # And 4,095 additions.
    "tree of 8,191 calls": Row(lambda: tree(12), 2**12, lambda seconds: seconds, 0.5, "s"),
    "tree with leaves of 10 ms": Row(
        lambda: working_tree(8),
        LEAVES,
        lambda seconds: 100 * LEAVES * LEAF_SECONDS / WORKERS / seconds,
        90,
        "% busy",
        at_least=True,
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description="What graphs cost that tasks return.")
    parser.add_argument("--inline", type=float, help="Client(inline_seconds=...)")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with Client(workers=WORKERS, inline_seconds=arguments.inline) as client:
        print("| graph | goal | median | margin |\n|---|---|---|---|")
        for name, row in ROWS.items():
            seconds = []
            for _ in range(arguments.rounds + 1):
                began = time.perf_counter()
                found = client.compute(row.make())
                seconds.append(time.perf_counter() - began)
                assert found == row.value, found
            figure = row.figure(statistics.median(seconds[1:]))
            margin = margin_of(figure, row.goal, at_least=row.at_least)
            print(
                f"| {name} | {row.goal:g} {row.unit} | {figure:.3g} {row.unit} | {margin:+.0%} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
