"""What distance costs: the same work with and without 50 ms between client and engine.

    python -m benchmarks.latency [--rounds 5] [--round-trip 0.05] [--only embedded|costed]

Standard calls only, through a relay (a process of its own) that holds back every byte for half a
round trip, or not at all. The engines: the embedded one, whose tasks cost little, and one on which
calls and tasks take the time they took on a real cluster (``python -m tests.realistic --costed``).
Every call is a task of its own, so that there is something to move for each. Rounds take turns; the
ratio is that of the medians.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from armoflow import Client, task
from tests.integration.engines import Up
from tests.network.link import Weather, link
from tests.realistic.process import Realistic

GOAL = 0.8
AHEAD = 256
"""Chunks of 16 KB: 4 MB on their way, so that distance alone counts."""

ROOT = Path(__file__).parent.parent


@task(batch_size=1, fuse=False)
def double(number: int) -> int:
    return 2 * number


@task(batch_size=1, fuse=False)
def fill(size: int) -> bytes:
    return bytes(size)


def by_submit(client: Client, count: int) -> None:
    futures = [client.submit(double, number) for number in range(count)]
    assert [future.result() for future in futures] == [2 * number for number in range(count)]


def by_compute(client: Client, count: int) -> None:
    values = client.compute(*(double(number) for number in range(count)))
    assert list(values) == [2 * number for number in range(count)]


def by_map(client: Client, count: int) -> None:
    values = [future.result() for future in client.map(double, range(count))]
    assert values == [2 * number for number in range(count)]


def large_values(client: Client, count: int) -> None:
    values = client.compute(*(fill(200_000) for _ in range(count // 4)))
    assert all(len(value) == 200_000 for value in values)


WORK: dict[str, Callable[[Client, int], None]] = {
    "by client.submit": by_submit,
    "in one compute": by_compute,
    "by client.map": by_map,
    "a quarter of them, values of 200 KB": large_values,
}


class Engine(NamedTuple):
    """An engine to measure on.

    Attributes:
        start: Starts it, with its state in a directory.
        tasks: How many take some seconds.
    """

    start: Callable[[Path], Up]
    tasks: int


ENGINES = {
    "embedded": Engine(lambda path: Up(path, "--no-extensions", "--workers", "2"), 4000),
    "costed": Engine(lambda path: Realistic(path, "--costed", "--workers", "2"), 300),
}


@contextmanager
def relay(path: str, round_trip: float) -> Iterator[str]:
    """The address of a relay to a socket."""
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.latency", "--relay", path, str(round_trip)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
    )
    assert process.stdin and process.stdout
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.stdin.close()
        process.wait()
        process.stdout.close()


def serve_relay(path: str, round_trip: str) -> None:
    """Relay until the standard input ends."""
    with link(path, Weather(float(round_trip), ahead=AHEAD)) as between:
        print(between.port, flush=True)
        sys.stdin.read()


def rate(endpoint: str, work: Callable[[Client, int], None], count: int) -> float:
    """Tasks a second, in a client of its own."""
    with Client(endpoint, extensions=False) as client:
        client.compute(double(0))
        begin = time.perf_counter()
        work(client, count)
        return count / (time.perf_counter() - begin)


def measure(name: str, rounds: int, round_trip: float) -> None:
    """All work on one engine."""
    engine = ENGINES[name]
    with tempfile.TemporaryDirectory(prefix="afl-") as directory:
        started = engine.start(Path(directory))
        try:
            path = started.endpoint.removeprefix("unix:")
            with relay(path, 0.0) as near, relay(path, round_trip) as far:
                rate(near, by_compute, engine.tasks)
                for what, work in WORK.items():
                    rates = [
                        (rate(near, work, engine.tasks), rate(far, work, engine.tasks))
                        for _ in range(rounds)
                    ]
                    here, there = (statistics.median(way) for way in zip(*rates, strict=True))
                    print(
                        f"| {name} | {engine.tasks} {what} | {here:,.0f}/s | {there:,.0f}/s "
                        f"| {there / here:.0%} | {there / here / GOAL - 1:+.0%} |",
                        flush=True,
                    )
        finally:
            started.stop()


def main() -> None:
    """Measure, and print a row after the other."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.latency",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--round-trip", type=float, default=0.05, help="seconds")
    parser.add_argument("--only", action="append", choices=ENGINES)
    parser.add_argument("--relay", nargs=2, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.relay:
        serve_relay(*chosen.relay)
        return
    print(f"| engine | tasks | near | {chosen.round_trip * 1e3:.0f} ms away | ratio | margin |")
    print("|---|---|---|---|---|---|", flush=True)
    for name in chosen.only or ENGINES:
        measure(name, chosen.rounds, chosen.round_trip)
    print(f"\nThe goal is a ratio of {GOAL:.0%}.")


if __name__ == "__main__":
    main()
