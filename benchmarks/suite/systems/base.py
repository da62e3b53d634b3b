"""What a benchmark asks of a system, in the few words that all of them can say.

An adapter uses its system as that system's documentation shows: its own way of batching, of sharing
a large value, of spawning tasks from tasks. Where a system lacks something, the adapter says so
with a capability, and the workloads that need it are skipped for it.
"""

from __future__ import annotations

import importlib.util
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, ClassVar

Function = Callable[..., Any]


class Capability(Enum):
    """What not every system can do."""

    GRAPHS = "tasks that depend on tasks, without the script in between"
    DYNAMIC = "tasks that spawn tasks"
    QUEUE = "hold more tasks than there are workers"


class System(ABC):
    """One system under test, with ``workers`` worker processes on this machine.

    Attributes:
        name: How the command line and the report call it.
        modules: Top-level modules that it needs to be installed.
        capabilities: What it can do beyond running independent tasks.
    """

    name: ClassVar[str]
    modules: ClassVar[tuple[str, ...]] = ()
    capabilities: ClassVar[frozenset[Capability]] = frozenset(Capability)

    def __init__(self, workers: int, directory: Path) -> None:
        self.workers = workers
        self.directory = directory

    @classmethod
    def missing(cls) -> list[str]:
        """The modules that it needs and that are not installed."""
        return [module for module in cls.modules if importlib.util.find_spec(module) is None]

    @abstractmethod
    def start(self) -> None:
        """Import the system and start its workers."""

    @abstractmethod
    def stop(self) -> None:
        """Stop everything that ``start`` started."""

    @abstractmethod
    def call(self, function: Function, *arguments: Any) -> Any:
        """One task; arguments may be handles of other tasks. Returns its handle."""

    @abstractmethod
    def values(self, handles: Sequence[Any]) -> list[Any]:
        """The values of the handles, when all of them are in hand."""

    @abstractmethod
    def map_each(self, function: Function, items: Sequence[Any]) -> list[Any]:
        """The function over all items with one task per item, and all values in hand."""

    @abstractmethod
    def map_batched(self, function: Function, items: Sequence[Any]) -> list[Any]:
        """The same with the system's own way of running many small items."""

    def share(self, value: Any) -> Any:
        """Something that stands for a large value in the arguments of many tasks."""
        return value

    def round_trip(self, function: Function, argument: Any) -> Any:
        """Submit one task and wait for its value."""
        return self.values([self.call(function, argument)])[0]

    def spread(self, branching: int, depth: int) -> int:
        """Leaves of a tree in which each task spawns ``branching`` tasks, ``depth`` times."""
        raise NotImplementedError(f"{self.name} has no tasks that spawn tasks")

    def queue(self, function: Function, items: Iterable[Any]) -> Any:
        """Hand over one task per item without waiting; the system need not have begun."""
        return [self.call(function, item) for item in items]

    def drain(self, queued: Any) -> list[Any]:
        """The values of what ``queue`` handed over."""
        return self.values(queued)

    @classmethod
    def stores(cls) -> list[Path]:
        """Directories outside its own one in which the system keeps data."""
        return []


@dataclass(slots=True, eq=False)
class Recorded:
    """A call that waits to be run with its level: what a system without graphs needs."""

    function: Function
    arguments: tuple[Any, ...]
    level: int
    value: Any = None
    done: bool = False


class LevelSystem(System):
    """A system without dependencies between tasks: the script runs a graph level by level."""

    capabilities = frozenset({Capability.QUEUE})

    @abstractmethod
    def run_level(self, calls: list[tuple[Function, tuple[Any, ...]]]) -> list[Any]:
        """Run independent calls, one task each, and return their values."""

    def call(self, function: Function, *arguments: Any) -> Recorded:
        levels = [argument.level for argument in arguments if isinstance(argument, Recorded)]
        return Recorded(function, arguments, max(levels) + 1 if levels else 0)

    def values(self, handles: Sequence[Recorded]) -> list[Any]:
        for level in recorded_levels(handles):
            calls = [(recorded.function, _resolve(recorded.arguments)) for recorded in level]
            for recorded, value in zip(level, self.run_level(calls), strict=True):
                recorded.value = value
                recorded.done = True
                recorded.arguments = ()  # its inputs need not be kept alive
        return [handle.value for handle in handles]


def recorded_levels(handles: Sequence[Recorded]) -> list[list[Recorded]]:
    """The calls that the handles need and that did not run yet, by level, each in order."""
    seen: set[int] = set()
    levels: dict[int, list[Recorded]] = {}
    stack = list(reversed(handles))
    while stack:
        recorded = stack.pop()
        if recorded.done or id(recorded) in seen:
            continue
        seen.add(id(recorded))
        levels.setdefault(recorded.level, []).append(recorded)
        stack.extend(argument for argument in recorded.arguments if isinstance(argument, Recorded))
    return [levels[level] for level in sorted(levels)]


def _resolve(arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(
        argument.value if isinstance(argument, Recorded) else argument for argument in arguments
    )


def in_chunks(items: Sequence[Any], size: int) -> list[list[Any]]:
    """The items in lists of ``size``, for systems whose batching is written by hand."""
    return [list(items[start : start + size]) for start in range(0, len(items), size)]


def apply_chunk(function: Function, chunk: Sequence[Any]) -> list[Any]:
    """The task of a batch written by hand."""
    return [function(item) for item in chunk]


CHUNK = 1000
"""Items per batch where the user of a system says it: its best order of magnitude for no-ops."""
