"""How fast this machine runs the compute kernel of Task Bench, with every worker's core busy."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

from benchmarks.suite.functions import spin

_ITERATIONS = 4_000_000


def calibrate(workers: int, rounds: int = 3) -> float:
    """Iterations per second of one worker while ``workers`` of them run at once.

    Each worker is a fresh process, and all of them start together: what a core does alone says
    little about what it does beside a busy neighbour.
    """
    rates = []
    for _ in range(rounds):
        processes = [
            subprocess.Popen(
                [sys.executable, "-m", "benchmarks.suite.kernel"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for _ in range(workers)
        ]
        for process in processes:
            assert process.stdout is not None
            process.stdout.readline()
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        for process in processes:
            output, _ = process.communicate()
            rates.append(float(output))
    return statistics.median(rates)


def main() -> None:
    """One worker of the calibration: says that it is ready, waits, runs, prints its rate."""
    print("ready", flush=True)
    sys.stdin.readline()
    began = time.perf_counter()
    spin(_ITERATIONS)
    print(_ITERATIONS / (time.perf_counter() - began))


if __name__ == "__main__":
    main()
