"""From trials to a summary: medians, ratios, a JSON file and Markdown tables."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from benchmarks.suite.model import CPU, MEMORY, STORE, Metric, Outcome, Status
from benchmarks.suite.systems import REFERENCE
from benchmarks.suite.targets import Verdict, check_targets
from benchmarks.suite.workloads import find_workload

_PACKAGES = ("armoflow", "dask", "distributed", "ray", "parsl", "joblib", "numpy", "grpcio")
_COLUMNS = (CPU, MEMORY, STORE)


@dataclass(slots=True)
class Cell:
    """All trials of one workload on one system."""

    outcomes: list[Outcome] = field(default_factory=list)

    def values(self, key: str) -> list[float]:
        """What the trials that ended well say for a metric."""
        return [
            outcome.metrics[key]
            for outcome in self.outcomes
            if outcome.status is Status.OK and key in outcome.metrics
        ]

    def median(self, key: str) -> float | None:
        values = self.values(key)
        return statistics.median(values) if values else None

    def failures(self) -> list[Outcome]:
        return [outcome for outcome in self.outcomes if outcome.status is not Status.OK]


@dataclass(slots=True)
class Summary:
    """The trials of a run by workload and system.

    Attributes:
        cells: By workload name, then by system name, in the order of the run.
        quick: Whether the run had quick sizes.
    """

    cells: dict[str, dict[str, Cell]]
    quick: bool

    @classmethod
    def of(cls, outcomes: Iterable[Outcome], *, quick: bool) -> Summary:
        cells: dict[str, dict[str, Cell]] = {}
        for outcome in outcomes:
            row = cells.setdefault(outcome.workload, {})
            row.setdefault(outcome.system, Cell()).outcomes.append(outcome)
        return cls(cells, quick)

    def systems(self) -> list[str]:
        return list(dict.fromkeys(system for row in self.cells.values() for system in row))

    def metric(self, workload: str) -> Metric:
        return find_workload(workload, quick=self.quick).metric

    def median(self, workload: str, system: str, key: str | None = None) -> float | None:
        """The median of a metric (the workload's own unless another is named)."""
        cell = self.cells.get(workload, {}).get(system)
        return cell.median(key or self.metric(workload).key) if cell else None

    def ratio(self, workload: str, system: str, reference: str = REFERENCE) -> float | None:
        """How many times better the reference is than the system (below 1: worse)."""
        ours, theirs = self.median(workload, reference), self.median(workload, system)
        if not ours or not theirs:
            return None
        return ours / theirs if self.metric(workload).higher_is_better else theirs / ours


def describe_machine() -> dict[str, Any]:
    """Where and with what a run was made."""
    return {
        "date": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "memory": psutil.virtual_memory().total,
        "load_before": list(os.getloadavg()),
        "commit": _commit(),
        "versions": {name: version for name in _PACKAGES if (version := _version(name))},
    }


def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty"]
    root = Path(__file__).parents[1]
    try:
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.strip()


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def to_json(
    machine: dict[str, Any], settings: dict[str, Any], outcomes: Sequence[Outcome]
) -> dict[str, Any]:
    """Everything about a run, with every trial."""
    summary = Summary.of(outcomes, quick=bool(settings["quick"]))
    medians = {
        workload: {
            system: {key: cell.median(key) for key in _keys(cell)} for system, cell in row.items()
        }
        for workload, row in summary.cells.items()
    }
    return {
        "machine": machine,
        "settings": settings,
        "medians": medians,
        "targets": [verdict.to_json() for verdict in check_targets(summary)],
        "trials": [outcome.to_json() for outcome in outcomes],
    }


def _keys(cell: Cell) -> list[str]:
    return sorted({key for outcome in cell.outcomes for key in outcome.metrics})


def read_outcomes(path: Path) -> tuple[dict[str, Any], list[Outcome]]:
    """The whole file of a run and its trials."""
    data = json.loads(path.read_text())
    return data, [Outcome.from_json(trial) for trial in data["trials"]]


def to_markdown(
    machine: dict[str, Any], settings: dict[str, Any], outcomes: Sequence[Outcome]
) -> str:
    """The report of a run: an overview, the targets, and a table per workload."""
    summary = Summary.of(outcomes, quick=bool(settings["quick"]))
    parts = [
        "# Benchmarks",
        _describe_run(machine, settings),
        _overview(summary),
        _targets(check_targets(summary)),
        *(_workload_table(summary, workload) for workload in summary.cells),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _describe_run(machine: dict[str, Any], settings: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    sizes = "quick sizes" if settings["quick"] else "full sizes"
    load = ", ".join(f"{value:.1f}" for value in machine["load_before"])
    return (
        f"{machine['date']}, commit {machine['commit']}, {sizes}, medians of "
        f"{settings['repeats']} interleaved rounds, {settings['workers']} workers per system. "
        f"{machine['cores']} cores, {format_value(machine['memory'], 'B')} of memory, "
        f"{machine['platform']}, Python {machine['python']}; load before the run {load}. "
        f"{versions}."
    )


def _overview(summary: Summary) -> str:
    systems = summary.systems()
    rows = []
    for workload in summary.cells:
        metric = summary.metric(workload)
        cells = [_overview_cell(summary, workload, system) for system in systems]
        rows.append([workload, metric.label, *cells])
    note = (
        f"Each cell: the median, and in brackets how many times better {REFERENCE} is "
        "(below 1: worse)."
    )
    return f"## Overview\n\n{note}\n\n{_table(['workload', 'number', *systems], rows)}"


def _overview_cell(summary: Summary, workload: str, system: str) -> str:
    cell = summary.cells[workload].get(system)
    if cell is None:
        return ""
    metric = summary.metric(workload)
    median = cell.median(metric.key)
    if median is None:
        return cell.outcomes[-1].status.value
    ratio = summary.ratio(workload, system)
    shown = "" if ratio is None or system == REFERENCE else f" ({ratio:.2g}x)"
    return format_value(median, metric.unit) + shown


def _targets(verdicts: list[Verdict]) -> str:
    rows = [
        [
            verdict.what,
            verdict.goal,
            verdict.measured,
            "" if verdict.margin is None else f"{verdict.margin:+.0%}",
            verdict.mark,
        ]
        for verdict in verdicts
    ]
    if not rows:
        return ""
    return f"## Targets\n\n{_table(['what', 'goal', 'measured', 'margin', ''], rows)}"


def _workload_table(summary: Summary, workload: str) -> str:
    metric = summary.metric(workload)
    shown = [column for column in _COLUMNS if column.key != metric.key]
    header = ["system", metric.label, "range", *(column.label for column in shown), "notes"]
    rows = []
    for system, cell in summary.cells[workload].items():
        values = cell.values(metric.key)
        extent = (
            f"{format_value(min(values), metric.unit)} to {format_value(max(values), metric.unit)}"
            if len(values) > 1
            else ""
        )
        numbers = [_format(cell.median(column.key), column.unit) for column in shown]
        rows.append(
            [system, _format(cell.median(metric.key), metric.unit), extent, *numbers, _notes(cell)]
        )
    title = find_workload(workload, quick=summary.quick).title
    return f"## {workload}: {title}\n\n{_table(header, rows)}"


def _notes(cell: Cell) -> str:
    notes = [
        f"{outcome.status.value}: {(outcome.reason.splitlines() or [''])[0]}"
        for outcome in cell.failures()
    ]
    extra = {
        key: _format(cell.median(key), unit)
        for key, unit in (("p99", "s"), ("cpu_per_task", "s"), ("cpu_per_item", "s"))
        if cell.values(key)
    }
    notes += [f"{key} {value}" for key, value in extra.items()]
    left = [outcome.details.get("leftover_processes", 0) for outcome in cell.outcomes]
    if any(left):
        notes.append(f"left {max(left)} processes behind")
    return "; ".join(dict.fromkeys(notes))


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "/") for cell in line) + " |" for line in lines
    )


def _format(value: float | None, unit: str) -> str:
    return "" if value is None else format_value(value, unit)


def format_value(value: float, unit: str) -> str:
    """A number as people read it, with three significant digits.

    Args:
        value: The number.
        unit: ``"s"``, ``"B"``, ``"/s"`` or ``""``.

    Example:
        >>> format_value(0.00032, "s"), format_value(2.5e6, "B"), format_value(12345.6, "/s")
        ('320 us', '2.5 MB', '12,300/s')
    """
    if unit == "s":
        for size, name in ((1.0, "s"), (1e-3, "ms"), (1e-6, "us")):
            if abs(value) >= size:
                return f"{_digits(value / size)} {name}"
        return f"{_digits(value / 1e-9)} ns"
    if unit == "B":
        for size, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
            if abs(value) >= size:
                return f"{_digits(value / size)} {name}"
        return f"{value:.0f} B"
    return _digits(value) + unit


def _digits(value: float) -> str:
    if value == 0:
        return "0"
    rounded = float(f"{value:.3g}")
    return f"{rounded:,.0f}" if abs(rounded) >= 100 else f"{rounded:g}"
