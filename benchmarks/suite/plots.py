"""Pictures of a run."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.suite.model import Outcome, Status
from benchmarks.suite.report import Summary, format_value
from benchmarks.suite.systems import SYSTEMS
from benchmarks.suite.workloads import find_workload

_SIZES = ("noop-1k", "noop-10k", "noop-100k")


def draw_plots(outcomes: Sequence[Outcome], directory: Path, *, quick: bool) -> list[Path]:
    """Draw what there is to draw; nothing without matplotlib.

    Returns:
        The files written.
    """
    if importlib.util.find_spec("matplotlib") is None:
        return []
    import matplotlib

    matplotlib.use("Agg")
    summary = Summary.of(outcomes, quick=quick)
    drawn = [_draw_bars(summary, directory / "overview.png")]
    if any(summary.median(workload, system) for workload in _SIZES for system in summary.systems()):
        drawn.append(_draw_sizes(summary, directory / "throughput.png"))
    curves = [outcome for outcome in outcomes if "points" in outcome.details]
    if curves:
        drawn.append(_draw_efficiency(curves, directory / "metg.png", quick=quick))
    return drawn


def _color(system: str) -> Any:
    from matplotlib import colormaps

    names = list(SYSTEMS)
    position = names.index(system) if system in names else len(names)
    return colormaps["tab10"](position % 10)


def _panels(count: int, columns: int) -> tuple[Any, list[Any]]:
    from matplotlib import pyplot

    columns = min(columns, count)
    rows = -(-count // columns)
    figure, axes = pyplot.subplots(
        rows, columns, figsize=(4.6 * columns, 3.0 * rows), squeeze=False, layout="constrained"
    )
    flat = list(axes.flat)
    for unused in flat[count:]:
        unused.set_visible(False)
    return figure, flat[:count]


def _save(figure: Any, path: Path) -> Path:
    from matplotlib import pyplot
    from matplotlib.ticker import LogFormatter, NullFormatter

    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            if axis.get_scale() == "log":
                axis.set_major_formatter(LogFormatter())
                axis.set_minor_formatter(NullFormatter())
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
    return path


def _draw_bars(summary: Summary, path: Path) -> Path:
    """One panel per workload: the medians of all systems, with the range of the rounds."""
    figure, panels = _panels(len(summary.cells), columns=3)
    for axes, (workload, row) in zip(panels, summary.cells.items(), strict=True):
        metric = summary.metric(workload)
        better = "more" if metric.higher_is_better else "less"
        axes.set_title(f"{workload}: {metric.label} ({better} is better)", fontsize=9)
        axes.set_xscale("log")
        axes.invert_yaxis()
        shown: list[float] = []
        for system, cell in row.items():
            values = [value for value in cell.values(metric.key) if value > 0]
            median = cell.median(metric.key)
            if not values or not median or median <= 0:
                continue
            shown += values
            spread = [[median - min(values)], [max(values) - median]]
            axes.barh(system, median, xerr=spread, color=_color(system))
            axes.annotate(
                f" {format_value(median, metric.unit)}", (median, system), va="center", fontsize=8
            )
        if shown:
            axes.set_xlim(min(shown) / 3, max(shown) * 6)
        axes.tick_params(labelsize=8)
    return _save(figure, path)


def _draw_sizes(summary: Summary, path: Path) -> Path:
    """Throughput of no-op tasks by their number: flat lines scale."""
    figure, (axes,) = _panels(1, columns=1)
    for system in summary.systems():
        measured = [
            (int(workload.removeprefix("noop-").removesuffix("k")) * 1000, median)
            for workload in _SIZES
            if (median := summary.median(workload, system))
        ]
        if measured:
            counts, rates = zip(*measured, strict=True)
            axes.plot(counts, rates, marker="o", color=_color(system), label=system)
    axes.set(xscale="log", yscale="log", xlabel="no-op tasks", ylabel="tasks/s")
    axes.legend(fontsize=7)
    return _save(figure, path)


def _draw_efficiency(outcomes: Sequence[Outcome], path: Path, *, quick: bool) -> Path:
    """Efficiency by task granularity, as in the paper: further left is better."""
    workloads = list(dict.fromkeys(outcome.workload for outcome in outcomes))
    figure, panels = _panels(len(workloads), columns=3)
    for axes, workload in zip(panels, workloads, strict=True):
        axes.set_title(find_workload(workload, quick=quick).title, fontsize=9)
        axes.axhline(0.5, color="gray", linewidth=0.8, linestyle="--")
        labelled: set[str] = set()
        for outcome in outcomes:
            if outcome.workload != workload or outcome.status is not Status.OK:
                continue
            points = [point for point in outcome.details["points"] if point["kernel"] > 0]
            axes.plot(
                [point["granularity"] * 1e3 for point in points],
                [point["efficiency"] for point in points],
                marker=".",
                color=_color(outcome.system),
                label=None if outcome.system in labelled else outcome.system,
            )
            labelled.add(outcome.system)
        axes.set(xscale="log", xlabel="granularity (ms)", ylabel="efficiency", ylim=(0, 1.1))
        axes.legend(fontsize=7)
    return _save(figure, path)
