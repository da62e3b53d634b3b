"""How far the work of a client is: items planned, ended and failed, by the name of their task."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from armoflow.orchestrator.blame import Blame
from armoflow.orchestrator.planned import PlannedTask

KEPT_NAMES: Final = 1_000
"""Names that are counted before those go of which all items have ended."""


@dataclass
class Count:
    """The items of one name.

    Attributes:
        planned: How many there are so far.
        ended: How many of them have ended, well or not.
        failed: How many have not ended well.
        running: How many engine tasks run now, as far as the engine was asked.
        repeated: How often items were tried again, as far as logs of ended tasks were read, and
            engine tasks that were lost.
        part: How many of those that run are done already, if their parts are added.
        told: What one of those has told last of how far it is.
        within: The same of steps that run within these items, by their names: fused ones.
    """

    planned: int = 0
    ended: int = 0
    failed: int = 0
    running: int = 0
    repeated: int = 0
    part: float = 0.0
    told: str = ""
    within: dict[str, Count] = field(default_factory=dict)

    @property
    def left(self) -> int:
        """How many have not ended."""
        return self.planned - self.ended


class Tally:
    """Counts what is planned and what ends; may be told in any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[str, Count] = {}
        self._most_names = KEPT_NAMES

    def planned(self, task: PlannedTask) -> None:
        """A task will be submitted."""
        items = task.items
        if items:
            with self._lock:
                if task.steps is None:
                    count = self._counts.get(task.name) or self._count(task.name)
                    count.planned += items
                else:
                    for count in self._of(task):
                        count.planned += items

    def ended(self, task: PlannedTask) -> None:
        """It has ended, or will never run."""
        items = task.items
        if not items:
            return
        if task.steps is None and not task.failed:
            with self._lock:
                count = self._counts.get(task.name) or self._count(task.name)
                count.ended += items
            return
        blame = next((output.blame for output in task.outputs if output.blame), None)
        failed = blame is not None and not blame.cancelled
        first = _first_failed(task, blame) if failed else 0
        with self._lock:
            for place, count in enumerate(self._of(task)):
                count.ended += items
                if failed and place >= first:
                    count.failed += items

    def failed(self, name: str) -> None:
        """One item of a task that has ended well has failed."""
        with self._lock:
            self._count(name).failed += 1

    def counts(self, waiting: Mapping[str, int]) -> dict[str, Count]:
        """What is known now, in the order in which the names came.

        Args:
            waiting: How many more there are that no task was planned for, by name.
        """
        with self._lock:
            counts = {name: _copy(count) for name, count in self._counts.items()}
        for name, more in waiting.items():
            counts.setdefault(name, Count()).planned += more
        return counts

    def _of(self, task: PlannedTask) -> list[Count]:
        """The counts of a task's steps, in their order."""
        last = self._count(task_label(task))
        before = () if task.steps is None else task.steps.names[:-1]
        return [*(last.within.setdefault(name, Count()) for name in before), last]

    def _count(self, name: str) -> Count:
        count = self._counts.get(name)
        if count is None:
            if len(self._counts) >= self._most_names:  # names may be made up for each call
                self._counts = {name: count for name, count in self._counts.items() if count.left}
                self._most_names = max(KEPT_NAMES, 2 * len(self._counts))
            count = self._counts[name] = Count()
        return count


def _first_failed(task: PlannedTask, blame: Blame | None) -> int:
    """Which of a task's steps has failed: those before it have ended well."""
    if task.steps is None or blame is None:
        return 0
    node, names = blame.node, task.steps.names
    return names.index(node) if node in names else 0


def _copy(count: Count) -> Count:
    return replace(count, within={name: replace(each) for name, each in count.within.items()})


def task_label(task: PlannedTask) -> str:
    """The name under which the items of a task are counted."""
    return task.name if task.steps is None else task.steps.names[-1]
