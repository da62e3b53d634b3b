"""How far running items are, as they tell it themselves: lines among the output of tasks."""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from collections.abc import Sequence
from itertools import islice
from typing import Any

from armoflow.orchestrator.tally import Count
from armoflow.running import PROGRESS

TASKS = 1000
"""Engine tasks of a name that are remembered: those that have told something last."""

_LINE = re.compile(r"(\d{1,3})%(?: (.*))?")
_ITEM = re.compile(r"\[\d+\]$")


class ItemProgress:
    """Takes such lines out of what tasks write; may be told and asked in any thread.

    Example:
        >>> items = ItemProgress()
        >>> items.take([("id", "load[3]", 20, PROGRESS, "40% page 2"), ("id", "f", 20, "", "hot")])
        [('id', 'f', 20, '', 'hot')]
        >>> counts = {"load": Count(planned=10, ended=2)}
        >>> items.fill(counts)
        >>> counts["load"].part, counts["load"].told
        (0.4, 'load[3] 40% page 2')
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._names: dict[str, OrderedDict[str, tuple[float, str]]] = {}

    def take(self, passages: Sequence[Sequence[Any]]) -> Sequence[Sequence[Any]]:
        """Hear what tasks have written; returns what of it tells something else."""
        if all(passage[3] != PROGRESS for passage in passages):
            return passages
        rest = []
        for passage in passages:
            task_id, label, _, logger, text = passage
            if logger == PROGRESS:
                for line in text.split("\n"):
                    self._hear(task_id, label, line)
            else:
                rest.append(passage)
        return rest

    def _hear(self, task_id: str, label: str, line: str) -> None:
        told = _LINE.fullmatch(line)
        if told is None:
            return
        name = _ITEM.sub("", label)
        with self._lock:
            # By engine tasks, each of which runs one item after the other.
            items = self._names.setdefault(name, OrderedDict())
            items.pop(task_id, None)
            if told[1] != "100":  # such a one is as good as ended
                shown = line if label == name else f"{label} {line}"
                items[task_id] = int(told[1]) / 100, shown
            if len(items) > TASKS:
                items.popitem(last=False)

    def fill(self, counts: dict[str, Count]) -> None:
        """Add what is known to counts.

        Which items have ended is not told one by one: no more are taken to run than do, as far as
        the engine was asked, or than are left.
        """
        with self._lock:
            for name, items in list(self._names.items()):
                count = counts.get(name)
                if count is None or not items:
                    continue
                if not count.left:
                    del self._names[name]
                    continue
                running = min(count.running or count.left, count.left)
                newest = list(islice(reversed(items.values()), running))
                count.part = sum(part for part, _ in newest)
                count.told = newest[0][1]
