"""What a graph is expected to take: what ``plan`` gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class TaskEstimate:
    """What the calls of one task are expected to take.

    Attributes:
        task: The task's name.
        calls: How many there are.
        known: How many of these need not run: the cache has their values, or what needs them.
        engine_tasks: In how many engine tasks the others travel, at most: chains are fused.
        seconds_each: What a call takes, as it was measured; None: it never was.
        bytes_each: The bytes of its value, as they were measured; None: they never were.
    """

    task: str
    calls: int
    known: int
    engine_tasks: int
    seconds_each: float | None
    bytes_each: float | None

    @property
    def to_run(self) -> int:
        """How many calls run."""
        return self.calls - self.known

    @property
    def seconds(self) -> float:
        """What the calls that run take together; 0 if it was never measured."""
        return self.to_run * (self.seconds_each or 0.0)


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a graph is expected to take.

    Attributes:
        tasks: By the names of tasks, in the order in which they run.
        critical_path: Seconds that it takes with any number of workers.
        workers: How many tasks run at once.
        memory: Bytes that calls with their arguments take, of as many as run at once.

    Example:
        >>> double = TaskEstimate("double", 1000, 400, 8, 0.5, 100.0)
        >>> print(Estimate([double], 0.5, 4, 400))
        double: 600 of 1,000 calls run, 8 engine tasks at most, 0.5 s and 100 bytes each
        40 % is known; 300 s of work, about 75 s with 4 workers, 0.5 s at least; \
60,000 bytes of values, 400 at once
    """

    tasks: Sequence[TaskEstimate]
    critical_path: float
    workers: int
    memory: float

    @property
    def seconds(self) -> float:
        """What all calls that run take together."""
        return sum(task.seconds for task in self.tasks)

    @property
    def duration(self) -> float:
        """Seconds that it takes with so many workers, at least."""
        return max(self.critical_path, self.seconds / self.workers)

    @property
    def engine_tasks(self) -> int:
        """How many engine tasks there are, at most."""
        return sum(task.engine_tasks for task in self.tasks)

    @property
    def bytes(self) -> float:
        """The bytes of the values that are made."""
        return sum(task.to_run * (task.bytes_each or 0.0) for task in self.tasks)

    @property
    def cached_share(self) -> float:
        """Which share of the calls need not run."""
        calls = sum(task.calls for task in self.tasks)
        return sum(task.known for task in self.tasks) / calls if calls else 0.0

    @property
    def unmeasured(self) -> list[str]:
        """The names of tasks that run, and were never measured."""
        return [task.task for task in self.tasks if task.to_run and task.seconds_each is None]

    @property
    def unsized(self) -> list[str]:
        """The names of tasks that run, and the size of whose values was never measured."""
        return [task.task for task in self.tasks if task.to_run and task.bytes_each is None]

    def as_dict(self) -> dict[str, Any]:
        """As what JSON can say."""
        sums = ("seconds", "duration", "engine_tasks", "bytes", "cached_share")
        names = (*sums, "unmeasured", "unsized")
        return {**asdict(self), **{name: getattr(self, name) for name in names}}

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(str(self))  # IPython's, and a notebook's

    def __str__(self) -> str:
        lines = [
            f"{task.task}: {task.to_run:,} of {task.calls:,} calls run, "
            f"{task.engine_tasks:,} engine tasks at most, {_each(task)}"
            for task in self.tasks
        ]
        lines.append(
            f"{self.cached_share:.0%} is known".replace("%", " %")
            + f"; {self.seconds:,.3g} s of work, about {self.duration:,.3g} s with "
            f"{self.workers:,} {'worker' if self.workers == 1 else 'workers'}, "
            f"{self.critical_path:,.3g} s at least; "
            f"{self._told_bytes()}"
        )
        if self.unmeasured:
            lines.append(f"never measured, and not in these sums: {', '.join(self.unmeasured)}")
        values = [name for name in self.unsized if name not in self.unmeasured]
        if values:
            lines.append(f"values never measured, and not in these bytes: {', '.join(values)}")
        return "\n".join(lines)

    def _told_bytes(self) -> str:
        if self.unsized and not self.bytes:
            return "how large the values are is not known"
        return f"{self.bytes:,.0f} bytes of values, {self.memory:,.0f} at once"


def _each(task: TaskEstimate) -> str:
    if task.seconds_each is None:
        return "never measured"
    size = "" if task.bytes_each is None else f" and {task.bytes_each:,.0f} bytes"
    return f"{task.seconds_each:.3g} s{size} each"
