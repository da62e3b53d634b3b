"""Tasks that take the place of several workers of a lane: those with more processors, or memory.

A lane has a slot for each of its children, and each slot is an equal part of the machine's memory.
A task that wants more than one waits, first in line, until so many children have nothing to do:
nobody overtakes it, or a stream of small tasks would keep it waiting for ever. The others of its
children are idle while it runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from armoflow.engine.records import TaskRecord
from armoflow.named_limits import read_limits
from armoflow.placement import CPUS_LABEL, GPUS_LABEL, MEMORY_LABEL, read_wish
from armoflow.worker.supervisor import ChildSupervisor


class LaneSlots:
    """Which children are taken by tasks that run in others.

    Args:
        count: How many there are.
        memory: Bytes that they have together, if that is known.
    """

    def __init__(self, count: int, memory: int | None) -> None:
        self._count = count
        self._share = None if memory is None else max(1, memory // count)
        self._lent: dict[str, Sequence[ChildSupervisor]] = {}
        self._taken: set[ChildSupervisor] = set()

    def may_follow(self, task: TaskRecord) -> bool:
        """Whether a task waits neither for slots of its own nor for a limit's place."""
        return not (self.is_large(task) or read_limits(task.options.options))

    def is_large(self, task: TaskRecord) -> bool:
        """Whether it takes several slots, or, since it has devices, one where nothing waits."""
        options = task.options.options
        if not options:
            return False
        return self.wanted(task) > 1 or read_wish(options, GPUS_LABEL) > 0

    def wanted(self, task: TaskRecord) -> int:
        """How many slots a task takes: all of them, if it wants more than there are."""
        options = task.options.options
        if not options:
            return 1
        cpus, memory = read_wish(options, CPUS_LABEL), read_wish(options, MEMORY_LABEL)
        parts = 1 if self._share is None else -(-memory // self._share)
        return min(max(1, cpus, parts), self._count)

    def free(self, seats: Iterable[ChildSupervisor]) -> list[ChildSupervisor]:
        """Those of some children that no such task has."""
        return [seat for seat in seats if seat not in self._taken] if self._taken else [*seats]

    def lend(self, task_id: str, seats: Sequence[ChildSupervisor]) -> None:
        """A task takes these, of which it runs in the first one."""
        self._lent[task_id] = seats
        self._taken.update(seats)

    def release(self, task_id: str) -> None:
        """A task does not run any more."""
        if self._lent:
            self._taken.difference_update(self._lent.pop(task_id, ()))
