"""The client's program: a mixed workload, every value of which says by which runs it was made.

``python -m tests.campaign.workload ENDPOINT EXTENSIONS DIRECTORY SEED`` tells what happens on its
standard output, one line of JSON each, and closes the client when a line comes in.
"""

from __future__ import annotations

import json
import os
import random
import sys
import threading
import time
import uuid
from collections.abc import Iterable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from armoflow import Client, task

Runs: TypeAlias = dict[str, str]
"""For each call that a value was made by: the token of the run that the value is of."""

Value: TypeAlias = tuple[int, Runs]
SECONDS = 0.004
LARGE = 200_000


def run(log: str, key: str) -> Runs:
    """Note that a call runs, and give this run a name."""
    token = uuid.uuid4().hex
    line = f"{key} {token} {time.monotonic_ns()}\n".encode()
    fd = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(fd, line)
    os.close(fd)
    time.sleep(SECONDS)
    return {key: token}


def union(*parts: Runs) -> Runs:
    """What several values were made by; a call of which they saw two runs shows both."""
    runs: Runs = {}
    for part in parts:
        for key, token in part.items():
            known = runs.setdefault(key, token)
            if known != token:
                runs[key] = f"{known} and {token}"
    return runs


class Expected(NamedTuple):
    """A future of the workload, and the number that its value must hold."""

    name: str
    future: Any
    number: int


class Workload:
    """The calls of one round.

    Args:
        client: Runs them.
        folder: Where they leave notes.
        seed: Decides how many of each there are.
    """

    def __init__(self, client: Client, folder: Path, seed: int) -> None:
        self._client = client
        self._random = random.Random(seed)
        self._log = str(folder / "runs")
        self._marks = str(folder)

    def start(self) -> list[Expected]:
        """Submit everything."""
        parts = [self._map, self._singles, self._reduce, self._chain, self._shared]
        parts += [self._children, self._retries, self._large]
        self._random.shuffle(parts)
        return [expected for part in parts for expected in part()]

    def _map(self) -> Iterable[Expected]:
        make = self._make("map")
        count = self._random.randint(30, 90)
        futures = self._client.map(make, range(count))
        return [Expected(f"map-{n}", future, n) for n, future in enumerate(futures)]

    def _singles(self) -> Iterable[Expected]:
        make = self._make("single")
        for number in range(self._random.randint(5, 25)):
            yield Expected(f"single-{number}", self._client.submit(make(number)), number)

    def _reduce(self) -> Iterable[Expected]:
        count = self._random.randint(20, 60)
        total = self._make("leaf").map(range(count)).reduce(self._add(), fan_in=4)
        yield Expected("reduce", self._client.submit(total), sum(range(count)))

    def _chain(self) -> Iterable[Expected]:
        log, steps = self._log, self._random.randint(3, 12)
        fuse = self._random.random() < 0.5

        @task(fuse=fuse)
        def step(value: Value, number: int) -> Value:
            return value[0] + 1, union(value[1], run(log, f"step-{number}"))

        value = self._make("begin")(0)
        for number in range(steps):
            value = step(value, number)
        yield Expected("chain", self._client.submit(value), steps)

    def _shared(self) -> Iterable[Expected]:
        """The same values are read by two, who must have seen the same."""
        log, count = self._log, self._random.randint(10, 30)
        source = self._make("source").map(range(count))

        @task
        def follow(value: Value) -> Value:
            return value[0], union(value[1], run(log, f"follow-{value[0]}"))

        @task
        def both(first: list[Value], second: list[Value]) -> Value:
            values = [*first, *second]
            return sum(value[0] for value in values), union(*(value[1] for value in values))

        future = self._client.submit(both(source, source.map(follow)))
        yield Expected("shared", future, 2 * sum(range(count)))

    def _children(self) -> Iterable[Expected]:
        make, add, count = self._make("child"), self._add(), self._random.randint(4, 20)

        @task
        def parent(first: int) -> Any:
            return make.map(range(first, first + count)).reduce(add)

        for number in range(3):
            first = 1000 * (number + 1)
            expected = sum(range(first, first + count))
            yield Expected(f"parent-{number}", self._client.submit(parent(first)), expected)

    def _retries(self) -> Iterable[Expected]:
        log, marks = self._log, self._marks

        @task(retries=3, backoff=0.03)
        def flaky(number: int) -> Value:
            runs = run(log, f"flaky-{number}")
            mark = f"{marks}/flaky-{number}"
            if number % 3 == 0 and not os.path.exists(mark):  # noqa: PTH110 - short and in a task
                open(mark, "w").close()  # noqa: PTH123
                raise ConnectionError("the first attempt")
            return number, runs

        futures = self._client.map(flaky, range(self._random.randint(6, 30)))
        return [Expected(f"flaky-{n}", future, n) for n, future in enumerate(futures)]

    def _large(self) -> Iterable[Expected]:
        log = self._log

        @task
        def grow(number: int) -> tuple[bytes, Runs]:
            return bytes([number]) * LARGE, run(log, f"grow-{number}")

        @task
        def measure(grown: tuple[bytes, Runs], number: int) -> Value:
            data, runs = grown
            right = data == bytes([number]) * LARGE
            return len(data) if right else -1, union(runs, run(log, f"measure-{number}"))

        for number in range(self._random.randint(2, 6)):
            future = self._client.submit(measure(grow(number), number))
            yield Expected(f"large-{number}", future, LARGE)

    def _make(self, name: str) -> Any:
        log = self._log

        def make(number: int) -> Value:
            return number, run(log, f"{name}-{number}")

        return task(make).with_options(name=name)

    def _add(self) -> Any:
        @task
        def add(left: Value, right: Value) -> Value:
            return left[0] + right[0], union(left[1], right[1])

        return add


def tell(event: str, **what: Any) -> None:
    """Say what happened."""
    line = json.dumps({"event": event, "at": time.monotonic_ns(), **what})
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def look(expected: Expected, future: Future[Value]) -> None:
    """Say what a future came to."""
    error = future.exception()
    if error is not None:
        tell("failed", name=expected.name, error=f"{type(error).__name__}: {error}")
        return
    number, runs = future.result()
    if number != expected.number:
        text = f"{number} is not {expected.number}"
        tell("failed", name=expected.name, error=text)
    tell("seen", name=expected.name, runs=runs)


def main() -> None:
    """Run the workload."""
    endpoint, extensions, folder, seed = sys.argv[1:5]
    lock = threading.Lock()

    def looking(expected: Expected) -> Any:
        def done(future: Future[Value]) -> None:
            with lock:
                look(expected, future)

        return done

    with Client(endpoint or None, workers=2, extensions=extensions == "yes") as client:
        started = Workload(client, Path(folder), int(seed)).start()
        tell("started", count=len(started))
        for expected in started:
            expected.future.add_done_callback(looking(expected))
        for expected in started:
            expected.future.exception()
        tell("done")
        sys.stdin.readline()


if __name__ == "__main__":
    main()
