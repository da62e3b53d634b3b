"""Processors, memory and partitions of tasks, on every path to a worker."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import armoflow
from armoflow import Client, current_task, task
from armoflow.errors import MemoryLimitError, SubmissionError
from tests.integration.engines import STOCK, Up, up
from tests.integration.gates import Log, note

TABLE = {"small": {"cpus": 2, "memory": "1GiB"}, "large": {"cpus": 8, "memory": "8GiB", "gpus": 1}}


@task
def take(number: int, log: str, mebibytes: int = 0) -> int:
    note(log, number)
    block = [bytearray(1024**2) for _ in range(mebibytes if number == 3 else 0)]
    return number + 0 * len(block)


@task
def threads() -> tuple[str, str | None]:
    return os.environ.get("OMP_NUM_THREADS", ""), os.environ.get("RAYON_NUM_THREADS")


@task
def partition() -> str | None:
    return current_task().options.partition


@task
def returned(of: Any, **options: Any) -> Any:
    return of.with_options(**options)()


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(tmp_path / "log")


@pytest.mark.parametrize("options", [{"batch_size": 6}, {"batch_size": 1}])
def test_what_takes_too_much_memory_is_ended_and_its_neighbours_run(
    client: Client, log: Log, options: dict[str, Any]
) -> None:
    limited = take.with_options(memory="128 MiB", **options)
    graph = limited.map(range(6), log=log.path, mebibytes=4096)
    *others, last = client.compute(graph[:3], graph[4:], graph[3], return_exceptions=True)
    assert others == [[0, 1, 2], [4, 5]]
    assert isinstance(last, MemoryLimitError)
    assert isinstance(last, MemoryError)
    assert "task 'take[3]' took " in str(last)
    assert "more than its limit, memory=128 MiB, and was killed" in str(last)
    assert {name for name, count in log.counts().items() if count > 1} <= {"3"}


def test_single_calls_are_limited_as_items_are(client: Client, log: Log) -> None:
    with armoflow.options(memory="128MiB"):
        calls = [take(number, log.path, 4096) for number in range(6)]
    results = client.compute(*calls, return_exceptions=True)
    assert [type(one) for one in results] == [int, int, int, MemoryLimitError, int, int]
    with armoflow.options(memory="128MiB", on_failure=-1):
        assert client.compute(take(3, log.path, 4096)) == -1


def test_what_is_tried_again_is_said_as_of_exceptions(client: Client, log: Log) -> None:
    limited = take.with_options(memory="128MiB", retries=1, backoff=0)
    with pytest.raises(MemoryLimitError) as failed:
        client.compute(limited.with_options(retry_on=MemoryError)(3, log.path, 4096))
    assert failed.value.__cause__.attempts == 2  # type: ignore[union-attr]
    with pytest.raises(MemoryLimitError) as failed:
        client.compute(limited.with_options(retry_on=OSError)(3, log.path, 4096))
    assert failed.value.__cause__.attempts == 1  # type: ignore[union-attr]


def test_libraries_have_as_many_threads_as_their_task_has_processors(client: Client) -> None:
    three, usual = threads.with_options(cpus=3), threads()
    assert client.compute(three()) == ("3", "3")
    assert client.compute(usual)[0] != "3"
    assert client.compute(returned(threads, cpus=4)) == ("4", "4")
    with armoflow.options(cpus=5):
        graph = returned(threads)
    assert client.compute(graph) == ("5", "5")


@pytest.fixture(scope="module", params=["embedded", "standard"])
def chosen(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Client]:
    """A client of an engine with several partitions, of which one has no worker."""
    places = ("--partition", "small=1", "--partition", "large=1", "--partition", "empty=0")
    arguments = places if request.param == "embedded" else (*STOCK, *places)
    directory = tmp_path_factory.mktemp("partitions")
    with up(directory, *arguments) as engine, Client(engine.endpoint, partitions=TABLE) as client:
        yield client


def test_each_task_runs_in_the_smallest_partition_that_has_what_it_wants(chosen: Client) -> None:
    with armoflow.options(partition="small"):
        graphs = [returned(partition), returned(partition, cpus=2)]
    assert chosen.compute(
        partition.with_options(cpus=2)(),
        partition.with_options(memory="2 GiB")(),
        partition.with_options(gpus=1)(),
        returned.with_options(partition="small")(partition, gpus=1),
        *graphs,
    ) == ("small", "large", "large", "large", "small", "small")


def test_what_no_partition_has_fails_before_anything_is_sent(chosen: Client) -> None:
    wanted = "'partition' asks for gpus=2, which no partition has: 'small' offers"
    with pytest.raises(SubmissionError, match=wanted):
        chosen.compute(partition.with_options(gpus=2)())
    with pytest.raises(SubmissionError, match=wanted):
        chosen.submit(task(take.function, name="partition", gpus=2).map([], log="").gather())
    with pytest.raises(SubmissionError, match=wanted):
        chosen.compute(returned.with_options(partition="small")(partition, gpus=2))


def test_a_private_engine_offers_this_machine(engine: Up) -> None:
    with Client(engine.endpoint) as known_by_nobody:
        assert known_by_nobody.compute(threads.with_options(cpus=64)())[0] == "64"
    with Client(workers=2) as private, pytest.raises(SubmissionError, match="offers cpus=2, "):
        private.compute(threads.with_options(cpus=3)())
