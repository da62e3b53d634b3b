"""Payloads go up before, with or after their tasks: the values are the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from armoflow import Client, config, task
from tests.integration.engines import Up

MODES = ["auto", "delayed", "eager", "inline"]
MIB = 1024 * 1024


@task
def add(first: int, second: int) -> int:
    return first + second


@task
def measure(data: bytes, *others: bytes) -> tuple[int, int]:
    return len(data) + sum(map(len, others)), data[-1]


@pytest.fixture(scope="module", params=[(), ("--delete-payload",)], ids=["keeps", "deletes"])
def engine(request: pytest.FixtureRequest, engine_with: Callable[..., Up]) -> Up:
    return engine_with("--workers", "2", *request.param)


@pytest.fixture(params=[*MODES, "extension"])
def client(request: pytest.FixtureRequest, engine: Up) -> Iterator[Client]:
    extension = request.param == "extension"
    mode = "auto" if extension else request.param
    with Client(engine.endpoint, workers=2, payloads=mode, extensions=extension) as connected:
        assert ("batch" in connected.extensions) is extension
        yield connected


def test_independent_tasks(client: Client) -> None:
    assert client.compute([add(number, 1) for number in range(30)]) == list(range(1, 31))


def test_tasks_that_need_others_of_their_batch(client: Client) -> None:
    total = add(0, 0)
    for number in range(20):
        total = add(total, number)
    assert client.compute(total) == sum(range(20))


def test_a_collection(client: Client) -> None:
    one = add.with_options(batch_size=1)
    numbers = one.map(range(50), second=1)
    assert client.compute(numbers.reduce(one, fan_in=4)) == sum(range(1, 51))


def test_large_payloads(client: Client) -> None:
    sizes = [10 * MIB, 2 * MIB, 2 * MIB + 1, 64 * 1024, 1]
    values = [measure(bytes(size - 1) + bytes([number])) for number, size in enumerate(sizes)]
    assert client.compute(values) == [(size, number) for number, size in enumerate(sizes)]


def test_a_payload_larger_than_what_may_be_queued(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config, "BYTES_QUEUED", MIB)
    values = [measure(bytes(2 * MIB)) for _ in range(3)]
    assert client.compute(values) == [(2 * MIB, 0)] * 3


def test_a_payload_of_many_parts(client: Client) -> None:
    parts = [bytes([number]) * MIB for number in range(10)]
    assert client.compute(measure(*parts)) == (10 * MIB, 0)


def test_a_large_argument_of_many_tasks_goes_up_once(client: Client) -> None:
    data = bytes(3 * MIB - 1) + b"\7"
    assert client.compute([measure(data) for _ in range(5)]) == [(3 * MIB, 7)] * 5


def test_large_results_that_others_need(client: Client) -> None:
    @task
    def blow_up(size: int) -> bytes:
        return bytes(size - 1) + b"\1"

    big = blow_up(10 * MIB)
    assert client.compute(measure(big, big), big) == ((20 * MIB, 1), bytes(10 * MIB - 1) + b"\1")


@pytest.mark.parametrize("mode", MODES)
def test_calls_come_in_batches(engine: Up, mode: Any) -> None:
    """No call an item, but the uploads where payloads go up one by one."""
    start = len(engine.called())
    with Client(engine.endpoint, payloads=mode, extensions=False) as client:
        alone = add.with_options(batch_size=1)
        assert len(client.compute([alone(number, 1) for number in range(200)])) == 200
    calls = Counter(engine.called()[start:])
    uploads = calls.pop("Results/UploadResultData", 0)
    assert uploads >= 200 if mode in ("delayed", "eager") else uploads < 20
    calls.pop("Results/DownloadResultData")
    assert max(calls.values()) < 50


HOUSEKEEPING = {
    "Results/DeleteResultsData",
    "Results/ListResults",
    "Tasks/ListTasks",
    "Sessions/CreateSession",
    "Events/GetEvents",
}
"""Calls beside those of a task, for many at once."""


def by_map(client: Client) -> list[int]:
    return [future.result() for future in client.map(add, [1], [2])]


DOORS = {
    "compute": lambda client: client.compute(add(1, 2)),
    "submit": lambda client: client.submit(add, 1, 2).result(),
    "map": by_map,
    "collection": lambda client: client.compute(add.map([1], [2])),
}


@pytest.mark.parametrize("door", DOORS)
def test_a_small_task_is_two_calls_one_after_the_other(engine: Up, door: str) -> None:
    """The payload beside the outputs, then the submission; and the value is fetched."""
    with Client(engine.endpoint, extensions=False) as client:
        client.compute(add(0, 0))
        start = len(engine.called())
        assert DOORS[door](client) in (3, [3])
        calls = [call for call in engine.called()[start:] if call not in HOUSEKEEPING]
    # Of a function that nothing is known of, it may be read once more what its first call took.
    downloads = calls.count("Results/DownloadResultData")
    assert 1 <= downloads <= 3
    *creations, submission = [call for call in calls if call != "Results/DownloadResultData"]
    assert sorted(creations) == ["Results/CreateResults", "Results/CreateResultsMetaData"]
    assert submission == "Tasks/SubmitTasks"
