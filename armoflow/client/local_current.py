"""What ``current_task()`` tells in the debug mode."""

from __future__ import annotations

import copy
from typing import Any

from armoflow.graph.nodes import Node
from armoflow.running import CurrentTask


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


def local_task(node: Node, label: str, attempt: int, checkpoint: LocalCheckpoint) -> CurrentTask:
    """An attempt; ``label`` is what errors call the item.

    Example:
        >>> from armoflow import task
        >>> node = task(len)("ab").node
        >>> local_task(node, "len[3]", 1, LocalCheckpoint()).item
        3
    """
    place = label.removeprefix(node.name)
    return CurrentTask(
        id="local",
        session_id="local",
        name=node.name,
        item=int(place[1:-1]) if place else None,
        attempt=attempt,
        deadline=None,
        checkpoints=checkpoint,
    )
