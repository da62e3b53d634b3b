"""Tasks that take the place of several workers of a lane: those with more processors, or memory.

A lane has a slot for each of its children, and each slot is an equal part of the machine's memory.
A task that wants more than one waits, first in line, until so many children have nothing to do:
nobody overtakes it, or a stream of small tasks would keep it waiting for ever. The others of its
children are idle while it runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress

from armoflow.codec.payload import CPUS_LABEL, MEMORY_LABEL
from armoflow.engine.records import TaskRecord
from armoflow.named_limits import read_limits
from armoflow.worker.supervisor import ChildSupervisor


class Slots:
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
        """Whether a task waits neither for several slots nor for a limit's place."""
        return self.wanted(task) == 1 and not read_limits(task.options.options)

    def wanted(self, task: TaskRecord) -> int:
        """How many slots a task takes: all of them, if it wants more than there are."""
        options = task.options.options
        if not options:
            return 1
        cpus, memory = _number(options, CPUS_LABEL), _number(options, MEMORY_LABEL)
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
        self._taken.difference_update(self._lent.pop(task_id, ()))


def _number(options: Mapping[str, str], name: str) -> int:
    with suppress(ValueError):  # others may write what they like
        return int(options.get(name, 0))
    return 0
