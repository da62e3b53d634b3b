"""A client of a named run: ``python -m tests.campaign.named_workload begin|attach ENDPOINT NAME LOG
TASKS``. Says ``begun`` before it submits, then what it has come to.
"""

from __future__ import annotations

import sys
import time

from armoflow import Client, task
from armoflow.errors import NamedRunError
from tests.integration.gates import note


@task(batch_size=1)
def first(number: int, log: str) -> int:
    note(log, f"first-{number}")
    time.sleep(0.0005)
    return number + 1


@task(batch_size=1)
def second(number: int, log: str) -> int:
    note(log, f"second-{number}")
    time.sleep(0.0005)
    return 2 * number


@task
def total(numbers: list[int], log: str) -> int:
    note(log, "total")
    return sum(numbers)


def expected(tasks: int) -> int:
    """What the run comes to."""
    return sum(2 * (number + 1) for number in range(tasks // 2))


def main(what: str, endpoint: str, name: str, log: str, tasks: int) -> None:
    """Begin the run, or attach to it."""
    with Client(endpoint, workers=2) as client:
        print("begun", flush=True)
        if what == "attach":
            try:
                print(client.attach(name).result(), flush=True)
            except NamedRunError as error:
                print("not whole" if "is not whole" in str(error) else "not there", flush=True)
        else:
            items = first.map(range(tasks // 2), log=log).map(second, log=log)
            print(client.submit(total(items, log), name=name).result(), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:5], int(sys.argv[5]))
