"""What the real engine did, one thing at a time and always: right values, nothing freed early."""

from __future__ import annotations

import gc
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from armonik.protogen.common import result_status_pb2

from armoflow import Client, config, task
from armoflow.errors import DataLostError, EngineUnreachableError, RemoteTraceback
from armoflow.protocol.engine_info import EngineInfo
from tests.integration.looking import Looking
from tests.integration.test_freeing import Ledger
from tests.realistic.process import Realistic
from tests.realistic.tasks import add, broken, double, down, large, length, parent, sums

COMPLETED = result_status_pb2.RESULT_STATUS_COMPLETED
DELETED = result_status_pb2.RESULT_STATUS_DELETED

QUIET: dict[str, Any] = {
    "late_rows": 0.0,
    "late_aborts": 0.0,
    "doubled": 0.0,
    "overtaken": 0.0,
    "cut": 0.0,
    "opening": 0.0,
    "faults": 0.0,
    "lost": 0.0,
    "refused_deletes": 0.0,
}
"""Nothing but tasks that end in two steps."""


@contextmanager
def engine(directory: Path, *arguments: str, **conduct: Any) -> Iterator[Realistic]:
    """A quiet engine, but for what is said; no retry waits for its inputs when it ends."""
    started = Realistic(directory, "--workers", "2", *arguments, **{**QUIET, **conduct})
    try:
        yield started
    finally:
        started.stop()
    assert "STUCK" not in (directory / "log").read_text()
    assert not started.open_sessions()[0]


def check(client: Client) -> None:
    """A graph with a tree, a chain, a stream, children and a failure."""
    tree = double.map(range(8)).reduce(add)
    assert client.compute(tree, double(double(1)), parent(3)) == (56, 4, 6)
    came = [future.result() for future in client.as_completed(double.map(range(5)))]
    assert sorted(came) == [0, 2, 4, 6, 8]
    with pytest.raises(ZeroDivisionError, match="item 5"):
        client.compute(double(broken(5)))


@pytest.mark.parametrize(
    "conduct",
    [
        {"late_rows": 1.0, "late_aborts": 1.0},
        {"doubled": 1.0, "overtaken": 1.0},
        {"opening": 1.0, "cut": 0.3},
        {"refused_deletes": 1.0},
        {"faults": 0.2},
        {"lost": 1.0, "lost_seconds": 0.05},
    ],
    ids=lambda conduct: next(iter(conduct)),
)
def test_values_are_right_whatever_it_does(tmp_path: Path, conduct: dict[str, Any]) -> None:
    with engine(tmp_path, **conduct) as started, Client(started.endpoint, workers=2) as client:
        check(client)
    assert started.counts()


@pytest.mark.parametrize("silenced", [0.0, 1.0], ids=["streams end", "streams fall silent"])
def test_an_outage_is_ridden_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, silenced: float
) -> None:
    monkeypatch.setattr(config, "SILENCE_BEFORE_RESYNC", 0.5)
    with (
        engine(tmp_path, outage=2.0, silenced=silenced) as started,
        Client(started.endpoint, workers=2) as client,
    ):
        deadline = time.monotonic() + 2.0
        while time.monotonic() < deadline:  # before the outage, in it, or after
            check(client)
        check(client)
    assert started.counts()["calls in the outage"] > 0


def test_an_outage_that_lasts_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what was being done; and what the block raises is what comes out of it."""
    monkeypatch.setattr(config, "ENGINE_PATIENCE", 1.0)
    said = r"\w+ \w+: the engine at .* has answered with faults for 1 s: UNKNOWN: Unknown exception"
    started = Realistic(tmp_path, "--workers", "1", **QUIET, outage=3600.0)
    try:
        with pytest.raises(KeyError, match="mine"), Client(started.endpoint) as client:
            with pytest.raises(EngineUnreachableError, match=said):
                while True:
                    client.compute(double(1))
            raise KeyError("mine")
    finally:
        started.stop()


# --- freeing --------------------------------------------------------------------------------------


@contextmanager
def watched(directory: Path, **conduct: Any) -> Iterator[tuple[Client, Ledger]]:
    """A client, and what its session holds."""
    with (
        engine(directory, **conduct) as started,
        Client(started.endpoint, workers=2, fuse=False) as client,
    ):
        client.compute(double(0))  # so that there is a session
        ledger = Ledger(started, client)
        try:
            yield client, ledger
        finally:
            ledger.close()


def all_deleted(statuses: Callable[[], list[int]], count: int) -> Callable[[], bool]:
    return lambda: len(statuses()) >= count and set(statuses()) == {DELETED}


@pytest.mark.parametrize("lost", [0.0, 1.0], ids=["well", "lost"])
def test_data_goes_when_its_tasks_are_over(tmp_path: Path, lost: float) -> None:
    with watched(tmp_path, lost=lost) as (client, ledger):
        assert client.compute(length(large(300_000))) == 300_000
        gc.collect()
        ledger.wait_for(all_deleted(lambda: ledger.outputs("large", "length"), 2))
        ledger.wait_for(all_deleted(ledger.payloads, 3))


def test_what_children_need_goes_with_them(tmp_path: Path) -> None:
    with watched(tmp_path, lost=1.0) as (client, ledger):

        @task
        def sizes(data: bytes) -> Any:
            return length(data)

        reference = client.put(bytes(200_000))
        assert client.compute(sizes(reference)) == 200_000
        del reference
        gc.collect()
        ledger.wait_for(all_deleted(ledger.constants, 1))


def test_inputs_and_payload_of_a_failed_task_stay(tmp_path: Path) -> None:
    with watched(tmp_path) as (client, ledger):
        with pytest.raises(ZeroDivisionError):
            client.compute(broken(double(7)))
        gc.collect()
        assert client.compute(double(8)) == 16
        gc.collect()
        ledger.wait_for(lambda: ledger.outputs("double").count(DELETED) == 2)
        ledger.wait_for(lambda: ledger.payloads().count(DELETED) == 3)
        # What is left is what the failed task had.
        assert sorted(ledger.outputs("double")) == [COMPLETED, DELETED, DELETED]
        assert sorted(ledger.payloads()) == [COMPLETED, DELETED, DELETED, DELETED]


def test_a_client_that_takes_it_for_the_embedded_engine_ruins_retries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that the other tests would notice."""
    monkeypatch.setattr(EngineInfo, "commits_at_once", True)
    started = Realistic(tmp_path, "--workers", "2", **{**QUIET, "lost": 1.0})
    try:
        with Client(started.endpoint, workers=2) as client:
            assert client.compute(length(large(300_000))) == 300_000
            log = tmp_path / "log"
            while "STUCK" not in log.read_text():
                time.sleep(0.01)
    finally:
        started.stop()


# --- what is gone, and what is refused ------------------------------------------------------------


def test_data_that_the_object_store_has_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told with the task and the result; the others come."""
    monkeypatch.setattr(config, "LATE_PATIENCE", 0.2)
    with (
        engine(tmp_path, lost_data="lost") as started,
        Client(started.endpoint, workers=2) as client,
    ):
        futures = client.map(double, range(3))
        lost = client.submit(large.with_options(name="lost")(10))
        error = lost.exception()
        assert isinstance(error, DataLostError)
        assert "task 'lost' has ended well, but the data of result" in str(error)
        assert isinstance(error.__cause__, RemoteTraceback)
        assert error.__cause__.node == "lost"
        assert [future.result() for future in futures] == [0, 2, 4]


def test_deletions_that_fail_are_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def told() -> list[int]:
        return [r.levelno for r in caplog.records if r.getMessage().startswith(without)]

    without = "results that nobody needs any more stay until the session ends"
    with (
        caplog.at_level(logging.DEBUG, "armoflow"),
        engine(tmp_path, refused_deletes=1.0) as started,
        Client(started.endpoint, workers=2) as client,
    ):
        while len(told()) < 3:
            assert client.compute(double(1)) == 2
            gc.collect()
    assert told().count(logging.WARNING) == 1


def test_graphs_that_tasks_return_need_few_tasks(tmp_path: Path) -> None:
    """An engine task costs 15 to 90 ms there: 80 levels, 200, and 127 calls need one each."""
    with (
        engine(tmp_path) as started,
        Client(started.endpoint, workers=2, inline_seconds=10) as client,
    ):
        looking = Looking(started)
        assert client.compute(down(80)) == 0
        assert client.compute(down(200)) == 0
        assert client.compute(sums(6)) == 64
        (session,) = looking.sessions()
        assert len(looking.tasks(session)) == 3
        looking.close()


@task
def tens(number: int) -> int:
    return 10 * number


@task
def added(first: int, second: int) -> int:
    return first + second


@task
def many(count: int) -> Any:
    return tens.map(range(count)).filter(is_large).reduce(added)


@task
def is_large(number: int) -> bool:
    return number > 20


def test_collections_and_packs_in_returned_graphs_need_few_tasks(tmp_path: Path) -> None:
    with engine(tmp_path) as started:
        looking = Looking(started)
        with Client(started.endpoint, workers=2, inline_seconds=10) as client:
            for _ in range(4):
                assert client.compute(many(8)) == 30 + 40 + 50 + 60 + 70
            (session,) = looking.sessions()
            before = len(looking.tasks(session))
            assert client.compute(many(8)) == 250
            assert len(looking.tasks(session)) - before < 8
        looking.close()
