"""The model of scale: against arithmetic and against what ArmoniK's makers published."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import simulate
from benchmarks.simulation import COSTS, Costs, Scenario, Stage, predict

FREE = Stage(*[0.0] * len(dataclasses.fields(Stage)))


def costs(*, cores: int | None = None, prefetch_frames: int = 1, **stage: float) -> Costs:
    return Costs(
        source="a test",
        measured=True,
        cores=cores,
        submit_tasks=10,
        submit_calls=4,
        engine_slice=10,
        frame_tasks=1,
        prefetch_frames=prefetch_frames,
        target_seconds=0.5,
        stage=dataclasses.replace(FREE, **stage),
    )


def test_workers_alone_share_the_work() -> None:
    found = predict(costs(), Scenario(items=100, seconds=1.0, workers=10))
    assert found.elapsed == pytest.approx(10.0)
    assert found.worker_use == pytest.approx(1.0)
    assert found.busiest == "workers"


def test_cores_bound_the_workers() -> None:
    found = predict(costs(cores=2), Scenario(items=100, seconds=1.0, workers=10))
    assert found.elapsed == pytest.approx(50.0)


def test_the_slowest_station_sets_the_pace() -> None:
    engine = costs(engine_submit=0.01, engine_dispatch=0.01, engine_complete=0.02)
    found = predict(engine, Scenario(items=1_000, seconds=0.1, workers=50))
    assert found.busiest == "engine"
    assert found.elapsed == pytest.approx(40.0, rel=0.02)
    client = predict(costs(client_task=0.05), Scenario(items=1_000, seconds=0.1, workers=50))
    assert client.busiest == "client"
    assert client.elapsed == pytest.approx(50.0, rel=0.02)


def test_stages_overlap() -> None:
    stages: dict[str, Any] = {"client_task": 0.01, "engine_complete": 0.01, "worker_task": 0.01}
    scenario = Scenario(items=1_000, seconds=0.0, workers=1)
    assert predict(costs(prefetch_frames=4, **stages), scenario).elapsed == pytest.approx(
        10, rel=0.02
    )
    # With one frame in hand the worker waits until its completion was taken.
    assert predict(costs(**stages), scenario).elapsed == pytest.approx(20, rel=0.02)


def test_packing_aims_at_the_target_and_keeps_workers_busy() -> None:
    model = costs(worker_item=0.0)
    assert Scenario(10_000, 0.01, 10, packed=None).batch(model) == 50
    assert Scenario(100, 0.01, 10, packed=None).batch(model) == 5
    assert Scenario(5, 0.01, 10, packed=None).batch(model) == 1
    assert Scenario(10_000, 10.0, 10, packed=None).batch(model) == 1


def test_a_long_run_goes_on_at_its_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    model = costs(engine_submit=0.001, engine_complete=0.002, client_task=0.0001)
    scenario = Scenario(items=20_000, seconds=0.005, workers=4)
    whole = predict(model, scenario)
    monkeypatch.setattr("benchmarks.simulation.SIMULATED_TASKS", 2_000)
    assert predict(model, scenario).elapsed == pytest.approx(whole.elapsed, rel=0.05)


def test_the_cluster_matches_the_published_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.simulation.SIMULATED_TASKS", 50_000)
    cluster = Costs.read("cluster")
    no_op = predict(cluster, Scenario(1_000_000, 0.0, 2_000))
    assert no_op.rate == pytest.approx(4_500, rel=0.05)
    assert predict(cluster, Scenario(10_000_000, 1.0, 2_000)).worker_use == pytest.approx(
        0.993, abs=0.006
    )


def test_packing_pays_on_the_cluster() -> None:
    cluster = Costs.read("cluster")
    single = predict(cluster, Scenario(50_000, 0.001, 100))
    packed = predict(cluster, Scenario(50_000, 0.001, 100, packed=None))
    assert packed.rate > 5 * single.rate


def test_tables_say_that_costs_are_placeholders(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks.simulation.SIMULATED_TASKS", 1_000)
    monkeypatch.setattr(simulate, "published_table", lambda costs: "published")
    data = json.loads(COSTS.read_text())
    for measured in (False, True):
        data["cluster"]["measured"] = measured
        path = tmp_path / "costs.json"
        path.write_text(json.dumps(data))
        arguments = ["--costs", str(path), "--items", "1000", "--workers", "10"]
        assert simulate.main(arguments) == 0
        printed = capsys.readouterr().out
        assert ("placeholders" in printed) is not measured
        assert "| 10 | 100 ms | 5 items |" in printed


def test_check_compares_with_runs(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    embedded = Costs.read("embedded")

    def exact(workload: str, workers: int, timeout: float) -> float | None:
        items, packed = (10_000, 1) if workload == "noop-10k" else (100_000, None)
        return predict(embedded, Scenario(items, 0.0, workers, packed)).rate

    monkeypatch.setattr(simulate, "_measure", exact)
    assert simulate.main(["--check"]) == 0
    assert "| noop-10k | 4 |" in capsys.readouterr().out
    monkeypatch.setattr(simulate, "_measure", lambda *arguments: 1.0)
    assert simulate.main(["--check"]) == 1
    monkeypatch.setattr(simulate, "_measure", lambda *arguments: None)
    assert simulate.main(["--check"]) == 1
    assert "failed" in capsys.readouterr().out
