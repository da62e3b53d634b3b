"""The runner: fresh processes, time limits, what it counts and what it leaves behind."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from benchmarks.suite.model import Outcome, Status
from benchmarks.suite.runner import Plan, Runner, describe
from tests.processes import own_children

pytestmark = pytest.mark.usefixtures("trial_path")


def run(*systems: str, workloads: tuple[str, ...] = ("noop-1k",), **options: object) -> Runner:
    plan = Plan(systems=systems, workloads=workloads, **{"repeats": 1, **options})  # type: ignore[arg-type]
    runner = Runner(plan, report=lambda line: None)
    runner.run()
    return runner


def test_process_pool_is_measured_and_right() -> None:
    (outcome,) = run("process-pool").outcomes
    assert outcome.status is Status.OK, outcome.reason
    assert outcome.metrics["rate"] > 0
    assert outcome.metrics["seconds"] > 0
    assert outcome.metrics["peak_memory"] > 1_000_000
    assert "leftover_processes" not in outcome.details
    assert "noop-1k" in describe(outcome, quick=False)


def test_a_wrong_value_is_a_failure() -> None:
    (outcome,) = run("fake_systems:Wrong").outcomes
    assert outcome.status is Status.FAILED
    assert "WrongValueError: the list of values is [0, 1," in outcome.reason


def test_a_hang_ends_at_the_time_limit_and_leaves_no_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "pid"
    monkeypatch.setenv("FAKE_SYSTEM_FILE", str(file))
    (outcome,) = run("fake_systems:Hanging", timeout=8.0).outcomes
    assert outcome.status is Status.TIMEOUT
    assert "not done after 8 s" in outcome.reason
    assert "map_each" in outcome.reason  # where it hung
    assert not psutil.pid_exists(int(file.read_text()))


def test_a_crash_is_reported_and_the_next_system_runs() -> None:
    crashed, good = run("fake_systems:Crashing", "fake_systems:Inline").outcomes
    assert crashed.status is Status.FAILED
    assert "exit code 7" in crashed.reason
    assert "the last words" in crashed.reason
    assert good.status is Status.OK, good.reason


def test_the_work_of_a_daemon_counts_and_the_daemon_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.suite.runner._GRACE", 0.2)
    before = own_children()
    (outcome,) = run("fake_systems:Daemon").outcomes
    assert outcome.status is Status.OK, outcome.reason
    assert outcome.metrics["cpu_seconds"] >= 0.4
    assert outcome.details["leftover_processes"] == 1
    assert own_children() <= before


def test_a_system_that_is_not_installed_is_skipped_with_a_line() -> None:
    lines: list[str] = []
    plan = Plan(systems=["fake_systems:Absent"], workloads=["noop-1k"], repeats=1)
    assert Runner(plan, report=lines.append).run() == []
    assert lines == ["fake_systems:Absent: skipped, not installed: a_module_that_nobody_has"]


def test_what_a_system_cannot_do_is_skipped() -> None:
    (outcome,) = run("process-pool", workloads=("chain-500",)).outcomes
    assert outcome.status is Status.SKIPPED
    assert "it has no tasks that depend on tasks" in outcome.reason


def test_systems_take_turns_and_another_is_first_in_each_round() -> None:
    systems = ("fake_systems:Inline", "fake_systems:InlineLevels")
    outcomes = run(*systems, workloads=("noop-1k", "round-trip"), repeats=2, quick=True).outcomes
    order = [(o.repeat, o.workload, o.system.partition(":")[2]) for o in outcomes]
    assert order == [
        (1, "noop-1k", "Inline"),
        (1, "noop-1k", "InlineLevels"),
        (1, "round-trip", "Inline"),
        (1, "round-trip", "InlineLevels"),
        (2, "noop-1k", "InlineLevels"),
        (2, "noop-1k", "Inline"),
        (2, "round-trip", "InlineLevels"),
        (2, "round-trip", "Inline"),
    ]
    assert all(outcome.status is Status.OK for outcome in outcomes)


def test_nothing_starts_when_the_time_is_over() -> None:
    (outcome,) = run("fake_systems:Inline", time_limit=0.0).outcomes
    assert (outcome.status, outcome.reason) == (Status.SKIPPED, "no time left for it")


def test_the_end_of_the_run_is_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_SYSTEM_FILE", str(tmp_path / "pid"))
    (outcome,) = run("fake_systems:Hanging", time_limit=2.0).outcomes
    assert outcome.status is Status.SKIPPED
    assert "the run's time was over" in outcome.reason


def past(seconds: float, status: Status = Status.OK) -> Outcome:
    return Outcome("process-pool", "noop-1k", 1, status, metrics={"seconds": seconds})


def test_what_would_take_too_long_is_left_out() -> None:
    plan = Plan(["process-pool"], ["noop-10k"], repeats=1, budget=60.0)
    runner = Runner(plan, report=lambda line: None, outcomes=[past(7.0)])
    assert runner.run()[-1].reason == "by noop-1k it would take 70 s"


def test_what_failed_twice_is_not_tried_again() -> None:
    plan = Plan(["process-pool"], ["noop-1k"], repeats=1)
    failed = [past(1.0, Status.FAILED), past(1.0, Status.TIMEOUT)]
    runner = Runner(plan, report=lambda line: None, outcomes=failed)
    assert runner.run()[-1].reason == "it failed twice before"
