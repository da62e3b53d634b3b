"""How far running tasks are, as they tell it themselves: lines among what they write."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import Final

from armoflow.agent.passages import Passage
from armoflow.running import PROGRESS

REMEMBERED: Final = 10_000
"""Tasks that have told something last."""


class RunningProgress:
    r"""The last that each task has told.

    Example:
        >>> from armoflow.agent.passages import Writer
        >>> progress = RunningProgress()
        >>> progress.hear([Passage(Writer("t", "s", "load[3]"), 20, PROGRESS, "20%\n40% page 2")])
        >>> progress.of(["t", "other"])
        [('t', 'load[3]', '40% page 2')]
        >>> progress.forget(["t"]), progress.of(["t"])
        (None, [])
    """

    def __init__(self) -> None:
        self._told: OrderedDict[str, tuple[str, str]] = OrderedDict()

    def hear(self, passages: Iterable[Passage]) -> None:
        """Tasks wrote something."""
        for writer, _, logger, text in passages:
            if logger == PROGRESS:
                self._told[writer.task_id] = writer.name, text.rpartition("\n")[2]
                self._told.move_to_end(writer.task_id)
                if len(self._told) > REMEMBERED:
                    self._told.popitem(last=False)

    def forget(self, task_ids: Iterable[str]) -> None:
        """They have ended."""
        if self._told:  # most tasks tell nothing
            for task_id in task_ids:
                self._told.pop(task_id, None)

    def of(self, task_ids: Iterable[str]) -> list[tuple[str, str, str]]:
        """Of those of these tasks that have told something: the id, the item's name, the line."""
        told = self._told
        return [(task_id, *told[task_id]) for task_id in task_ids if task_id in told]
