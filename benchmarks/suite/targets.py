"""What armoflow promises, checked against the medians of one run on two cores."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmarks.suite.report import Summary

OURS = "armoflow"


@dataclass(frozen=True, slots=True)
class Verdict:
    """One promise and what was measured.

    Attributes:
        met: None when the run did not measure it.
        margin: By what part of the goal it is better; negative: worse.
    """

    what: str
    goal: str
    measured: str
    met: bool | None
    margin: float | None = None

    @property
    def mark(self) -> str:
        return {True: "met", False: "MISSED", None: "not measured"}[self.met]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Target:
    """A promise: a number and its bound.

    Attributes:
        number: Computes the number from a run; None if the run lacks what it needs.
        bound: The number must be at least this, or at most.
    """

    what: str
    number: Callable[[Summary], float | None]
    bound: float
    at_least: bool
    unit: str

    def check(self, summary: Summary) -> Verdict:
        from benchmarks.suite.report import format_value

        value = self.number(summary)
        goal = f"{'>=' if self.at_least else '<='} {format_value(self.bound, self.unit)}"
        if value is None:
            return Verdict(self.what, goal, "", None)
        margin = margin_of(value, self.bound, at_least=self.at_least)
        return Verdict(self.what, goal, format_value(value, self.unit), margin >= 0, margin)


def margin_of(value: float, goal: float, *, at_least: bool) -> float:
    """By what part of the goal a number is better than the goal; negative: it is worse.

    Example:
        >>> margin_of(6.0, 5.0, at_least=True), margin_of(1.0, 0.8, at_least=False)
        (0.2, -0.25)
    """
    return round(value / goal - 1 if at_least else 1 - value / goal, 9)


def _own(workload: str, key: str | None = None, system: str = OURS) -> Callable[..., float | None]:
    def number(summary: Summary) -> float | None:
        return summary.median(workload, system, key)

    return number


def _against(workload: str, peer: str) -> Callable[..., float | None]:
    """Our number divided by the peer's."""

    def number(summary: Summary) -> float | None:
        ours, theirs = summary.median(workload, OURS), summary.median(workload, peer)
        return ours / theirs if ours is not None and theirs else None

    return number


def _flatness(small: str, large: str) -> Callable[..., float | None]:
    """Cost per task of the large run divided by that of the small one."""

    def number(summary: Summary) -> float | None:
        few, many = summary.median(small, OURS), summary.median(large, OURS)
        return few / many if few and many else None

    return number


TARGETS = (
    Target(
        "no-op one by one / ProcessPoolExecutor",
        _against("noop-10k", "process-pool"),
        1.2,
        True,
        "x",
    ),
    Target("no-op one by one / Ray", _against("noop-10k", "ray"), 4.0, True, "x"),
    Target("map with batching", _own("batched-1m"), 500_000, True, "/s"),
    Target("round trip, median", _own("round-trip"), 0.8e-3, False, "s"),
    Target("chain of 500, unfused", _own("chain-500"), 0.07, False, "s"),
    Target(
        "tree of 4,096 leaves, one by one / ProcessPoolExecutor",
        _against("tree-4096", "process-pool"),
        0.3,
        False,
        "x",
    ),
    Target("32 arrays of 8 MB / dask", _against("arrays-32x8mb", "dask"), 0.7, False, "x"),
    Target("start to first result", _own("start-up"), 0.6, False, "s"),
    Target(
        "METG(50 %) stencil_1d / ProcessPoolExecutor",
        _against("metg-stencil_1d", "process-pool"),
        1.0,
        False,
        "x",
    ),
    Target("METG(50 %) stencil_1d / dask", _against("metg-stencil_1d", "dask"), 0.1, False, "x"),
    Target("METG(50 %) stencil_1d / Ray", _against("metg-stencil_1d", "ray"), 0.5, False, "x"),
    Target("100,000 queued tasks over idle", _own("queued-100k"), 200e6, False, "B"),
    Target("cost per task, 100k / 1k", _flatness("noop-1k", "noop-100k"), 1.2, False, "x"),
    Target(
        "packed map over the socket agent",
        _own("batched-100k", system="armoflow-socket"),
        3_800,
        True,
        "/s",
    ),
)


def check_targets(summary: Summary) -> list[Verdict]:
    """Every promise, for a full run: a quick run's sizes are not those of the promises."""
    return [] if summary.quick else [target.check(summary) for target in TARGETS]
