"""Packed collections over the standard calls: batches follow what earlier ones took."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from armoflow import Client, task
from armoflow.orchestrator import sizes
from armoflow.orchestrator.pack_sizes import CLUSTER_PACKING
from armoflow.orchestrator.sizes import PILOT, UNMEASURED_BATCH, AdaptiveSizer
from tests.integration.engines import STOCK, Up

NO_EXTENSIONS = ("--workers", "2", "--no-extensions")


@task
def same(number: int) -> int:
    return number


@task
def dawdle(number: int) -> int:
    time.sleep(0.05)
    return number


@pytest.fixture(scope="module", params=[NO_EXTENSIONS, STOCK], ids=["processes", "agents"])
def engine(request: pytest.FixtureRequest, engine_with: Callable[..., Up]) -> Up:
    return engine_with(*request.param)


@pytest.fixture
def client(engine: Up, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    # As much patience as a busy machine needs: only the engine's answers decide.
    monkeypatch.setattr(sizes, "CLUSTER_PATIENCE", 60.0)
    monkeypatch.setattr(sizes, "PATIENT_FROM", 1)
    with Client(engine.endpoint, workers=2) as connected:
        assert "batch" not in connected.extensions
        yield connected


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The items of each batch that is planned."""
    planned: list[int] = []
    note = AdaptiveSizer.planned

    def noted(sizer: AdaptiveSizer, items: int, size: int) -> None:
        planned.append(items)
        note(sizer, items, size)

    monkeypatch.setattr(AdaptiveSizer, "planned", noted)
    return planned


def test_dear_items_make_batches_of_the_target_time(client: Client, batches: list[int]) -> None:
    assert client.compute(dawdle.map(range(120))) == list(range(120))
    assert batches[:2] == [PILOT] * 2
    # By count there would be 15 of them.
    assert max(batches) <= CLUSTER_PACKING.target / 0.05


def test_cheap_items_make_larger_batches_than_a_guess(
    client: Client, batches: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = AdaptiveSizer.measured

    def cheap(sizer: AdaptiveSizer, items: int, seconds: float) -> None:
        measured(sizer, items, min(seconds, items * 1e-5))  # also where the machine stood still

    monkeypatch.setattr(AdaptiveSizer, "measured", cheap)
    length = 60_000
    assert client.compute(same.map(range(length))) == list(range(length))
    assert max(batches) > UNMEASURED_BATCH
    assert len(batches) < length / UNMEASURED_BATCH


def test_few_calls_ask_for_durations(engine: Up, client: Client, batches: list[int]) -> None:
    before = engine.called().count("Tasks/ListTasks")
    client.compute(dawdle.map(range(100)))
    asked = engine.called().count("Tasks/ListTasks") - before
    assert 1 <= asked < len(batches)


def test_sizes_that_were_asked_for_need_no_durations(engine: Up, client: Client) -> None:
    before = engine.called().count("Tasks/ListTasks")
    client.compute(same.with_options(batch_size=10).map(range(1000)))
    assert engine.called().count("Tasks/ListTasks") == before
