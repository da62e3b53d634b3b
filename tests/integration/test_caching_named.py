"""A named run takes from the cache what was computed before, and what it computes is kept."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

import pytest

from armoflow import Client, task
from armoflow.index_files import path_of
from tests.integration.engines import Up
from tests.integration.test_caching import Counter, add, counter, double, fragile, plain

__all__ = ["counter"]


@task
def wait_for(number: int, gate: Path) -> int:
    while not gate.exists():
        time.sleep(0.02)
    return number


def test_what_the_cache_has_is_taken_and_what_is_new_is_kept(
    engine: Up, counter: Counter, request: pytest.FixtureRequest
) -> None:
    name = request.node.name
    few, many = (
        plain.map(double.map(range(count), counter=counter), counter=counter).reduce(add)
        for count in (6, 9)
    )
    with Client(engine.endpoint, workers=2) as client:
        client.compute(double.map(range(4), counter=counter))
        assert counter.new() == 4
        first = client.submit(few, name=name)
        assert (first.result(), counter.new()) == (36, 2 + 6)
        told = {found["task"]: found for found in first.explain().as_dict()["tasks"]}
        assert (told["double"]["hits"], told["double"]["misses"]) == (4, 2)
        assert (client.submit(few, name=name).result(), counter.new()) == (36, 0)
        assert (client.submit(many, name=name).result(), counter.new()) == (81, 3 + 3)
    with Client(engine.endpoint, workers=2) as client:
        assert client.attach(name).result() == 81
        assert client.compute(double.map(range(9), counter=counter))[-1] == 16
        assert client.submit(many, name=f"{name} again").result() == 81
        assert counter.new() == 0


def test_a_run_goes_on_elsewhere_with_what_the_cache_gave(
    engine: Up, counter: Counter, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    gate, name = tmp_path / "gate", request.node.name
    graph = add(wait_for(double(1, counter), gate), double(2, counter))
    with Client(engine.endpoint, workers=2) as client:
        client.compute(double(1, counter), double(2, counter))
        client.submit(graph, name=name)
        client.detach()
    with Client(engine.endpoint, workers=2) as client:
        future = client.attach(name)
        gate.touch()
        assert future.result() == 6
    assert counter.new() == 2
    with Client(engine.endpoint, workers=2) as client:
        assert client.compute(add(wait_for(double(1, counter), gate), double(2, counter))) == 6


def test_what_failed_runs_again_and_nothing_else(
    engine: Up, counter: Counter, request: pytest.FixtureRequest
) -> None:
    name = request.node.name
    pairs = fragile.with_options(batch_size=2)
    graph = plain.map(pairs.map(range(4), counter=counter), counter=counter)
    with Client(engine.endpoint, workers=2) as client:
        assert isinstance(client.submit(graph, name=name).exception(), ValueError)
        counter.new()
        assert isinstance(client.submit(graph, name=name).exception(), ValueError)
        assert counter.new() == 1
        kept = fragile.map([0, 1, 3], counter=counter)
        assert (client.compute(kept), counter.new()) == ([0, 1, 3], 0)


def test_what_the_cache_gave_wrongly_is_computed_anew(
    engine: Up, counter: Counter, request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture
) -> None:
    with Client(engine.endpoint, workers=2) as client:
        client.compute(double(1, counter))
    with sqlite3.connect(path_of(engine.endpoint)) as database:
        database.execute("UPDATE data SET checksum = checksum + 1")
    database.close()
    counter.new()
    with Client(engine.endpoint, workers=2) as client:
        future = client.submit(plain(double(1, counter), counter), name=request.node.name)
        assert (future.result(), counter.new()) == (3, 2)
    assert "cannot be used, and is computed anew" in caplog.text


def test_a_private_engine_caches_for_named_runs_as_well(counter: Counter) -> None:
    with Client(workers=2) as client:
        client.compute(double(1, counter))
        assert client.submit(double(1, counter), name="nightly").result() == 2
        assert counter.new() == 1
