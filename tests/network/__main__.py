"""``python -m tests.network``: a client over bad networks, and a table.

It ends with an error if a value is wrong, or if a journey takes ten minutes.
"""

from __future__ import annotations

import argparse
import faulthandler
import tempfile
from pathlib import Path

from tests.network.journeys import Cluster, Journey, cluster, travel
from tests.network.link import WEATHERS

LAPS = 5
PATIENCE = 600.0
"""Seconds after which a journey counts as hanging."""


def watched(there: Cluster, name: str, seed: int) -> Journey:
    """A journey, or the end of the program."""
    faulthandler.dump_traceback_later(PATIENCE, exit=True)
    try:
        return travel(there, WEATHERS[name], seed, laps=LAPS)
    finally:
        faulthandler.cancel_dump_traceback_later()


def main() -> None:
    """Run the workload in each weather, some times."""
    parser = argparse.ArgumentParser(prog="python -m tests.network", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="of each (default: 3)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="the first (default: 0)")
    parser.add_argument("--only", action="append", choices=WEATHERS, help="may be repeated")
    arguments = parser.parse_args()
    print("| network | rounds | wrong or hanging | shortest | longest | resets | half-open |")
    print("|---|---|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as directory, cluster(Path(directory)) as there:
        for name in arguments.only or WEATHERS:
            seeds = range(arguments.seed, arguments.seed + arguments.rounds)
            journeys = [watched(there, name, seed) for seed in seeds]
            seconds = [journey.seconds for journey in journeys]
            resets = sum(journey.resets for journey in journeys)
            freezes = sum(journey.freezes for journey in journeys)
            print(
                f"| {name} | {len(journeys)} | 0 | {min(seconds):.1f} s | {max(seconds):.1f} s "
                f"| {resets} | {freezes} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
