"""How long a browser takes to load the dashboard of 100,000 tasks, and to follow it.

    python -m benchmarks.dashboard [--tasks 100000] [--rounds 5]

From Chromium's own trace: from the navigation to the first drawn update (all tasks are in the
timeline), and from each message of the server to what is drawn of it, while 500 more tasks end
before each. What the server takes for a message is told, too. Medians and the worst. Of a million
(``--tasks 1000000``) the numbers are shown, and the first 250,000 in the timeline and the stream.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import statistics
import threading
import time
from collections.abc import Container, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import uvicorn
from armonik.common import Session, TaskStatus

from armoflow.dashboard import watch as watches
from armoflow.dashboard.app import make_app
from armoflow.dashboard.dashboard_server import bind
from armoflow.dashboard.feed import SessionFeed
from armoflow.dashboard.sources import EndedPage, Glance
from armoflow.dashboard.watch import Hub, SessionWatch
from armoflow.report.trace import TaskRun
from armoflow.system.http_server import web_config
from tests.dashboard.browser import browser
from tests.dashboard.test_feed import Engine

PODS, NAMES, MORE, UPDATES, PATIENCE = 100, 12, 500, 10, 120
CATEGORIES = ["blink.user_timing", "devtools.timeline", "loading"]


def runs() -> Iterator[TaskRun]:
    """Tasks in the order of their ends, on many workers."""
    chance = random.Random(7)
    free = [1e9] * PODS
    number = 0
    while True:
        pod = min(range(PODS), key=free.__getitem__) if number % 4 else number % PODS
        start, seconds = free[pod], chance.expovariate(20)
        free[pod] = start + seconds
        yield TaskRun(
            f"{chance.getrandbits(128):032x}",
            f"step {number % NAMES}",
            "failed" if number % 1000 == 7 else "done",
            pod=f"pod-{pod}",
            created=1e9,
            queued=1e9,
            taken=start,
            started=start,
            stopped=start + seconds,
            ended=start + seconds,
            inputs=(f"r{number - 1}",) if number % NAMES else (),
            outputs=(f"r{number}",),
            bytes_in=100,
            bytes_out=100,
            error=f"row {number} is missing" if number % 1000 == 7 else "",
        )
        number += 1


class Growing:
    """Whom the dashboard asks: each time, more tasks have ended."""

    seconds = 0.0

    def __init__(self, tasks: int) -> None:
        self._runs = runs()
        self._waiting = list(islice(self._runs, tasks))
        self._ended = tasks

    def glance(self) -> Glance:
        """Some more have ended; others go on for ever."""
        if not self._waiting:
            self._waiting = list(islice(self._runs, MORE))
            self._ended += MORE
        return Glance({TaskStatus.COMPLETED: self._ended, TaskStatus.PROCESSING: PODS}, ())

    def ended(self, known: Container[str], *, live: bool) -> EndedPage:
        """All that are new."""
        found, self._waiting = self._waiting, []
        return EndedPage(found)


class TimedWatch(SessionWatch):
    """One that notes how long the server takes."""

    def __init__(self, feed: SessionFeed) -> None:
        super().__init__(feed, None)
        self.seconds: list[float] = []

    def _ask(self) -> Any:
        begun = time.perf_counter()
        try:
            return super()._ask()
        finally:
            self.seconds.append(time.perf_counter() - begun)


@contextlib.contextmanager
def served(tasks: int) -> Iterator[tuple[str, TimedWatch]]:
    """A dashboard of a session with so many tasks; its link."""
    engine: Any = Engine()
    feed = SessionFeed(engine, Session(session_id="many", status=1), source=Growing(tasks))
    watch = TimedWatch(feed)
    hub = Hub(engine, lambda: None)
    hub._sessions["many"] = watch
    asyncio.run(watch._look())
    listening = bind("127.0.0.1:0")
    server = uvicorn.Server(web_config(make_app(hub, "token")))
    serving = threading.Thread(target=server.run, args=([listening],))
    serving.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/sessions/many#token", watch
    finally:
        hub.end()
        server.should_exit = True
        serving.join()


def measure(page: Any, chromium: Any, link: str, file: Path) -> tuple[float, list[float]]:
    """Milliseconds of the load and of the updates after it, from a trace."""
    chromium.start_tracing(page=page, path=file, categories=CATEGORIES)
    page.goto(link)
    page.evaluate(
        """count => new Promise(resolve => {
          let seen = 0;
          new PerformanceObserver(list => {
            seen += list.getEntries().length;
            if (seen > count) resolve();
          }).observe({ type: "measure", buffered: true });
        })""",
        UPDATES,
    )
    chromium.stop_tracing()
    events = json.loads(file.read_text())["traceEvents"]
    begun = max(
        event["ts"]
        for event in events
        if event["name"] == "navigationStart"
        and event["args"]["data"].get("documentLoaderURL", "").startswith("http")
    )
    marks = sorted(
        (event for event in events if event["name"] == "update" and event["ph"] in "be"),
        key=lambda event: event["ts"],
    )
    starts = [event["ts"] for event in marks if event["ph"] == "b"]
    ends = [event["ts"] for event in marks if event["ph"] == "e"]
    updates = [(end - start) / 1000 for start, end in zip(starts, ends, strict=True)]
    return (ends[0] - begun) / 1000, updates[1:]


def main() -> None:
    """Measure, and tell."""
    parser = argparse.ArgumentParser(description="loading and following 100,000 tasks")
    parser.add_argument("--tasks", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--trace", type=Path, default=Path("dashboard-trace.json"))
    arguments = parser.parse_args()
    watches.PAUSE, watches.LONGEST_REST = 0.3, 0.5
    loads: list[float] = []
    updates: list[float] = []
    with served(arguments.tasks) as (link, watch), browser() as chromium:
        watch.seconds.clear()
        for _ in range(arguments.rounds):
            page = chromium.new_page(viewport={"width": 1200, "height": 900})
            page.set_default_timeout(1000 * PATIENCE)
            load, found = measure(page, chromium, link, arguments.trace)
            page.close()
            loads.append(load)
            updates += found
    for what, values in (
        ("page load", loads),
        ("update", updates),
        ("server", [1000 * each for each in watch.seconds]),
    ):
        print(f"{what}: {statistics.median(values):.0f} ms, at most {max(values):.0f} ms")
    print(f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
