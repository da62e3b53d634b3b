"""What it costs to be told what tasks write: where they write nothing, and by the line.

    python -m benchmarks.micro.output

CPU time of all processes, in pairs that take turns: a run in which the client is told the output,
and one in which it is not. What a worker's process pays for being able to tell is measured alone.
"""

from __future__ import annotations

import contextlib
import io
import os
import statistics
import tempfile
import timeit
from collections.abc import Callable

import psutil

from armoflow import Client, task
from armoflow.agent.passages import NOBODY
from armoflow.worker.mark import Mark, create_mark_file
from armoflow.worker.output import Output

TASKS, LINES, PAIRS = 10_000, 20_000, 7


@task(batch_size=1)
def nothing(number: int) -> int:
    return number


@task
def lines(count: int) -> None:
    for number in range(count):
        print(number)


def seconds() -> float:
    """CPU time of this process and of those that it has started."""
    me = psutil.Process()
    times = [process.cpu_times() for process in (me, *me.children(recursive=True))]
    return float(sum(each.user + each.system for each in times))


def cost(run: Callable[[], object]) -> float:
    """CPU time of a run."""
    before = seconds()
    run()
    return seconds() - before


def silence() -> None:
    """10,000 tasks that write nothing."""
    shares, absolute = [], []
    with Client(workers=2, logs=True) as told, Client(workers=2, logs=False) as quiet:
        for pair in range(PAIRS + 1):
            with_output = cost(lambda: told.compute(nothing.map(range(TASKS))))
            without = cost(lambda: quiet.compute(nothing.map(range(TASKS))))
            if pair:  # the first warms up
                shares.append(with_output / without - 1)
                absolute.append(without / TASKS * 1e6)
    share = statistics.median(shares)
    print(f"a task that writes nothing: {statistics.median(absolute):.0f} us, told {share:+.1%}")


def process() -> None:
    """What a worker's process does after each task."""
    with tempfile.TemporaryDirectory() as directory:
        mark = Mark(create_mark_file(directory))
        output = Output(mark, b"token", lambda: NOBODY)
        count = 200_000
        spent = min(timeit.repeat(output.close, number=count, repeat=5)) / count * 1e6
        print(f"of it in the worker's process: {spent:.2f} us")


def speech() -> None:
    """A task that prints."""
    with Client(workers=1, logs=True) as told, contextlib.redirect_stdout(io.StringIO()):
        told.compute(lines(10))
        spent = cost(lambda: told.compute(lines(LINES))) / LINES * 1e6
    print(f"a printed line: {spent:.1f} us, of which {1000:,} a second are shown")


if __name__ == "__main__":
    print(f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}")
    process()
    silence()
    speech()
