"""Graphics processors: a task sees as many as it asks for, and has them for itself."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from armoflow import Client, task
from armoflow.errors import SubmissionError, TaskError, TaskTimeoutError, WorkerDiedError
from tests.integration.engines import STOCK, Up, up
from tests.integration.gates import Bell, Gate, pass_gate, ring

DEVICES = ("--env", "CUDA_VISIBLE_DEVICES=4,GPU-7")
TABLE = {"default": {"cpus": 3, "gpus": 2}}
TOO_FEW = r"task 'seen' asks for gpus=3, and its worker has 2: 4, GPU-7\. Ask for fewer, or "


@task
def seen() -> str | None:
    return os.environ.get("CUDA_VISIBLE_DEVICES")


@task
def of_process() -> tuple[str | None, int]:
    return os.environ.get("CUDA_VISIBLE_DEVICES"), os.getpid()


@task(gpus=1, batch_size=1)
def held(bell: str, gate: str) -> str | None:
    ring(bell, os.environ.get("CUDA_VISIBLE_DEVICES"))
    pass_gate(gate)
    return os.environ.get("CUDA_VISIBLE_DEVICES")


@task(gpus=1, batch_size=1)
def exclusive(number: int, place: str) -> int:
    """Fails if another one has the same device."""
    path = Path(place, os.environ["CUDA_VISIBLE_DEVICES"])
    os.close(os.open(path, os.O_CREAT | os.O_EXCL))
    path.unlink()
    return number


@task(gpus=2, crash_retries=0)
def dies() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@task(gpus=2, timeout=0.2)
def hangs(gate: str) -> None:
    pass_gate(gate)


@task
def plus(of: Any, more: str) -> str:
    return f"{of} {more} {os.environ.get('CUDA_VISIBLE_DEVICES')}"


@task
def returned(of: Any) -> Any:
    return of()


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    with up(tmp_path_factory.mktemp("embedded"), "--workers", "3", *DEVICES) as started:
        yield started


@pytest.fixture(scope="module")
def client(engine: Up) -> Iterator[Client]:
    with Client(engine.endpoint, partitions=TABLE) as connected:
        yield connected


@pytest.fixture
def bell(tmp_path: Path) -> Iterator[Bell]:
    rung = Bell(tmp_path / "bell")
    yield rung
    rung.close()


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    return Gate(tmp_path / "gate")


def test_a_task_sees_as_many_as_it_asks_for(client: Client) -> None:
    one, both = seen.with_options(gpus=1), seen.with_options(gpus=2)
    assert client.compute(one(), both(), seen()) == ("4", "4,GPU-7", "4,GPU-7")
    assert client.compute(one()) == "4"
    assert client.compute(returned(one), returned(seen)) == ("4", "4,GPU-7")
    assert client.compute(returned.with_options(gpus=1)(seen)) == "4,GPU-7"
    assert client.compute(plus(one(), "and")) == "4 and 4,GPU-7"


def test_two_have_different_ones_a_third_waits_and_others_overtake_it(
    client: Client, bell: Bell, gate: Gate
) -> None:
    with gate.closed():
        futures = [client.submit(held(bell.path, gate.path)) for _ in range(3)]
        assert {bell.hear(), bell.hear()} == {"4", "GPU-7"}
        assert client.compute(seen()) == "4,GPU-7"
    assert bell.hear() in {"4", "GPU-7"}
    assert {future.result() for future in futures} == {"4", "GPU-7"}


def test_no_two_share_one(client: Client, tmp_path: Path) -> None:
    assert client.compute(exclusive.map(range(40), place=str(tmp_path))) == list(range(40))


def test_a_process_keeps_its_device(client: Client) -> None:
    """What it holds in the device's memory is not there twice."""
    mine = of_process.with_options(gpus=1)
    first = client.compute(mine())
    assert client.compute(of_process())[1] != first[1]
    assert client.compute(mine()) == first == ("4", first[1])


def test_devices_of_what_died_hung_or_was_cancelled_are_free_again(
    client: Client, bell: Bell, gate: Gate
) -> None:
    both = seen.with_options(gpus=2)
    with pytest.raises(WorkerDiedError):
        client.compute(dies())
    assert client.compute(both()) == "4,GPU-7"
    with gate.closed():
        with pytest.raises(TaskTimeoutError):
            client.compute(hangs(gate.path))
        assert client.compute(both()) == "4,GPU-7"
        future = client.submit(held(bell.path, gate.path))
        bell.hear()
        waiting = client.submit(both())
        assert future.cancel()
        assert waiting.result() == "4,GPU-7"


def test_devices_of_a_client_that_fails_are_free_again(engine: Up, bell: Bell, gate: Gate) -> None:
    with gate.closed():
        with (
            pytest.raises(ZeroDivisionError),
            Client(engine.endpoint, partitions=TABLE) as other,
        ):
            for _ in range(2):
                other.submit(held(bell.path, gate.path))
                bell.hear()
            raise ZeroDivisionError
        with Client(engine.endpoint, partitions=TABLE) as client:
            assert client.compute(seen.with_options(gpus=2)()) == "4,GPU-7"


def test_a_worker_service_shows_as_many_of_its_own(tmp_path: Path) -> None:
    table = {"default": {"cpus": 3, "gpus": 4}}
    with (
        up(tmp_path, *STOCK, *DEVICES, "--workers", "1") as started,
        Client(started.endpoint, partitions=table) as client,
    ):
        one, both = seen.with_options(gpus=1), seen.with_options(gpus=2)
        assert client.compute(one()) == "4"
        assert client.compute(both()) == client.compute(seen()) == "4,GPU-7"
        assert client.compute(returned(one)) == "4"

        with pytest.raises(TaskError, match=TOO_FEW):
            client.compute(seen.with_options(gpus=3)())


def test_more_than_there_are_is_refused_whatever_a_table_says(engine: Up) -> None:
    three = seen.with_options(gpus=3, retries=2)
    with Client(engine.endpoint, partitions={"default": {"gpus": 4}}) as client:
        for graph in (three(), returned(three), plus.map([three(), 1], "and")):
            with pytest.raises(TaskError, match=TOO_FEW):
                client.compute(graph)
        assert client.compute(seen.with_options(gpus=2)()) == "4,GPU-7"


def test_each_worker_of_a_command_has_its_own(tmp_path: Path, bell: Bell, gate: Gate) -> None:
    with (
        up(tmp_path, *STOCK, *DEVICES, "--workers", "2") as started,
        Client(started.endpoint, partitions=TABLE) as client,
    ):
        with gate.closed():
            futures = [client.submit(held(bell.path, gate.path)) for _ in range(3)]
            assert {bell.hear(), bell.hear()} == {"4", "GPU-7"}
        assert {future.result() for future in futures} == {"4", "GPU-7"}
        assert client.compute(exclusive.map(range(8), place=str(tmp_path))) == [*range(8)]


def test_a_private_engine_offers_those_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,0")
    with Client(workers=1) as private:
        assert private.compute(seen.with_options(gpus=1)()) == "1"
        with pytest.raises(SubmissionError, match=r"asks for gpus=3, .* offers .* gpus=2\. Ask"):
            private.compute(seen.with_options(gpus=3)())
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with Client(workers=1) as private:
        with pytest.raises(SubmissionError, match=r"asks for gpus=1, .* offers .* gpus=0\. Ask"):
            private.compute(seen.with_options(gpus=1)())
        assert private.compute(seen()) == ""


def test_what_a_table_says_of_a_machine_without_any_is_believed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with Client(workers=1, partitions={"default": {"gpus": 4}}) as private:
        assert private.compute(seen.with_options(gpus=3)()) == ""
