"""The model of scale: against arithmetic and against what ArmoniK's makers published."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.scale import simulate
from benchmarks.scale.costs import COSTS, Batches, Costs, Scenario, Stage
from benchmarks.scale.simulate import Measured
from benchmarks.scale.simulation import predict

FREE = Stage(*[0.0] * len(dataclasses.fields(Stage)))


def costs(
    *,
    cores: float | None = None,
    prefetch_frames: int = 1,
    commit_delay: float = 0.0,
    durations: bool = False,
    patience: float = 0.0,
    **stage: float,
) -> Costs:
    return Costs(
        source="a test",
        measured=True,
        cores=cores,
        submit_tasks=10,
        submit_calls=4,
        engine_slice=10,
        frame_tasks=1,
        prefetch_frames=prefetch_frames,
        commit_delay=commit_delay,
        target_seconds=0.5,
        durations=durations,
        patience=patience,
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
    # Somebody else takes half of a core.
    found = predict(costs(cores=1.5), Scenario(items=300, seconds=1.0, workers=10))
    assert found.elapsed == pytest.approx(200.0)
    # One worker cannot use two cores.
    found = predict(costs(cores=2), Scenario(items=100, seconds=1.0, workers=1))
    assert found.elapsed == pytest.approx(100.0)


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


def test_the_client_looks_first_and_decodes_last() -> None:
    stages: dict[str, Any] = {"check_item": 0.1, "gather_task": 1.0, "gather_item": 0.2}
    found = predict(costs(**stages), Scenario(items=100, seconds=1.0, workers=10, packed=2))
    assert found.elapsed == pytest.approx(10 + 10 + 50 + 20)


def test_commits_are_waited_for_and_shared() -> None:
    one = Scenario(items=1, seconds=0.0, workers=1)
    # The task is submitted in the first commit and ends in the same one.
    assert predict(costs(commit_delay=0.5, journal_commit=1.0), one).elapsed == pytest.approx(1.5)
    many = Scenario(items=1_000, seconds=0.0, workers=1)
    slow = predict(costs(journal_task=0.01), many)
    assert slow.elapsed == pytest.approx(20.0, rel=0.02)
    assert slow.busiest == "journal"
    assert predict(costs(journal_commit=0.01), many).elapsed < 2.0


def test_packing_is_the_clients_own() -> None:
    model = costs(durations=True)
    # Four batches for each worker, unless they would take longer than the target.
    assert Scenario(10_000, 0.01, 10, packed=None).batches(model).size == 50
    assert Scenario(400, 0.01, 10, packed=None).batches(model).size == 10
    assert Scenario(10_000, 10.0, 10, packed=None).batches(model).size == 1
    assert Scenario(5, 0.01, 10, packed=None).batches(model) == Batches(5, 0, 1, 1)
    # Where nobody tells durations, by count alone.
    assert Scenario(10_000, 0.01, 10, packed=None).batches(costs()) == Batches(10_000, 10, 4, 250)


def test_tasks_of_a_packed_collection() -> None:
    batches = Batches(items=100, pilots=2, pilot=4, size=40)
    assert batches.tasks == 5
    assert [batches.before(number) for number in range(6)] == [0, 4, 8, 48, 88, 100]


def test_a_plan_waits_for_its_first_small_batches() -> None:
    scenario = Scenario(items=10_000, seconds=0.001, workers=10, packed=None)
    at_once = predict(costs(), scenario).elapsed
    assert predict(costs(patience=5.0), scenario).elapsed == pytest.approx(at_once + 5.0, abs=0.01)
    told = predict(costs(patience=5.0, durations=True), scenario).elapsed
    assert told == pytest.approx(at_once, abs=0.05)


def test_a_long_run_goes_on_at_its_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    model = costs(engine_submit=0.001, engine_complete=0.002, client_task=0.0001)
    scenario = Scenario(items=20_000, seconds=0.005, workers=4)
    whole = predict(model, scenario)
    monkeypatch.setattr("benchmarks.scale.simulation.SIMULATED_TASKS", 2_000)
    assert predict(model, scenario).elapsed == pytest.approx(whole.elapsed, rel=0.05)


def test_the_cluster_matches_the_published_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.scale.simulation.SIMULATED_TASKS", 50_000)
    cluster = Costs.read("cluster").with_free_client()
    no_op = predict(cluster, Scenario(1_000_000, 0.0, 2_000))
    assert no_op.rate == pytest.approx(4_500, rel=0.05)
    assert predict(cluster, Scenario(10_000_000, 1.0, 2_000)).worker_use == pytest.approx(
        0.993, abs=0.006
    )


def test_the_file_says_where_its_numbers_are_from() -> None:
    for engine in ("embedded", "cluster"):
        found = Costs.read(engine)
        assert found.measured
        assert "benchmarks.scale.calibrate" in found.source
    assert "fitted to ArmoniK's published figures" in Costs.read("cluster").source


def test_packing_pays_on_the_cluster() -> None:
    cluster = Costs.read("cluster")
    single = predict(cluster, Scenario(50_000, 0.001, 100))
    packed = predict(cluster, Scenario(50_000, 0.001, 100, packed=None))
    assert packed.rate > 5 * single.rate


def test_tables_say_that_costs_are_placeholders(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks.scale.simulation.SIMULATED_TASKS", 1_000)
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
        assert "| 10 | 100 ms | 4 items |" in printed  # about half a second each


def test_check_compares_with_runs(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    embedded = Costs.read("embedded")
    seen: list[int] = []

    def exact(workload: str, workers: int, *, repeats: int, timeout: float) -> Measured | None:
        seen.append(repeats)
        items, packed = (10_000, 1) if workload == "noop-10k" else (100_000, None)
        machine = dataclasses.replace(embedded, cores=1.5)
        return Measured(predict(machine, Scenario(items, 0.0, workers, packed)).rate, 1.5)

    monkeypatch.setattr(simulate, "_measure", exact)
    assert simulate.main(["--check", "--repeats", "2"]) == 0
    assert seen == [2] * 8
    assert "| noop-10k | 4 | 1.5 |" in capsys.readouterr().out
    monkeypatch.setattr(simulate, "_measure", lambda *_, **__: Measured(1.0, 2.0))
    assert simulate.main(["--check"]) == 1
    monkeypatch.setattr(simulate, "_measure", lambda *_, **__: None)
    assert simulate.main(["--check"]) == 1
    assert "failed" in capsys.readouterr().out
