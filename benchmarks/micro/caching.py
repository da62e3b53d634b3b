"""What a cache saves: graphs and maps that were computed before, each in a fresh interpreter.

``python -m benchmarks.micro.caching`` prints a table: seconds, memory, calls that ran, and bytes
between client and engine.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from armoflow import Client, task
from tests.integration.engines import EMBEDDED, up
from tests.network.relay import Relay

WORKERS = 2
KNOWN = 100_000
SHARE = 100
"""One of so many items is new."""


@task(cache=True)
def double(number: int) -> int:
    """The least that is worth a key."""
    return 2 * number


@task(cache=True)
def add(first: int, second: int) -> int:
    """The same of two."""
    return first + second


def graph(client: Client, _: int) -> None:
    """Ten layers of a hundred calls."""
    layer = [double(number) for number in range(100)]
    for _ in range(9):
        layer = [add(layer[at], layer[at - 1]) for at in range(100)]
    client.compute(*layer)


def known(client: Client, _: int) -> None:
    """A map."""
    assert len(client.compute(double.map(range(KNOWN)))) == KNOWN


def large(client: Client, items: int) -> None:
    """A larger one."""
    assert len(client.compute(double.map(range(items)))) == items


def appended(client: Client, items: int) -> None:
    """The same with new items at its end."""
    new = items // SHARE
    assert len(client.compute(double.map(range(new, items + new)))) == items


def scattered(client: Client, items: int) -> None:
    """The same with new items between those that are known."""
    numbers = [-number - 1 if number % SHARE == 0 else number for number in range(items)]
    assert len(client.compute(double.map(numbers))) == items


CASES: dict[str, tuple[str, Callable[[Client, int], None]]] = {
    "graph": ("1,000 calls, first", graph),
    "graph again": ("1,000 calls, again", graph),
    "known": (f"map of {KNOWN:,}, first", known),
    "known again": (f"map of {KNOWN:,}, again", known),
    "large": ("map of {items:,}, first", large),
    "large again": ("map of {items:,}, again", large),
    "appended": ("map of {items:,}, 1 % new at its end", appended),
    "scattered": ("map of {items:,}, 1 % new here and there", scattered),
}
"""In this order: each finds what those before have computed."""


class Measured(NamedTuple):
    """What a run took.

    Attributes:
        computing: Seconds in ``compute``.
        processor: Seconds of CPU time of the client.
        memory: Bytes of its memory, at most.
        ran: Calls that ran.
        tasks: Engine tasks.
    """

    computing: float
    processor: float
    memory: int
    ran: int
    tasks: int


def run_here(case: str, endpoint: str, items: int) -> Measured:
    """One case, in this process."""
    with Client(endpoint, workers=WORKERS, progress=False) as client:
        tasks = _count_tasks(client)
        begun = time.perf_counter()
        CASES[case][1](client, items)
        computing = time.perf_counter() - begun
        ran = client.explain().misses
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return Measured(computing, time.process_time(), memory, ran, sum(tasks))


def _count_tasks(client: Client) -> list[int]:
    """How many engine tasks each batch has that is submitted."""
    backend: Any = client._backend
    transport = backend._orchestrator.transport
    submit, tasks = transport.submit, list[int]()

    async def counted(session_id: str, batch: Any, *rest: Any) -> None:
        tasks.append(len(batch))
        await submit(session_id, batch, *rest)

    transport.submit = counted
    return tasks


def run_anew(case: str, relay: Relay, items: int) -> list[str]:
    """One case in a fresh interpreter; a row of the table."""
    relay.moved = 0
    begun = time.perf_counter()
    command = [sys.executable, "-m", "benchmarks.micro.caching", "--case", case]
    command += ["--endpoint", relay.endpoint, "--items", str(items)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    seconds = time.perf_counter() - begun
    found = Measured(**json.loads(done.stdout))
    return [
        CASES[case][0].format(items=items),
        f"{seconds:.2f} s",
        f"{found.computing:.2f} s",
        f"{found.processor:.2f} s",
        f"{found.memory / 2**20:.0f} MB",
        f"{found.ran:,}",
        f"{found.tasks:,}",
        f"{relay.moved / 1000:,.1f} kB",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--case", choices=list(CASES))
    parser.add_argument("--endpoint")
    chosen = parser.parse_args()
    if chosen.endpoint:
        print(json.dumps(run_here(chosen.case, chosen.endpoint, chosen.items)._asdict()))
        return
    print("| | whole | compute | CPU | memory | calls ran | engine tasks | moved |")
    print("|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="af-") as directory:
        os.environ["ARMOFLOW_CACHE"] = f"{directory}/cache"
        state = Path(directory, "engine")
        state.mkdir()
        with up(state, *EMBEDDED) as engine:
            relay = Relay(engine.endpoint, directory)
            for case in CASES:
                print(f"| {' | '.join(run_anew(case, relay, chosen.items))} |", flush=True)
            relay.stop()


if __name__ == "__main__":
    main()
