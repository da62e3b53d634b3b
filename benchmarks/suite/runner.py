"""Runs trials, each in a fresh process with a time limit, and cleans up after each."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from benchmarks.suite.measure import Sampler, adopt_orphans, descendants, kill_all
from benchmarks.suite.model import Outcome, Status
from benchmarks.suite.systems import load_system
from benchmarks.suite.trial import OUTCOME_FILE, STOP_SIGNAL, TrialSpec
from benchmarks.suite.workloads import find_workload
from benchmarks.suite.workloads.base import Workload

_ROOT = Path(__file__).resolve().parents[2]
_LOG_LINES = 15
_GRACE = 3.0
"""Seconds in which what a trial started may end by itself after it."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is run.

    Attributes:
        systems: Names of systems, in the order in which they take turns.
        workloads: Names of workloads.
        repeats: Rounds; in each of them every system runs every workload once.
        workers: Workers of each system.
        quick: Whether workloads have their quick sizes.
        timeout: Seconds that one trial may take.
        budget: Seconds beyond which a workload is not tried, going by its smaller form.
        time_limit: Seconds after which no further trial starts (None: no limit).
    """

    systems: Sequence[str]
    workloads: Sequence[str]
    repeats: int = 3
    workers: int = 2
    quick: bool = False
    timeout: float = 300.0
    budget: float = 90.0
    time_limit: float | None = None


@dataclass(slots=True)
class Runner:
    """Runs the trials of a plan, interleaved, and collects their outcomes.

    Attributes:
        report: Called with a line of text about each step.
        on_outcome: Called after each trial, with all outcomes so far.
    """

    plan: Plan
    report: Callable[[str], None] = print
    on_outcome: Callable[[list[Outcome]], None] = lambda outcomes: None
    outcomes: list[Outcome] = field(default_factory=list)
    _deadline: float = float("inf")

    def run(self) -> list[Outcome]:
        """All trials: per round, workload after workload, the systems taking turns."""
        adopt_orphans()
        if self.plan.time_limit is not None:
            self._deadline = time.monotonic() + self.plan.time_limit
        systems = self._installed()
        for repeat in range(1, self.plan.repeats + 1):
            for workload in self.plan.workloads:
                for system in _rotate(systems, repeat - 1):
                    self._take(self._run_one(system, workload, repeat))
        return self.outcomes

    def _installed(self) -> list[str]:
        installed = []
        for system in self.plan.systems:
            missing = load_system(system).missing()
            if missing:
                self.report(f"{system}: skipped, not installed: {', '.join(missing)}")
            else:
                installed.append(system)
        return installed

    def _take(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)
        self.report(describe(outcome, quick=self.plan.quick))
        self.on_outcome(self.outcomes)

    def _run_one(self, system: str, name: str, repeat: int) -> Outcome:
        workload = find_workload(name, quick=self.plan.quick)
        reason = self._reason_to_skip(system, workload)
        if reason:
            return Outcome(system, name, repeat, Status.SKIPPED, reason)
        timeout = min(self.plan.timeout, self._deadline - time.monotonic())
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="b", ignore_cleanup_errors=True) as directory:
            outcome = _Trial(self.plan, system, name, Path(directory), timeout).run(repeat)
        outcome.elapsed = time.monotonic() - began
        if outcome.status is Status.TIMEOUT and timeout < self.plan.timeout:
            outcome.status = Status.SKIPPED
            outcome.reason = f"the run's time was over after {timeout:.0f} s of it"
        return outcome

    def _reason_to_skip(self, system: str, workload: Workload) -> str:
        lacking = workload.needs - load_system(system).capabilities
        if lacking:
            return "it has no " + "; no ".join(capability.value for capability in lacking)
        if time.monotonic() >= self._deadline:
            return "no time left for it"
        if len(self._past(system, workload.name, {Status.TIMEOUT, Status.FAILED})) >= 2:
            return "it failed twice before"
        if workload.smaller:
            name, factor = workload.smaller
            seconds = [
                outcome.metrics["seconds"] for outcome in self._past(system, name, {Status.OK})
            ]
            predicted = statistics.median(seconds) * factor if seconds else 0.0
            if predicted > self.plan.budget:
                return f"by {name} it would take {predicted:.0f} s"
        return ""

    def _past(self, system: str, workload: str, statuses: set[Status]) -> list[Outcome]:
        return [
            outcome
            for outcome in self.outcomes
            if (outcome.system, outcome.workload) == (system, workload)
            and outcome.status in statuses
        ]


@dataclass(slots=True)
class _Trial:
    plan: Plan
    system: str
    workload: str
    directory: Path
    timeout: float

    def run(self, repeat: int) -> Outcome:
        outcome = Outcome(self.system, self.workload, repeat, Status.FAILED)
        own = psutil.Process()
        before = set(descendants(own))
        with (self.directory / "log").open("wb") as log:
            process = self._start(log.fileno())
        sampler = Sampler(
            psutil.Process(process.pid),
            self.directory,
            load_system(self.system).stores(),
        )
        finished = self._wait(process, sampler)
        if not finished:
            kill_all([child for child in descendants(own) if child not in before])
        remaining = [child for child in descendants(own) if child not in before]
        _, leftover = psutil.wait_procs(remaining, timeout=_GRACE)
        kill_all(leftover)
        process.wait()
        self._read(outcome, sampler)
        if not finished:
            outcome.status = Status.TIMEOUT
            outcome.reason = f"not done after {self.timeout:.0f} s\n{self._log_tail()}"
        elif process.returncode != 0:
            outcome.status = Status.FAILED
            outcome.reason = f"exit code {process.returncode}\n{self._log_tail()}"
        elif leftover:
            outcome.details["leftover_processes"] = len(leftover)
        return outcome

    def _start(self, log: int) -> subprocess.Popen[bytes]:
        temporary = self.directory / "t"
        temporary.mkdir()
        spec = TrialSpec(
            system=self.system,
            workload=self.workload,
            quick=self.plan.quick,
            workers=self.plan.workers,
            directory=str(self.directory),
        )
        return subprocess.Popen(
            [sys.executable, "-m", "benchmarks.suite.trial", spec.to_argument()],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=_ROOT,
            env=trial_environment(temporary),
            start_new_session=True,
        )

    def _wait(self, process: subprocess.Popen[bytes], sampler: Sampler) -> bool:
        """Sample until the trial ends; False if its time is over."""
        ended = threading.Event()

        def wait() -> None:
            process.wait()
            ended.set()

        threading.Thread(target=wait, daemon=True).start()
        deadline = time.monotonic() + self.timeout
        interval = find_workload(self.workload, quick=self.plan.quick).sample_interval
        while not ended.wait(interval):
            sampler.sample()
            if time.monotonic() > deadline:
                process.send_signal(STOP_SIGNAL)
                ended.wait(_GRACE)
                return False
        return True

    def _read(self, outcome: Outcome, sampler: Sampler) -> None:
        path = self.directory / OUTCOME_FILE
        if not path.exists():
            return
        written = json.loads(path.read_text())
        outcome.status = Status.OK
        outcome.details = {
            **written["details"],
            "section": [written["started"], written["ended"]],  # monotonic time
        }
        peaks = sampler.peaks(written["started"], written["ended"])
        outcome.metrics = {
            **written["metrics"],
            # A section may be over before anybody looks: it held no less than when it began.
            "peak_memory": max(float(peaks.memory), written["metrics"]["idle_memory"]),
            "peak_store": float(peaks.store),
            "live_peak": peaks.together - written["metrics"]["idle_memory"] - peaks.idle_store,
        }

    def _log_tail(self) -> str:
        lines = (self.directory / "log").read_text(errors="replace").splitlines()
        return "\n".join(lines[-_LOG_LINES:])


def _rotate(systems: list[str], by: int) -> list[str]:
    """Another system goes first in each round, so that none is always the first or the last."""
    middle = by % len(systems) if systems else 0
    return systems[middle:] + systems[:middle]


def trial_environment(temporary: Path) -> dict[str, str]:
    """The environment of a trial: this interpreter's scripts and this checkout come first."""
    scripts = str(Path(sys.executable).parent)
    return {
        **os.environ,
        "PATH": os.pathsep.join([scripts, os.environ.get("PATH", "")]),
        "PYTHONPATH": os.pathsep.join(_python_path()),
        "TMPDIR": str(temporary),
    }


def _python_path() -> Iterable[str]:
    yield str(_ROOT)
    if os.environ.get("PYTHONPATH"):
        yield os.environ["PYTHONPATH"]


def describe(outcome: Outcome, *, quick: bool) -> str:
    """One line about a trial, for the terminal.

    Args:
        outcome: The trial.
        quick: Whether the workload had its quick size.
    """
    from benchmarks.suite.report import format_value

    label = f"[{outcome.repeat}] {outcome.workload:<18} {outcome.system:<16}"
    if outcome.status is not Status.OK:
        lines = outcome.reason.splitlines() or [""]
        text = lines[0] if outcome.status is Status.SKIPPED else f"{lines[0]}: {lines[-1]}"
        return f"{label} {outcome.status.value}: {text}"
    metric = find_workload(outcome.workload, quick=quick).metric
    leftover = outcome.details.get("leftover_processes", 0)
    notes = f", left {leftover} processes behind" if leftover else ""
    return (
        f"{label} {format_value(outcome.metrics[metric.key], metric.unit):>12}"
        f"  (CPU {outcome.metrics['cpu_seconds']:.2f} s"
        f", memory {format_value(outcome.metrics['peak_memory'], 'B')}"
        f", all {outcome.elapsed:.1f} s{notes})"
    )
