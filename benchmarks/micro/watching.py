"""What watching costs: progress, output and dashboard together, where nothing is slow or prints.

    python -m benchmarks.micro.watching [--pairs 20] [--only dashboard]

CPU time of all processes (client, engine, workers, dashboard) of 10,000 tasks that do nothing, in
pairs that take turns: one run that is watched, by a progress bar, by a client that is told the
output and by a viewer of the dashboard, and one that is not. Two engines, which both have a
dashboard: in the second one nobody looks at it. Times are those of processors: other programs
count little. What the dashboard's process takes afterwards, to read what it had put off, is told
apart.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import tempfile
import threading
import time
import urllib.request
from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import urlsplit

import psutil

from armoflow import Client, task
from tests.cli.test_up import started

TASKS = 10_000
SETTLED = 3.0
"""Seconds without work of the dashboard's after which it has read all."""


@task(batch_size=1)
def nothing(number: int) -> int:
    return number


class Watched(NamedTuple):
    """An engine.

    Attributes:
        url: Where it is.
        process: Its process, whose children are workers and dashboard.
        page: The link to its dashboard.
    """

    url: str
    process: psutil.Process
    page: str

    def seconds(self) -> dict[str, float]:
        """CPU time of its processes and of this one, by what they are there for."""
        found: defaultdict[str, float] = defaultdict(float)
        found |= {"client": _seconds(psutil.Process()), "engine": _seconds(self.process)}
        for process in self.process.children(recursive=True):
            role = "dashboard" if "dashboard" in process.cmdline() else "workers"
            found[role] += _seconds(process)
        return found


def _seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


@contextlib.contextmanager
def engine() -> Iterator[Watched]:
    """One with a dashboard."""
    with tempfile.TemporaryDirectory() as state:
        up = ("up", "--listen", "127.0.0.1:0", "--state", state, "--workers", "2")
        with started(*up, "--dashboard", "127.0.0.1:0") as (process, url):
            assert process.stdout is not None
            page = process.stdout.readline().removeprefix("dashboard: ").strip()
            yield Watched(url, psutil.Process(process.pid), page)


@contextlib.contextmanager
def viewer(page: str, session: str) -> Iterator[None]:
    """Somebody who looks at a session, and lets the page follow it."""
    place = urlsplit(page)
    request = urllib.request.Request(
        f"{place.scheme}://{place.netloc}/api/sessions/{session}",
        headers={"Authorization": f"Bearer {place.fragment}"},
    )
    reply = urllib.request.urlopen(request)
    gone = threading.Event()

    def read() -> None:
        with contextlib.suppress(OSError, ValueError, AttributeError):
            while not gone.is_set() and reply.readline():
                pass

    reading = threading.Thread(target=read, daemon=True)
    reading.start()
    try:
        yield
    finally:
        gone.set()
        reply.fp.raw._sock.shutdown(2)
        reading.join()
        reply.close()


def settle(watched: Watched) -> None:
    """Wait until the dashboard has read what it had put off."""
    before, rested = sum(watched.seconds().values()), 0
    while rested < 2:
        time.sleep(SETTLED)
        now = sum(watched.seconds().values())
        rested = rested + 1 if now - before < 0.1 else 0
        before = now


def run(watched: Watched, parts: frozenset[str]) -> tuple[dict[str, float], float]:
    """CPU time of a run, and what the dashboard's process took after it."""
    with Client(watched.url, progress="progress" in parts, logs="output" in parts) as client:
        client.compute(nothing.map(range(100)))
        with contextlib.ExitStack() as stack:
            if "dashboard" in parts:
                session = session_of(watched.url)
                stack.enter_context(viewer(watched.page, session))
                settle(watched)
            begun = watched.seconds()
            client.compute(nothing.map(range(TASKS)))
            ended = watched.seconds()
            if "dashboard" in parts:
                settle(watched)
            after = watched.seconds()
            spent = {role: ended[role] - begun[role] for role in ended}
            return spent, after["dashboard"] - ended["dashboard"]


def session_of(url: str) -> str:
    """The id of the session that was opened last."""
    from armoflow.protocol.inspection import Inspection
    from armoflow.protocol.settings import ConnectionSettings

    with Inspection(ConnectionSettings(url)) as inspection:
        return str(inspection.sessions(1)[1][0].session_id)


def main() -> None:
    """Measure, and tell."""
    parser = argparse.ArgumentParser(description="CPU time of watching a run of 10,000 tasks")
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--only", choices=("progress", "output", "dashboard"))
    arguments = parser.parse_args()
    all = frozenset(("progress", "output", "dashboard"))
    parts = frozenset((arguments.only,)) if arguments.only else all
    shares, later, own = [], [], []
    with engine() as watched, engine() as alone:
        for pair in range(arguments.pairs + 1):
            order = [(watched, parts), (alone, frozenset[str]())]
            found = {each: run(each, looks) for each, looks in (order if pair % 2 else order[::-1])}
            if not pair:
                continue  # the first warms up
            (with_it, after), (without, _) = found[watched], found[alone]
            shares.append(sum(with_it.values()) / sum(without.values()) - 1)
            later.append(after)
            own.append(with_it["dashboard"] / sum(without.values()))
            told = ", ".join(
                f"{role} {with_it[role]:.2f} ({without[role]:.2f})" for role in with_it
            )
            print(f"{told}: {shares[-1]:+.1%}, afterwards {after:.2f} s", flush=True)
    names = " and ".join(sorted(parts))
    spread = statistics.quantiles(shares, n=4) if len(shares) > 1 else [shares[0]] * 3
    print(
        f"{names}: {statistics.median(shares):+.1%} of CPU time (half of the pairs from "
        f"{spread[0]:+.1%} to {spread[2]:+.1%}), of it the dashboard's own process "
        f"{statistics.median(own):.1%}; afterwards {statistics.median(later):.2f} s; "
        f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}"
    )


if __name__ == "__main__":
    main()
