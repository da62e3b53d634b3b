"""From measured runs to the costs of the model's stages."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from benchmarks.micro import stages
from benchmarks.micro.stopwatch import REST
from benchmarks.scale import calibrate
from benchmarks.scale.calibrate import CLUSTER, EMBEDDED, SLOW, Line, Measured, Shape, fit
from benchmarks.scale.costs import COSTS, Costs, Stage

AMOUNTS = [shape.amounts for shape in EMBEDDED]


def seconds(line: Line, amounts: tuple[int, int, int]) -> float:
    return 1e-6 * sum(cost * amount for cost, amount in zip(line, amounts, strict=True))


def test_amounts() -> None:
    assert Shape(300, 1, 0).amounts == (300, 300, 300)
    assert Shape(2, 5, 20).amounts == (2, 10, 200)


def test_the_line_through_runs() -> None:
    line = Line(100.0, 20.0, 0.5)
    assert fit(AMOUNTS, [seconds(line, one) for one in AMOUNTS]) == pytest.approx(line)


def test_noise_makes_nothing_cheaper_than_nothing() -> None:
    exact = [seconds(Line(0.0, 20.0, 0.0), one) for one in AMOUNTS]
    noisy = [value * factor for value, factor in zip(exact, (0.9, 1.0, 1.1, 0.9), strict=True)]
    found = fit(AMOUNTS, noisy)
    assert min(found) >= 0
    assert found.task == pytest.approx(20.0, rel=0.15)
    assert fit(AMOUNTS, [0.0] * len(AMOUNTS)) == pytest.approx((0, 0, 0))


def test_medians_of_the_rounds() -> None:
    key = ("client", stages.PLAN)
    rounds = [[{key: 1.0}], [{key: 9.0}], [{key: 2.0}]]
    assert Measured([EMBEDDED[0]], rounds).seconds(0, *key[:1], key[1:]) == 2.0


def runs(shapes: tuple[Shape, ...], lines: Mapping[tuple[str, str], Line]) -> Measured:
    one = [{key: seconds(line, shape.amounts) for key, line in lines.items()} for shape in shapes]
    return Measured(shapes, [one])


def test_costs_of_the_embedded_engine() -> None:
    lines = {
        ("client", stages.CHECK): Line(0, 0, 0.1),
        ("client", stages.PLAN): Line(300, 20, 0.2),
        ("client", REST): Line(100, 1, 0),
        ("client", stages.GATHER): Line(0, 5, 1.5),
        ("engine", stages.TAKE_IN): Line(200, 10, 0.1),
        ("engine", stages.DISPATCH): Line(0, 4, 0),
        ("engine", stages.END): Line(0, 6, 0),
        ("engine", stages.JOURNAL): Line(0, 4, 0),
        ("engine", stages.WRITER): Line(80, 18, 0),
        ("worker", stages.RUN): Line(0, 25, 0.5),
    }
    slow = {**lines, ("engine", stages.DISPATCH): Line(0, 54, 0)}
    slow["worker", stages.FRAMES] = Line(0, 40, 0)
    slow["engine", stages.TAKE_IN] = Line(0, 10, 0)
    found = calibrate.embedded_costs(runs(EMBEDDED, lines), runs((SLOW,), slow))
    assert set(found) == {field.name for field in dataclasses.fields(Stage)}
    expected = {
        "check_item": 0.1,
        "client_call": 400,
        "client_task": 21,
        "client_item": 0.2,
        "gather_task": 5,
        "gather_item": 1.5,
        "engine_call": 200,
        "engine_submit": 12,
        "engine_frame": 50,
        "engine_dispatch": 4,
        "engine_complete": 8,
        "journal_commit": 80,
        "journal_task": 9,
        "worker_task": 25,
        "worker_frame": 40,
        "worker_item": 0.5,
    }
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=0.5)


def test_costs_of_a_cluster_leave_the_engine_alone() -> None:
    lines = {
        ("client", stages.SUBMIT): Line(1000, 200, 0.1),
        ("client", REST): Line(0, 100, 0),
        ("client", stages.NOTIFY): Line(0, 300, 0),
        ("worker", stages.RUN): Line(0, 1500, 0.8),
    }
    found = calibrate.cluster_costs(runs(CLUSTER, lines))
    assert not [name for name in found if name.startswith(("engine", "journal"))]
    assert found["client_task"] == pytest.approx(250)
    assert found["notify_task"] == pytest.approx(350)
    assert found["worker_task"] + found["agent_task"] == pytest.approx(3_000)


def test_the_file_says_what_was_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def embedded(rounds: int) -> dict[str, Any]:
        return {"cores": 7, "durations": True, "microseconds": {"client_task": float(rounds)}}

    monkeypatch.setattr(calibrate, "measure_embedded", embedded)
    monkeypatch.setattr(calibrate, "measure_cluster", lambda rounds: {"microseconds": {}})
    path = tmp_path / "costs.json"
    data = json.loads(COSTS.read_text())
    for entry in data.values():
        entry["measured"] = False
    path.write_text(json.dumps(data))
    before = Costs.read("cluster", path)
    calibrate.main(["--costs", str(path), "--engine", "embedded", "--rounds", "5"])
    found = Costs.read("embedded", path)
    assert (found.cores, found.durations, found.stage.client_task) == (7, True, 5e-6)
    assert found.measured
    assert "python -m benchmarks.scale.calibrate" in found.source
    assert Costs.read("cluster", path) == before
    calibrate.main(["--costs", str(path), "--engine", "cluster"])
    cluster = Costs.read("cluster", path)
    assert cluster.stage == before.stage
    assert "not measured but fitted" in cluster.source
    assert json.loads(capsys.readouterr().out.split("\n}\n")[0] + "\n}")["embedded"]["measured"]
