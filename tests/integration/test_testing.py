"""Faults on demand, on every path to a worker; and the fixtures, as users' tests have them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from armoflow import Client, task
from armoflow.errors import DataLostError, GraphError, OptionError, WorkerDiedError
from armoflow.testing import FakeClock, Faults, local_client

pytest_plugins = ["pytester"]


@task
def double(number: int) -> int:
    return 2 * number


@task(outputs=2)
def halves(number: int) -> tuple[int, int]:
    return number // 2, number - number // 2


@pytest.fixture
def faults(tmp_path: Path) -> Faults:
    return Faults(tmp_path)


@pytest.fixture
def client(anywhere: Client) -> Client:
    return anywhere


def test_a_worker_that_is_killed(client: Client, faults: Faults) -> None:
    fatal = faults.kills_worker(double, times=3).with_options(crash_retries=0, batch_size=1)
    outcomes: Any = client.compute(fatal.map(range(6)), return_exceptions=True)
    assert [type(one) for one in outcomes].count(WorkerDiedError) == 3
    assert faults.met == 3
    assert client.compute(fatal.map(range(3))) == [0, 2, 4]


def test_errors_and_delays_of_tasks_of_any_kind(client: Client, faults: Faults) -> None:
    split = faults.raises(halves, OSError("busy"), times=2).with_options(retries=2, backoff=0)
    assert client.compute(*split(7)) == (3, 4)
    assert client.compute(faults.delays(double, 0.001)(2)) == 4
    assert faults.met == 3
    with pytest.raises(OSError, match="busy"):
        client.compute(faults.raises(double, OSError("busy"))(2))


def test_a_value_that_is_lost(client: Client, faults: Faults) -> None:
    future = client.submit(double(2))
    if "Client local" in repr(client):
        with pytest.raises(GraphError, match="stores nothing"):
            faults.loses(future)
        return
    faults.loses(future)
    with pytest.raises(DataLostError, match="of task 'double' is gone: it was deleted"):
        client.compute(double(future))


def test_pauses_take_no_time() -> None:
    clock = FakeClock()
    with local_client(clock, retries=3, backoff=3600) as client:
        failing = task(lambda: 1 / 0, name="failing")
        with pytest.raises(ZeroDivisionError):
            client.compute(failing())
    assert clock.pauses == [3600, 7200, 14400]
    assert clock.time() == 25200


def test_what_makes_no_sense_is_refused(faults: Faults) -> None:
    with pytest.raises(OptionError, match="times must be an integer from 1 on, not 0"):
        faults.kills_worker(double, times=0)
    with pytest.raises(OptionError, match="error must be an exception"):
        faults.raises(double, "busy")  # type: ignore[arg-type]


THEIRS = """
import os
import pytest
from armoflow import task
from armoflow.errors import WorkerDiedError

@task
def process():
    return os.getpid()

def test_shared(armoflow_client):
    assert armoflow_client.workers == {workers}
    assert process().compute() {elsewhere} os.getpid()

def test_the_same_engine(armoflow_client, armoflow_faults):
    fatal = armoflow_faults.kills_worker(process).with_options(crash_retries=0)
    with pytest.raises(WorkerDiedError):
        fatal().compute()

@pytest.mark.armoflow(local=True, retries=1)
def test_of_its_own(armoflow_client, armoflow_faults):
    flaky = armoflow_faults.raises(process, OSError())
    assert flaky().compute() == os.getpid()
"""


@pytest.mark.parametrize(
    ("options", "workers", "elsewhere"), [([], 3, "!="), (["--armoflow-local"], 1, "==")]
)
def test_the_fixtures(
    pytester: pytest.Pytester,
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    workers: int,
    elsewhere: str,
) -> None:
    monkeypatch.delenv("PYTHONPATH", raising=False)  # where this suite has a pytest of its own
    pytester.makeini("[pytest]\narmoflow_workers = 3\naddopts = --strict-markers")
    pytester.makepyfile(THEIRS.format(workers=workers, elsewhere=elsewhere))
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", *options)
    result.assert_outcomes(passed=3)
