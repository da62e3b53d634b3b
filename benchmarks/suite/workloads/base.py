"""What a workload is: a piece of work for any system, with numbers, that checks its values."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from benchmarks.suite.functions import identity
from benchmarks.suite.measure import Meter
from benchmarks.suite.model import SECONDS, Metric, check_value
from benchmarks.suite.systems.base import Capability, Function, System


@dataclass(frozen=True)
class Workload(ABC):
    """One workload with its sizes.

    Attributes:
        metric: The number by which systems are compared.
        needs: What a system must be able to do.
        starts_system: Whether the system is started (and warmed up) before ``run``.
        sample_interval: Seconds between two looks at memory and store; looking costs CPU time.
        smaller: A smaller form of the same work and how many times larger this one is: where the
            smaller one says that this one would take too long, it is not tried.
    """

    metric: ClassVar[Metric] = SECONDS
    needs: ClassVar[frozenset[Capability]] = frozenset()
    starts_system: ClassVar[bool] = True
    sample_interval: ClassVar[float] = 0.2

    @property
    @abstractmethod
    def name(self) -> str:
        """How the command line and the report call it."""

    @property
    @abstractmethod
    def title(self) -> str:
        """What it does, for people."""

    @property
    def smaller(self) -> tuple[str, float] | None:
        return None

    def warm_up(self, system: System) -> None:
        """Have every worker running before anything is measured."""
        items = list(range(4 * system.workers))
        check_value(system.map_each(identity, items), items, "the warm-up's result")

    @abstractmethod
    def run(self, system: System, meter: Meter) -> dict[str, Any]:
        """Do the work inside ``meter.section()`` and check the values.

        Returns:
            Further metrics (numbers) and details (anything else that is JSON).
        """


def reduce_pairwise(system: System, function: Function, handles: Sequence[Any]) -> Any:
    """A tree of two-argument tasks over the handles; returns the handle of its root."""
    level = list(handles)
    while len(level) > 1:
        paired = [
            system.call(function, level[index], level[index + 1])
            for index in range(0, len(level) - 1, 2)
        ]
        level = paired + level[len(paired) * 2 :]
    return level[0]


def short_count(count: int) -> str:
    """A count as it appears in names.

    Example:
        >>> short_count(100_000), short_count(1_000_000), short_count(500)
        ('100k', '1m', '500')
    """
    for size, letter in ((1_000_000, "m"), (1_000, "k")):
        if count >= size and count % size == 0:
            return f"{count // size}{letter}"
    return str(count)
