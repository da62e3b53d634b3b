"""The script of the start-up benchmark: start a system, print its first result, stop."""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.suite.functions import increment
from benchmarks.suite.systems import load_system


def main(name: str, workers: str, directory: str) -> None:
    system = load_system(name)(int(workers), Path(directory))
    system.start()
    print("first", system.round_trip(increment, 41), flush=True)
    system.stop()


if __name__ == "__main__":
    main(*sys.argv[1:])
