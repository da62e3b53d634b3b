"""Which of the machine's graphics processors which task has for itself.

As with named limits, who has some follows from what runs: nothing has to be given back by a
process, a client or an engine that is killed.
"""

from __future__ import annotations

from collections.abc import Container, Sequence

from armoflow.engine.records import TaskRecord
from armoflow.placement import GPUS_LABEL, read_wish


class LentDevices:
    """Lends them, the first ones first: so the same processes get the same ones again.

    Args:
        names: What they are called.
        elsewhere: Partitions whose workers have others: nothing is lent to their tasks.
    """

    def __init__(self, names: Sequence[str], elsewhere: Container[str] = ()) -> None:
        self._names = names
        self._elsewhere = elsewhere
        self._free = set(names)
        self._lent: dict[str, tuple[str, ...]] = {}

    def wanted(self, task: TaskRecord) -> int:
        """How many a task takes: all of them, if it wants more than there are."""
        if task.options.partition_id in self._elsewhere:
            return 0
        return min(read_wish(task.options.options, GPUS_LABEL), len(self._names))

    def are_free(self, count: int) -> bool:
        """Whether so many are."""
        return count <= len(self._free)

    def lend(self, task_id: str, count: int) -> None:
        """A task takes so many that are free."""
        if count:
            chosen = [name for name in self._names if name in self._free][:count]
            self._free.difference_update(chosen)
            self._lent[task_id] = tuple(chosen)

    def of(self, task_id: str) -> tuple[str, ...] | None:
        """Those that a task has; None: it may see all."""
        return self._lent.get(task_id)

    def give_back(self, task_id: str) -> int:
        """A task has none any more; returns how many it had."""
        devices = self._lent.pop(task_id, ())
        self._free.update(devices)
        return len(devices)
