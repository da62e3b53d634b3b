"""Medians, ratios, targets, files and the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.suite import cli, report
from benchmarks.suite.model import Outcome, Status, check_value
from benchmarks.suite.report import Summary, format_value
from benchmarks.suite.targets import TARGETS, check_targets


def outcome(system: str, workload: str, repeat: int, **metrics: float) -> Outcome:
    return Outcome(system, workload, repeat, Status.OK, metrics=metrics)


def rates(system: str, *values: float) -> list[Outcome]:
    return [
        outcome(system, "noop-10k", repeat, rate=value, seconds=10_000 / value, cpu_seconds=1.0)
        for repeat, value in enumerate(values, start=1)
    ]


def times(system: str, *values: float) -> list[Outcome]:
    return [
        outcome(system, "chain-500", repeat, seconds=value)
        for repeat, value in enumerate(values, start=1)
    ]


OUTCOMES = [
    *rates("armoflow", 8_000, 10_000, 9_000),
    *rates("ray", 1_500, 1_000, 2_000),
    *rates("process-pool", 9_000, 9_000, 9_000),
    *times("armoflow", 0.2),
    *times("ray", 0.6),
    Outcome("dask", "noop-10k", 1, Status.TIMEOUT, "not done after 300 s\nsomewhere"),
]
SETTINGS = {"quick": False, "repeats": 3, "workers": 2}


def test_medians_and_ratios() -> None:
    summary = Summary.of(OUTCOMES, quick=False)
    assert summary.median("noop-10k", "armoflow") == 9_000
    assert summary.ratio("noop-10k", "ray") == 6.0  # higher is better
    assert summary.ratio("chain-500", "ray") == pytest.approx(3.0)  # lower is better
    assert summary.median("noop-10k", "dask") is None
    assert summary.ratio("noop-10k", "dask") is None
    assert summary.median("tree-4096", "armoflow") is None


def test_targets_are_met_missed_or_not_measured() -> None:
    verdicts = {v.what: v for v in check_targets(Summary.of(OUTCOMES, quick=False))}
    assert len(verdicts) == len(TARGETS)
    assert verdicts["no-op one by one / Ray"].met is True
    assert verdicts["no-op one by one / Ray"].margin == 0.5
    assert verdicts["no-op one by one / ProcessPoolExecutor"].mark == "MISSED"
    assert verdicts["chain of 500, unfused"].mark == "MISSED"
    assert verdicts["tree of 4,096 leaves, one by one / ProcessPoolExecutor"].mark == "not measured"
    assert check_targets(Summary.of(OUTCOMES, quick=True)) == []


def test_cost_per_task_is_flat_when_the_rates_are_equal() -> None:
    flat = [
        outcome("armoflow", "noop-1k", 1, rate=9_000.0),
        outcome("armoflow", "noop-100k", 1, rate=6_000.0),
    ]
    verdicts = {v.what: v for v in check_targets(Summary.of(flat, quick=False))}
    assert verdicts["cost per task, 100k / 1k"].measured == "1.5x"
    assert verdicts["cost per task, 100k / 1k"].met is False


def test_markdown_shows_medians_ratios_and_failures() -> None:
    text = report.to_markdown(report.describe_machine(), SETTINGS, OUTCOMES)
    assert "| noop-10k | rate | 9,000/s | 1,500/s (6x) | 9,000/s (1x) | timeout |" in text
    assert "timeout: not done after 300 s" in text
    assert "8,000/s to 10,000/s" in text
    assert "## Targets" in text


def test_json_holds_every_trial(tmp_path: Path) -> None:
    data = report.to_json(report.describe_machine(), SETTINGS, OUTCOMES)
    path = tmp_path / "results.json"
    path.write_text(json.dumps(data))
    read, outcomes = report.read_outcomes(path)
    assert outcomes == OUTCOMES
    assert read["medians"]["noop-10k"]["armoflow"]["rate"] == 9_000


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.0, "s", "0 ns"),
        (1.5, "s", "1.5 s"),
        (0.0123456, "s", "12.3 ms"),
        (3.1e9, "B", "3.1 GB"),
        (512, "B", "512 B"),
        (-2.5e6, "B", "-2.5 MB"),
        (1_234_567, "/s", "1,230,000/s"),
        (0.25, "x", "0.25x"),
    ],
)
def test_numbers_as_people_read_them(value: float, unit: str, text: str) -> None:
    assert format_value(value, unit) == text


def test_long_values_are_shortened_in_messages() -> None:
    with pytest.raises(AssertionError) as caught:
        check_value(list(range(10_000)), [], "the list")
    assert len(str(caught.value)) < 200


@pytest.mark.usefixtures("trial_path")
def test_command_line_writes_its_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--quick", "--workload", "noop-1k", "--results", str(tmp_path)]
    systems = ["--system", "process-pool", "--system", "fake_systems:Absent"]
    assert cli.main([*arguments, *systems]) == 0
    printed = capsys.readouterr().out
    assert "fake_systems:Absent: skipped, not installed" in printed
    assert "# Benchmarks" in printed
    assert json.loads((tmp_path / "results.json").read_text())["settings"]["quick"] is True
    assert "process-pool" in (tmp_path / "results.md").read_text()


@pytest.mark.usefixtures("trial_path")
def test_command_line_fails_when_a_trial_fails(tmp_path: Path) -> None:
    arguments = ["--quick", "--workload", "noop-1k", "--results", str(tmp_path)]
    assert cli.main([*arguments, "--system", "fake_systems:Crashing"]) == 1


def test_command_line_names_what_it_does_not_know(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, message in (
        (["--workload", "nope"], "unknown workload 'nope': known are noop-1k"),
        (["--system", "nope"], "unknown system 'nope': known are armoflow"),
    ):
        with pytest.raises(SystemExit):
            cli.main(arguments)
        assert message in capsys.readouterr().err


def test_command_line_lists(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--list"]) == 0
    printed = capsys.readouterr().out
    assert "process-pool" in printed
    assert "chain of 500 tasks, submitted at once" in printed


def test_plots_are_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from benchmarks.suite.plots import draw_plots

    points = [{"kernel": 0.001, "granularity": 0.0015, "efficiency": 0.67}]
    curve = outcome("ray", "metg-fft", 1, metg=0.0015, seconds=1.0)
    curve.details["points"] = points
    drawn = draw_plots([*OUTCOMES, curve], tmp_path, quick=False)
    assert sorted(path.name for path in drawn) == ["metg.png", "overview.png", "throughput.png"]
    assert all(path.stat().st_size > 1_000 for path in drawn)
