"""What an open dashboard costs an engine with very many tasks: to read them, at rest, in a run.

    python -m benchmarks.micro.following [--tasks 1000000]

CPU time of the engine's process and of the dashboard's, and their memory, as a viewer of the
session follows it: until all tasks are known; for a minute in which nothing happens; and for the
time that 10,000 tasks more take, beside a run of as many that nobody looks at. Times are those of
processors: other programs count little.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from urllib.parse import urlsplit

import psutil

from armoflow import Client, task
from benchmarks.micro.watching import session_of, viewer
from tests.cli.test_up import started

AT_ONCE, MORE, REST = 50_000, 10_000, 60.0


@task(batch_size=1)
def nothing(number: int) -> int:
    return number


def known(page: str, session: str) -> int:
    """How many tasks of a session the dashboard has read."""
    place = urlsplit(page)
    request = urllib.request.Request(
        f"{place.scheme}://{place.netloc}/api/sessions/{session}",
        headers={"Authorization": f"Bearer {place.fragment}"},
    )
    with contextlib.closing(urllib.request.urlopen(request)) as reply:
        for line in reply:
            if line.startswith(b"data: "):
                return int(json.loads(line[6:])["known"])
    raise EOFError("the dashboard says nothing")


class Costs:
    """Processors' time of an engine and of its dashboard."""

    def __init__(self, engine: psutil.Process) -> None:
        self._engine = engine
        self._dashboard = next(
            child for child in engine.children() if "dashboard" in child.cmdline()
        )

    def seconds(self) -> tuple[float, float]:
        """So far: of the engine, of the dashboard."""
        engine, dashboard = (sum(p.cpu_times()[:2]) for p in (self._engine, self._dashboard))
        return engine, dashboard

    def tell(self, what: str, begun: float, before: tuple[float, float]) -> None:
        """Print what some time has cost."""
        engine, dashboard = (now - then for now, then in zip(self.seconds(), before, strict=True))
        memory = [p.memory_info().rss / 2**20 for p in (self._engine, self._dashboard)]
        print(
            f"{what}: {time.monotonic() - begun:.0f} s, engine {engine:.2f} s of CPU and "
            f"{memory[0]:.0f} MiB, dashboard {dashboard:.2f} s and {memory[1]:.0f} MiB",
            flush=True,
        )

    @contextlib.contextmanager
    def of(self, what: str) -> Iterator[None]:
        """What a block costs."""
        begun, before = time.monotonic(), self.seconds()
        yield
        self.tell(what, begun, before)


def fill(client: Client, tasks: int) -> None:
    """Run so many tasks."""
    for first in range(0, tasks, AT_ONCE):
        client.compute(nothing.map(range(min(AT_ONCE, tasks - first))))


def follow(page: str, session: str, tasks: int) -> None:
    """Wait until the dashboard knows so many."""
    while known(page, session) < tasks:
        time.sleep(1.0)


def measure(url: str, page: str, costs: Costs, tasks: int) -> None:
    """Fill an engine, and look at it."""
    with Client(url, progress=False, logs=False) as client:
        fill(client, tasks)
        session = session_of(url)
        with costs.of(f"{MORE:,} tasks that nobody looks at"):
            fill(client, MORE)
        with viewer(page, session):
            with costs.of(f"{tasks + MORE:,} tasks read"):
                follow(page, session, tasks + MORE)
            with costs.of("nothing happens"):
                time.sleep(REST)
            with costs.of(f"{MORE:,} tasks that are followed"):
                fill(client, MORE)


def main() -> None:
    """Measure, and tell."""
    parser = argparse.ArgumentParser(description="what an open dashboard costs an engine")
    parser.add_argument("--tasks", type=int, default=1_000_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as state:
        up = ("up", "--listen", "127.0.0.1:0", "--state", state, "--workers", "2")
        with started(*up, "--dashboard", "127.0.0.1:0") as (process, url):
            assert process.stdout is not None
            page = process.stdout.readline().removeprefix("dashboard: ").strip()
            measure(url, page, Costs(psutil.Process(process.pid)), arguments.tasks)
    print(f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
