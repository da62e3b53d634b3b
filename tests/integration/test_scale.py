"""Large graphs: quick to start, bounded in memory, few calls."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from armoflow import Client, task
from tests.integration.engines import EMBEDDED, up


@task
def add(first: int, second: int) -> int:
    return first + second


def test_the_first_task_runs_before_the_input_ends(client: Client, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    seen = threading.Event()

    @task
    def note(number: int) -> int:
        ran.touch()
        return number

    def numbers() -> Iterator[int]:
        for number in range(10_000):
            if number == 5_000:
                # The second half is given only once the first task has been seen to run.
                while not ran.exists():
                    seen.wait(0.01)
            yield number

    assert client.compute(note.map(numbers()).reduce(add)) == sum(range(10_000))


def test_a_graph_that_a_task_returns_may_have_any_size(client: Client) -> None:
    """Its tasks are told in several messages, and taken in in parts."""

    @task(batch_size=1)
    def double(number: int) -> int:
        return 2 * number

    @task
    def grow(count: int) -> int:
        return double.map(range(count)).reduce(add)  # type: ignore[return-value]

    count = 1_200
    assert client.compute(grow(count)) == count * (count - 1)


MILLION = """
from pathlib import Path
from armoflow import Client, task

@task
def same(number: int) -> int:
    return number

@task
def add(first: int, second: int) -> int:
    return first + second

with Client(workers=2) as client:
    total = client.compute(same.map(n for n in range(1_000_000)).reduce(add))
# Not ru_maxrss: that of a new process starts with what its parent had.
(peak,) = [line for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line]
print(total, int(peak.split()[1]) // 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_generator_of_a_million_items_stays_under_300_mb() -> None:
    done = subprocess.run(
        [sys.executable, "-c", MILLION], capture_output=True, text=True, timeout=110, check=True
    )
    total, megabytes = map(int, done.stdout.split())
    assert total == sum(range(1_000_000))
    assert megabytes < 300


def test_ten_thousand_tasks_are_a_handful_of_calls(tmp_path: Path) -> None:
    @task
    def noop(number: int) -> int:
        return number

    with up(tmp_path, *EMBEDDED) as engine:
        with Client(engine.endpoint, workers=2) as client:
            assert client.compute([noop(number) for number in range(10_000)]) == list(range(10_000))
        calls = engine.called()
    assert calls.count("Extension/Connect") == 1
    assert len(calls) < 20
