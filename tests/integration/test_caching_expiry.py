"""Where an engine keeps data for a day only: misses, one warning, right values, on every kind."""

from __future__ import annotations

import sqlite3
import time
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

from armoflow import Client
from armoflow.client.cached_data import remove_cached
from armoflow.index_files import path_of
from armoflow.protocol.settings import ConnectionSettings
from tests.integration.engines import EMBEDDED, STOCK, Up, up
from tests.integration.test_caching import Counter, add, counter, double, plain

__all__ = ["counter"]


@pytest.fixture(
    scope="module",
    params=[(*EMBEDDED, "--delete-payload"), (*EMBEDDED, "--strict"), (*STOCK, "--strict")],
    ids=["delete-payload", "strict", "stock-strict"],
)
def frugal(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Up]:
    """Engines that free what they may."""
    with up(tmp_path_factory.mktemp("engine"), *request.param, "--retention", "1s") as engine:
        yield engine


def expire(engine: Up, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, condition: str) -> int:
    """Have the engine lose data, of which the index is not told; returns how much."""
    with sqlite3.connect(path_of(engine.endpoint)) as database:
        found = database.execute(f"SELECT opaque FROM data WHERE {condition}").fetchall()
    database.close()
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("ARMOFLOW_CACHE", str(tmp_path / "elsewhere"))
        return remove_cached(ConnectionSettings(engine.endpoint), None, [row[0] for row in found])


def test_what_is_kept_outlives_its_session_and_what_the_engine_frees(
    frugal: Up, counter: Counter
) -> None:
    graph = plain.map(double.map(range(6), counter=counter), counter=counter).reduce(add)
    with Client(frugal.endpoint, workers=2) as client:
        assert (client.compute(graph), counter.new()) == (36, 12)
    with Client(frugal.endpoint, workers=2) as client:
        doubled = double.map(range(8), counter=counter)
        assert client.compute(doubled) == [2 * number for number in range(8)]
        assert counter.new() == 2
        assert (client.compute(graph), counter.new()) == (36, 0)


@pytest.mark.parametrize("condition", ["id % 2", "1"], ids=["some", "all"])
def test_data_that_has_expired_is_computed_anew_with_one_warning(
    frugal: Up,
    counter: Counter,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    condition: str,
) -> None:
    numbers = double.with_options(batch_size=1).map(range(8), counter=counter)
    with Client(frugal.endpoint, workers=2) as client:
        client.compute(numbers)
    assert counter.new() == 8
    gone = expire(frugal, tmp_path, monkeypatch, condition)
    assert gone >= 4
    with Client(frugal.endpoint, workers=2) as client:
        (told,) = client.explain(numbers).tasks
        assert [(why.kind, why.calls) for why in told.reasons] == [("gone", gone)]
        total = plain.map(numbers, counter=counter).reduce(add)
        assert (client.compute(total), counter.new()) == (64, gone + 8)
        assert client.compute(numbers) == [2 * number for number in range(8)]
    with Client(frugal.endpoint, workers=2) as client:
        assert client.compute(total) == 64
    assert counter.new() == 0
    assert [record.getMessage() for record in caplog.records] == [
        f"{gone} results in the cache have lost their data: what was in them is computed anew"
    ]


def test_the_canary_tells_that_all_has_expired(
    frugal: Up,
    counter: Counter,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with Client(frugal.endpoint, workers=2) as client:
        client.compute(double(1, counter))
    expire(frugal, tmp_path, monkeypatch, "1")
    with sqlite3.connect(path_of(frugal.endpoint)) as database:
        (canary,) = database.execute("SELECT value FROM facts WHERE name = 'canary'").fetchone()
    database.close()
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("ARMOFLOW_CACHE", str(tmp_path / "elsewhere"))
        assert remove_cached(ConnectionSettings(frugal.endpoint), None, [canary]) == 1
    counter.new()
    for ran in (1, 0):
        with Client(frugal.endpoint, workers=2) as client:
            assert (client.compute(double(1, counter)), counter.new()) == (2, ran)
    assert [record.getMessage() for record in caplog.records] == [
        "the engine no longer has the data of the cache: 1 values are computed anew"
    ]


def test_expires_is_counted_from_when_a_value_was_computed(
    frugal: Up, counter: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    hourly = double.with_options(expires=3600)
    with Client(frugal.endpoint, workers=2) as client:
        client.compute(hourly(1, counter))
    assert counter.new() == 1
    begun = time.time()
    for later, ran in ((3500.0, 0), (3700.0, 1), (0.0, 0)):
        clock = types.SimpleNamespace(time=lambda later=later: begun + later)
        monkeypatch.setattr("armoflow.orchestrator.caching.hits.time", clock)
        with Client(frugal.endpoint, workers=2) as client:
            assert (client.compute(hourly(1, counter)), counter.new()) == (2, ran)
