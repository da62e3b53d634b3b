# /// script
# requires-python = ">=3.10"
# dependencies = ["armoflow"]
# ///
"""Pi from random points: one map, one reduce.

A point thrown into the unit square lies in the quarter circle with probability pi / 4. Each item
of the map throws its own points with its own seed, so the answer does not depend on where or in
which order the items run.
"""

from __future__ import annotations

import argparse
import math
import operator
import random

from armoflow import Client, task


@task
def throw(seed: int, points: int) -> int:
    """Count the points that fall in the quarter circle."""
    uniform = random.Random(seed).random
    return sum(uniform() ** 2 + uniform() ** 2 <= 1.0 for _ in range(points))


def main() -> None:
    """Throw the points and print the estimate."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--throws", type=int, default=40, help="items of the map")
    parser.add_argument("--points", type=int, default=100_000, help="points of one item")
    parser.add_argument("--local", action="store_true", help="run in this thread, to debug")
    arguments = parser.parse_args()

    hits = throw.map(range(arguments.throws), points=arguments.points).reduce(operator.add)
    with Client(local=arguments.local) as client:
        inside = client.compute(hits)

    total = arguments.throws * arguments.points
    estimate = 4 * inside / total
    print(f"{inside:,} of {total:,} points inside")
    print(f"pi is about {estimate:.5f}, off by {abs(estimate - math.pi):.5f}")


if __name__ == "__main__":
    main()

# Output:
# 3,142,416 of 4,000,000 points inside
# pi is about 3.14242, off by 0.00082
