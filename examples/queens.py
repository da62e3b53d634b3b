# /// script
# requires-python = ">=3.10"
# dependencies = ["armoflow"]
# ///
"""How many ways are there to place n queens? Divide and conquer by child tasks.

A task that returns a graph hands its result over to it: ``solve`` places one queen and returns the
sum of what its children find. The shape of the tree is known only while it grows.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

from armoflow import Client, Delayed, task

Placed = tuple[int, ...]  # the column of the queen in each row filled so far


@dataclass(frozen=True)
class Found:
    """How many placements there are, and one of them."""

    count: int = 0
    example: Placed | None = None

    def __add__(self, other: Found) -> Found:
        """Both counts; the first example."""
        return Found(self.count + other.count, self.example or other.example)


def free_columns(size: int, placed: Placed) -> list[int]:
    """The columns of the next row that no queen attacks."""
    row = len(placed)
    return [
        column
        for column in range(size)
        if all(
            column != other and abs(column - other) != row - above
            for above, other in enumerate(placed)
        )
    ]


def search(size: int, placed: Placed) -> Found:
    """Fill the rest of the board, here and now."""
    if len(placed) == size:
        return Found(1, placed)
    found = Found()
    for column in free_columns(size, placed):
        found += search(size, (*placed, column))
    return found


@task
def total(parts: list[Found]) -> Found:
    """Add up what the children found."""
    return sum(parts, Found())


@task
def solve(size: int, depth: int, placed: Placed = ()) -> Found | Delayed[Found]:
    """Search below a placement: by children down to ``depth`` rows, then directly."""
    if len(placed) >= depth:
        return search(size, placed)
    return total([solve(size, depth, (*placed, column)) for column in free_columns(size, placed)])


def main() -> None:
    """Solve the puzzle and draw one board."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=10, help="rows, columns and queens")
    parser.add_argument("--depth", type=int, default=3, help="rows filled by child tasks")
    parser.add_argument("--local", action="store_true", help="run in this thread, to debug")
    arguments = parser.parse_args()

    with Client(local=arguments.local) as client:
        found = client.compute(solve(arguments.size, arguments.depth))

    print(f"{found.count:,} ways to place {arguments.size} queens, for example")
    for column in found.example or ():
        print(" ".join("Q" if other == column else "." for other in range(arguments.size)))


if __name__ == "__main__":
    main()

# Output:
# 724 ways to place 10 queens, for example
# Q . . . . . . . . .
# . . Q . . . . . . .
# . . . . . Q . . . .
# . . . . . . . Q . .
# . . . . . . . . . Q
# . . . . Q . . . . .
# . . . . . . . . Q .
# . Q . . . . . . . .
# . . . Q . . . . . .
# . . . . . . Q . . .
