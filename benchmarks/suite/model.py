"""The words of the harness: what is measured, of what, and how it ended."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from enum import Enum
from typing import Any


class Status(str, Enum):
    """How a trial ended."""

    OK = "ok"
    FAILED = "failed"
    TIMEOUT = "timeout"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Metric:
    """A number that a workload reports.

    Attributes:
        key: Its name in the JSON file.
        label: Its name for people.
        unit: ``"s"``, ``"/s"``, ``"B"`` or ``""``; values are stored in this unit.
        higher_is_better: Which way is better.
    """

    key: str
    label: str
    unit: str
    higher_is_better: bool = False


SECONDS = Metric("seconds", "time", "s")
RATE = Metric("rate", "rate", "/s", higher_is_better=True)
CPU = Metric("cpu_seconds", "CPU of all processes", "s")
MEMORY = Metric("peak_memory", "peak memory of all processes", "B")
STORE = Metric("peak_store", "peak of stored data", "B")
LIVE_PEAK = Metric("live_peak", "peak of memory and stored data over idle", "B")


@dataclass(slots=True)
class Outcome:
    """One trial: one workload on one system, once.

    Attributes:
        metrics: Numbers by metric key.
        details: Whatever else the workload wants to keep, for example a curve.
        reason: Why there are no numbers.
    """

    system: str
    workload: str
    repeat: int
    status: Status
    reason: str = ""
    metrics: dict[str, float] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)
    elapsed: float = 0.0

    def to_json(self) -> dict[str, Any]:
        return {**dataclasses.asdict(self), "status": self.status.value}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Outcome:
        return cls(**{**data, "status": Status(data["status"])})


class WrongValueError(AssertionError):
    """A system returned a value that is not the right one."""


def check_value(actual: Any, expected: Any, what: str) -> None:
    """Fail the trial unless the value is the expected one.

    Example:
        >>> check_value(2, 3, "the sum")
        Traceback (most recent call last):
        benchmarks.suite.model.WrongValueError: the sum is 2, not 3
    """
    if actual != expected:
        raise WrongValueError(f"{what} is {_shorten(actual)}, not {_shorten(expected)}")


def _shorten(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:97]}..."
