"""What ``current_task()`` tells in the debug mode."""

from __future__ import annotations

import copy
import logging
from typing import Any

from armoflow.graph.nodes import Node
from armoflow.options import TaskOptions
from armoflow.resources import Resources
from armoflow.running import PROGRESS, CurrentTask


class LocalCheckpoint:
    """Keeps the checkpoint of one item while that is tried."""

    def __init__(self) -> None:
        self._kept: tuple[Any] | None = None

    def write(self, value: Any) -> None:
        """Keep a copy, as a worker does."""
        self._kept = (copy.deepcopy(value),)

    def read(self) -> tuple[Any] | None:
        """A copy of it."""
        return copy.deepcopy(self._kept)


class LocalPlace:
    """The caller's process, for one task.

    Args:
        resources: What its tasks share.
        options: Those that it runs with.
    """

    def __init__(self, resources: Resources, options: TaskOptions) -> None:
        self.resources = resources
        self._options = options

    def options(self) -> TaskOptions:
        """The options that it runs with."""
        return self._options

    def tell(self, line: str, *, last: bool) -> None:
        """Log it: who debugs sees what the log is set to."""
        logging.getLogger(PROGRESS).info(line)


def local_task(
    node: Node, label: str, attempt: int, checkpoint: LocalCheckpoint, place: LocalPlace
) -> CurrentTask:
    """An attempt; ``label`` is what errors call the item.

    Example:
        >>> from armoflow import task
        >>> node = task(len)("ab").node
        >>> place = LocalPlace(Resources(), TaskOptions())
        >>> local_task(node, "len[3]", 1, LocalCheckpoint(), place).item
        3
    """
    brackets = label.removeprefix(node.name)
    return CurrentTask(
        id="local",
        session_id="local",
        name=node.name,
        item=int(brackets[1:-1]) if brackets else None,
        attempt=attempt,
        deadline=None,
        checkpoints=checkpoint,
        place=place,
    )
