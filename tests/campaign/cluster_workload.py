"""The client's program of a round on the realistic engine: the mixed workload, and more.

``python -m tests.campaign.cluster_workload ENDPOINT DIRECTORY SEED`` says what was wrong on its
standard output, one line of JSON each, and ends with 0 if it came to its end.
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Iterable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from armoflow import Client, task
from tests.campaign.workload import LARGE, Expected, Value, Workload, run


class ClusterWorkload(Workload):
    """The calls of one round, with failures and streams among them.

    Args:
        client: Runs them.
        folder: Where they leave notes.
        seed: Decides how many of each there are.
    """

    def __init__(self, client: Client, folder: Path, seed: int) -> None:
        super().__init__(client, folder, seed)
        self.failing: list[Future[Any]] = []
        self.following: list[Future[Any]] = []

    def start(self) -> list[Expected]:
        """Submit everything but the streams."""
        expected = [*super().start(), *self._one_by_one()]
        self._fail()
        return expected

    def _one_by_one(self) -> Iterable[Expected]:
        make = self._make("alone").with_options(batch_size=1)
        count = self._random.randint(10, 40)
        futures = self._client.map(make, range(count))
        return [Expected(f"alone-{n}", future, n) for n, future in enumerate(futures)]

    def _fail(self) -> None:
        log = self._log

        @task(retries=1, backoff=0.02)
        def broken(number: int) -> Value:
            run(log, f"broken-{number}")
            raise LookupError(number)

        @task
        def follow(value: Value) -> Value:
            return value

        for number in range(self._random.randint(1, 4)):
            failing = broken(number)
            self.failing.append(self._client.submit(failing))
            self.following.append(self._client.submit(follow(failing)))

    def stream(self) -> tuple[int, int]:
        """Run collections as they complete; the sum of what came, and of what should have."""
        log, count = self._log, self._random.randint(20, 60)

        @task(batch_size=4)
        def grow(number: int) -> bytes:
            run(log, f"stream-{number}")
            return bytes([number]) * LARGE

        came = [future.result() for future in self._client.as_completed(grow.map(range(count)))]
        total = sum(data[0] for data in came if data == data[:1] * LARGE)
        return total, sum(range(count))


def wrong(what: str) -> None:
    """Say what is wrong."""
    print(json.dumps(what), flush=True)


def check(expected: Expected) -> None:
    """Compare a value with what it should be."""
    error = expected.future.exception()
    if error is not None:
        wrong(f"{expected.name}: {type(error).__name__}: {error}")
    elif (number := expected.future.result()[0]) != expected.number:
        wrong(f"{expected.name}: {number} is not {expected.number}")


def main() -> None:
    """Run the workload."""
    endpoint, folder, seed = sys.argv[1:4]
    values = 0
    with Client(endpoint, workers=2, **_options(int(seed))) as client:
        workload = ClusterWorkload(client, Path(folder), int(seed))
        started = workload.start()
        total, expected_total = workload.stream()
        if total != expected_total:
            wrong(f"stream: {total} is not {expected_total}")
        for expected in started:
            check(expected)
        values = len(started) + 1
        for future in (*workload.failing, *workload.following):
            error = future.exception()
            if not isinstance(error, LookupError):
                wrong(f"a failing task: {type(error).__name__}: {error}")
        values += len(workload.failing) * 2
    print(json.dumps(values), flush=True)


def _options(seed: int) -> dict[str, Any]:
    chance = random.Random(seed)
    return {
        "payloads": chance.choice(["auto", "delayed", "inline", "eager"]),
        "fuse": chance.random() < 0.5,
    }


if __name__ == "__main__":
    main()
