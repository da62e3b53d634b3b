"""Of all calls with a named limit only so many run at the same time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import armoflow
from armoflow import Client, task
from armoflow.errors import OptionError
from armoflow.options import TaskOptions
from tests.integration.engines import STOCK, Up, up
from tests.integration.gates import Bell, Gate, pass_gate, ring


@task(limits={"licence": 1}, batch_size=1)
def alone(number: int, place: str) -> int:
    """Fails if another one is there."""
    fd = os.open(f"{place}/busy", os.O_CREAT | os.O_EXCL)
    os.close(fd)
    Path(place, "busy").unlink()
    return number


@task(batch_size=1)
def free(number: int) -> int:
    return number


@task(limits={"licence": 1})
def held(number: int, bell: str, gate: str) -> int:
    ring(bell, f"{number} {os.getpid()}")
    pass_gate(gate)
    return number


@task
def returned(of: Any, *args: Any) -> Any:
    return of(*args)


@pytest.fixture(scope="module", params=["embedded", "stock"])
def engine(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Up]:
    """An engine of three workers."""
    workers = ("--workers", "3")
    arguments = workers if request.param == "embedded" else (*STOCK, *workers)
    with up(tmp_path_factory.mktemp(request.param), *arguments) as started:
        yield started


@pytest.fixture
def bell(tmp_path: Path) -> Iterator[Bell]:
    rung = Bell(tmp_path / "bell")
    yield rung
    rung.close()


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    return Gate(tmp_path / "gate")


def test_no_two_run_together(engine: Up, tmp_path: Path) -> None:
    with Client(engine.endpoint, workers=3) as client:
        place = str(tmp_path)
        mapped, called = alone.map(range(30), place=place), [alone(n, place) for n in range(30)]
        assert client.compute(mapped, *called) == (list(range(30)), *range(30))


def test_others_go_on_meanwhile(engine: Up, bell: Bell, gate: Gate) -> None:
    with Client(engine.endpoint, workers=3) as client:
        with gate.closed():
            limited = client.submit(held.map([0, 1], bell=bell.path, gate=gate.path))
            bell.hear()
            assert client.compute(free.map(range(10))) == list(range(10))
            assert client.compute(free(1)) == 1
        assert limited.result() == [0, 1]


def test_what_is_cancelled_or_fails_leaves_its_place(engine: Up, bell: Bell, gate: Gate) -> None:
    with Client(engine.endpoint, workers=3) as client:
        with gate.closed():
            first = client.submit(held(0, bell.path, gate.path))
            bell.hear()
            second = client.submit(held(1, bell.path, gate.path))
            assert first.cancel()
            assert bell.hear().startswith("1 ")
        assert second.result() == 1


def test_who_waits_behind_what_was_cancelled_has_its_place(
    engine: Up, bell: Bell, gate: Gate
) -> None:
    arguments = (bell.path, gate.path)
    with Client(engine.endpoint) as client, Client(engine.endpoint) as other:
        with gate.closed():
            first = client.submit(held(0, *arguments))
            bell.hear()
            given_up = [client.submit(held(number, *arguments)) for number in range(1, 10)]
            behind = [client.submit(held(10, *arguments)), other.submit(held(11, *arguments))]
            for future in given_up:
                assert future.cancel()
        assert first.result() == 0
        assert [future.result() for future in behind] == [10, 11]


def test_a_process_that_is_killed_keeps_no_place(engine: Up, bell: Bell, gate: Gate) -> None:
    with Client(engine.endpoint, workers=3, crash_retries=0) as client:
        with gate.closed():
            first = client.submit(held(0, bell.path, gate.path))
            os.kill(int(bell.hear().split()[1]), signal.SIGKILL)
            assert isinstance(first.exception(), armoflow.errors.WorkerDiedError)
            second = client.submit(held(1, bell.path, gate.path))
            bell.hear()
        assert second.result() == 1


CLIENT = """
import sys
from armoflow import Client
from tests.integration.test_named_limits import held
client = Client(sys.argv[1])
client.compute(held(7, sys.argv[2], sys.argv[3]))
"""


@pytest.fixture(params=[()])
def embedded(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Up]:
    with up(tmp_path, "--workers", "2", *request.param) as started:
        yield started


@pytest.mark.parametrize("embedded", [("--client-lease", "1")], indirect=True)
def test_the_embedded_engine_keeps_to_it_over_all_clients_and_returned_graphs(
    embedded: Up, bell: Bell, gate: Gate
) -> None:
    arguments = (embedded.endpoint, bell.path, gate.path)
    with Client(embedded.endpoint) as client, gate.closed():
        other = subprocess.Popen([sys.executable, "-c", CLIENT, *arguments])
        assert bell.hear().startswith("7 ")
        mine = client.submit(returned(held, 0, bell.path, gate.path))
        assert client.compute(free.map(range(10))) == list(range(10))
        other.kill()  # its session ends with its lease
        other.wait()
        assert bell.hear().startswith("0 ")
    assert mine.cancelled() or mine.done()


def test_what_runs_when_the_engine_is_killed_has_its_place_again(
    embedded: Up, bell: Bell, gate: Gate
) -> None:
    with Client(embedded.endpoint) as client:
        with gate.closed():
            single = held.with_options(batch_size=1)
            both = client.submit(single.map([0, 1], bell=bell.path, gate=gate.path))
            bell.hear()
            embedded.kill()
            embedded.start()
            bell.hear()
        assert both.result() == [0, 1]


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (["licence"], "limits must be a dict of how many may run by name"),
        ({"": 1}, "limits must be a dict"),
        ({"licence": 0}, r"limits\['licence'\] must be an integer from 1 to 1000000000, not 0"),
        ({"licence": True}, "must be an integer from 1 to 1000000000, not True"),
    ],
)
def test_limits_are_checked_where_they_are_written(value: Any, told: str) -> None:
    with pytest.raises(OptionError, match=told):
        TaskOptions(limits=value)
