"""A straggler is run a second time where that was asked for, and the first that ends wins."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from armoflow import Client, config, task
from armoflow.errors import OptionError
from armoflow.options import TaskOptions
from tests.integration.engines import EMBEDDED, STOCK, Up
from tests.integration.gates import Log, note
from tests.integration.test_freeing import COMPLETED, Ledger


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """What holds up others is looked for sooner than is good for tasks of users."""
    monkeypatch.setattr(config, "BACKUP_QUIET", 0.6)


@pytest.fixture(scope="module", params=["embedded", "stock"])
def engine(request: pytest.FixtureRequest, engine_with: Callable[..., Up]) -> Up:
    return engine_with(*(EMBEDDED if request.param == "embedded" else STOCK))


@pytest.fixture(params=[True, False])
def client(request: pytest.FixtureRequest, engine: Up) -> Iterator[Client]:
    with Client(engine.endpoint, workers=2, extensions=request.param) as connected:
        yield connected


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(tmp_path / "log")


@task(backup=True, batch_size=1)
def sleeps_once(number: int, log: str, place: str) -> int:
    """Its process stops for ever, for the first time that number 7 is run."""
    note(log, number)
    mark = Path(place, "stopped")
    if number == 7 and not mark.exists():
        mark.write_text(str(os.getpid()))
        os.kill(os.getpid(), signal.SIGSTOP)
    return number * number


@task(backup=True, batch_size=1)
def draws(number: int, log: str, place: str) -> bytes:
    """Each run has a value of its own; the first of number 7 stops for ever."""
    note(log, number)
    mark = Path(place, "stopped")
    if number == 7 and not mark.exists():
        mark.write_text(str(os.getpid()))
        os.kill(os.getpid(), signal.SIGSTOP)
    return os.urandom(8)


@task
def total(values: list[int]) -> int:
    return sum(values)


@task
def plus(number: int) -> int:
    return number + 1


SQUARES = [number * number for number in range(16)]


def test_a_map_ends_though_one_slot_sleeps(client: Client, log: Log, tmp_path: Path) -> None:
    squares = sleeps_once.map(range(16), log=log.path, place=str(tmp_path))
    summed, further = total(squares.gather()), squares.map(plus)
    assert client.compute(squares, summed, further) == (
        SQUARES,
        sum(SQUARES),
        [square + 1 for square in SQUARES],
    )
    counts = log.counts()
    assert counts["7"] == 2
    assert sum(counts.values()) <= 18  # what waited behind it may have been run elsewhere
    while not ended(tmp_path):
        time.sleep(0.05)  # the loser is cancelled, and its process ended


def test_calls_have_backups_too(client: Client, log: Log, tmp_path: Path) -> None:
    futures = [client.submit(sleeps_once(n, log.path, str(tmp_path))) for n in range(16)]
    assert client.gather(futures) == SQUARES
    assert log.counts()["7"] == 2


@pytest.mark.parametrize("extensions", [True, False])
def test_what_a_copy_made_is_in_the_cache_when_its_client_has_ended(
    engine: Up, log: Log, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, extensions: bool
) -> None:
    monkeypatch.setenv("ARMOFLOW_CACHE", str(tmp_path / "cache"))
    squares = sleeps_once.with_options(cache=True).map(range(16), log=log.path, place=str(tmp_path))
    with Client(engine.endpoint, workers=2, extensions=extensions) as first:
        assert first.compute(squares) == SQUARES
    counts = log.counts()
    assert counts["7"] == 2
    with Client(engine.endpoint, workers=2, extensions=extensions) as second:
        assert second.compute(squares) == SQUARES
        assert log.counts() == counts


def test_what_a_copy_made_is_kept_as_that_of_the_others(
    client: Client, engine: Up, log: Log, tmp_path: Path
) -> None:
    kept = sleeps_once.with_options(keep=True)
    assert client.compute(kept.map(range(16), log=log.path, place=str(tmp_path))) == SQUARES
    ledger = Ledger(engine, client)
    client.close()
    names = [name for name, status in ledger.read() if status == COMPLETED]
    ledger.close()
    assert names.count("output.kept/sleeps_once") == 16


@task(backup=True, batch_size=1)
def slow_failure(number: int, log: str) -> int:
    note(log, number)
    if number == 7:
        time.sleep(1.5)
        raise ValueError("too bad")
    return number


def test_a_failure_of_both_is_told_once(client: Client, log: Log) -> None:
    with pytest.raises(ValueError, match="too bad"):
        client.compute(slow_failure.map(range(16), log=log.path))


def test_nobody_is_run_twice_who_did_not_ask(client: Client, log: Log) -> None:
    once = slow_failure.with_options(backup=False)
    outcomes: Any = client.compute(once.map(range(16), log=log.path), return_exceptions=True)
    assert [type(one) for one in outcomes].count(ValueError) == 1
    assert set(log.counts().values()) == {1}


@task
def returned(log: str) -> Any:
    return slow_failure.map(range(3), log=log)


def test_a_returned_graph_runs_each_once_and_says_so(
    engine: Up, log: Log, capsys: pytest.CaptureFixture[str]
) -> None:
    with Client(engine.endpoint, workers=2, inline_seconds=0, logs=True) as client:
        assert client.compute(returned(log.path)) == [0, 1, 2]
    told = "'slow_failure' says backup=True, and is in a graph that task 'returned' has returned"
    assert capsys.readouterr().err.count(told) == 1


def ended(place: Path) -> bool:
    """Whether the process that stopped is gone."""
    stopped = int((place / "stopped").read_text())
    return not psutil.pid_exists(stopped) or psutil.Process(stopped).status() == "zombie"


def test_what_was_asked_for_of_a_named_run_ends_though_one_slot_sleeps(
    client: Client, engine: Up, log: Log, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever waits for it, and whoever comes later, sees the same value of both runs."""
    drawn = draws.map(range(16), log=log.path, place=str(tmp_path))
    name = f"stragglers-{client.extensions}"
    future = client.submit(drawn, name=name)
    with Client(engine.endpoint, workers=2) as waits:
        attached = waits.attach(name)
        values = future.result(30)
        assert attached.result(30) == values
    counts = log.counts()
    assert counts["7"] == 2
    while not ended(tmp_path):
        time.sleep(0.05)
    with Client(engine.endpoint, workers=2) as later:
        assert later.attach(name).result(30) == values
        assert later.submit(drawn, name=name).result(30) == values
        assert later.resume(name).result(30) == values
    assert log.counts() == counts
    assert "Traceback" not in caplog.text and "failed" not in caplog.text


def test_what_others_of_a_named_run_need_is_run_once_and_that_is_told(
    engine: Up, log: Log, caplog: pytest.LogCaptureFixture
) -> None:
    told = "'slow_failure': backup=True has no effect in the named run 'backed'"
    with Client(engine.endpoint, workers=2) as client:
        summed = total(slow_failure.map(range(3), log=log.path).gather())
        assert client.submit(summed, name="backed").result() == 3
        backed = slow_failure.map(range(3), log=log.path)
        assert client.submit(backed, name="not told").result() == [0, 1, 2]
        client.submit(slow_failure.with_options(backup=False)(1, log.path), name="single").result()
    assert [told in record.getMessage() for record in caplog.records].count(True) == 1
    assert "'single'" not in caplog.text and "'not told'" not in caplog.text


def test_the_debug_mode_runs_each_once(log: Log) -> None:
    with Client(local=True) as local:
        assert local.compute(slow_failure.map(range(5), log=log.path)) == list(range(5))


def test_it_is_said_with_true_or_false() -> None:
    with pytest.raises(OptionError, match="backup must be True or False, not 2"):
        TaskOptions(backup=2)  # type: ignore[arg-type]
