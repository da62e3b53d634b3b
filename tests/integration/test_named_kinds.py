"""Named runs of every kind of graph, and with every policy: run once, attached to, gone on with."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from armoflow import Client, items, task
from armoflow.errors import TooManyFailuresError
from tests.integration.engines import Up
from tests.integration.gates import Log, note


@task
def double(number: int, log: str) -> int:
    note(log, f"double-{number}")
    return 2 * number


@task
def add(first: int, second: int) -> int:
    return first + second


@task
def total(numbers: list[int], log: str) -> int:
    note(log, "total")
    return sum(numbers)


@task
def around(left: int | None, own: int, right: int | None) -> int:
    return (left or 0) + own + (right or 0)


@task
def grown(number: int, log: str) -> Any:
    note(log, f"grown-{number}")
    return add(double(number, log), 1)


@task
def many(number: int, log: str) -> Any:
    note(log, f"many-{number}")
    return total(double.map(range(number), log=log), log)


@task
def is_small(number: int, log: str) -> bool:
    note(log, f"is_small-{number}")
    return number < 5


@task
def broken_once(number: int, log: str, flag: str) -> int:
    """The second item fails while there is no such file."""
    note(log, f"broken-{number}")
    if number == 1 and not Path(flag).exists():
        raise ValueError(f"no {flag}")
    return number


@task(retries=2, backoff=0)
def second_time(number: int, log: str) -> int:
    note(log, f"second_time-{number}")
    if Path(log).read_text().split().count(f"second_time-{number}") < 2:
        raise ValueError(number)
    return number


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(tmp_path / "log")


@pytest.fixture
def name() -> str:
    return f"run-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def other(engine: Up) -> Iterator[Client]:
    with Client(engine.endpoint, workers=2) as connected:
        yield connected


skipping = broken_once.with_options(on_failure="skip")
replacing = broken_once.with_options(on_failure=lambda error: 100)
KINDS: dict[str, tuple[Callable[[str, str], Any], Any]] = {
    "iterate": (
        lambda log, flag: around.iterate(
            double.map(range(4), log=log), steps=3, neighbours=(-1, 0, 1)
        ),
        None,
    ),
    "iterate, one after the other": (
        lambda log, flag: total(around.iterate(double.map([1, 2, 3], log=log), steps=2), log),
        None,
    ),
    "packs": (lambda log, flag: double.with_options(batch_size=3).map(range(8), log=log), None),
    "packs, reduced": (
        lambda log, flag: double.with_options(batch_size=3).map(range(8), log=log).reduce(add),
        56,
    ),
    "fold": (lambda log, flag: double.map(range(4), log=log).fold(add, initial=5), 17),
    "zip": (lambda log, flag: double.map([1, 2], log=log).zip([3, 4]), [(2, 3), (4, 4)]),
    "returned graph": (lambda log, flag: grown(3, log), 7),
    "returned graphs": (lambda log, flag: grown.map(range(3), log=log), [1, 3, 5]),
    "returned map": (lambda log, flag: add(many(4, log), 1), 13),
    "map of a returned list": (
        lambda log, flag: double.map(task(range)(double(2, log)), log=log),
        None,
    ),
    "filter, mapped": (
        lambda log, flag: items([1, 9, 3]).filter(is_small, log=log).map(double, log=log),
        [2, 6],
    ),
    "slice": (lambda log, flag: double.map(range(9), log=log)[2:4], [4, 6]),
    "skip": (lambda log, flag: skipping.map(range(4), log=log, flag=flag), [0, 2, 3]),
    "skip, gathered": (
        lambda log, flag: total(skipping.map(range(4), log=log, flag=flag), log),
        5,
    ),
    "in its place": (
        lambda log, flag: replacing.map(range(4), log=log, flag=flag),
        [0, 100, 2, 3],
    ),
    "enough": (
        lambda log, flag: total(
            skipping.with_options(min_success=0.5).map(range(4), log=log, flag=flag), log
        ),
        5,
    ),
    "retries": (lambda log, flag: second_time.map(range(3), log=log), [0, 1, 2]),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_is_run_once_whatever_is_in_it(
    client: Client, other: Client, name: str, log: Log, tmp_path: Path, kind: str
) -> None:
    build, expected = KINDS[kind]
    flag = str(tmp_path / "flag")
    value = client.submit(build(log.path, flag), name=name).result()
    assert expected is None or value == expected
    counts = log.counts()
    before = set(counts)
    assert other.attach(name).result() == value
    assert other.submit(build(log.path, flag), name=name).result() == value
    assert client.submit(build(log.path, flag), name=name).result() == value
    counts = log.counts() - counts
    assert not counts.keys() & before, counts
    assert set(counts.values()) <= {1}  # of what was asked for, not all is needed for the value


@pytest.mark.parametrize("options", [{}, {"batch_size": 1}, {"batch_size": 4}, {"retries": 1}])
def test_only_what_failed_runs_again_however_it_was_packed(
    client: Client, other: Client, name: str, log: Log, tmp_path: Path, options: dict[str, Any]
) -> None:
    flag = tmp_path / "flag"
    broken = broken_once.with_options(backoff=0, **options)
    collection = broken.map(range(4), log=log.path, flag=str(flag))
    graph = total(collection.map(double, log=log.path), log.path)
    with pytest.raises(ValueError, match="no "):
        client.submit(graph, name=name).result()
    flag.touch()
    assert other.submit(graph, name=name).result() == 12
    counts = log.counts()
    assert counts.pop("broken-1") == 2 + options.get("retries", 0)
    assert set(counts.values()) == {1} and len(counts) == 8
    assert client.attach(name).result() == 12


def test_too_few_that_end_well_fail_a_run_and_only_the_others_run_again(
    client: Client, other: Client, name: str, log: Log, tmp_path: Path
) -> None:
    flag = tmp_path / "flag"
    most = skipping.with_options(min_success=1.0)
    graph = total(most.map(range(4), log=log.path, flag=str(flag)), log.path)
    with pytest.raises(TooManyFailuresError):
        client.submit(graph, name=name).result()
    with pytest.raises(TooManyFailuresError):
        other.attach(name).result()
    flag.touch()
    assert other.submit(graph, name=name).result() == 6
    assert log.counts() == {"broken-0": 1, "broken-1": 2, "broken-2": 1, "broken-3": 1, "total": 1}
