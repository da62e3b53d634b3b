"""How many items of a collection one task takes."""

from __future__ import annotations

from typing import Protocol

from armoflow.graph.nodes import Node

MAXIMUM_BATCH = 1000
"""Items per task at most: with a no-op of a microsecond, a batch is still about a millisecond."""

BATCHES_PER_WORKER = 4
"""Batches that a collection of known length leaves each worker, so that uneven ones even out."""


class BatchSizer(Protocol):
    """Says how large the next batch should be."""

    def next(self, position: int) -> int:
        """Items of the batch that starts at ``position``."""


class CountSizer:
    """Sizes by count: all workers get several batches; of unknown lengths the first are small.

    Args:
        node: The collection operation.
        size: The size that the user fixed, or None.
        workers: How many tasks may run at once.
        length: Length of the collection, or None.

    Example:
        >>> sizer = CountSizer(None, None, workers=2, length=80)
        >>> sizer.next(0)
        10
        >>> ramp = CountSizer(None, None, workers=2, length=None)
        >>> [ramp.next(position) for position in (0, 1, 2, 4)]
        [1, 1, 1, 2]
    """

    def __init__(
        self, node: Node | None, size: int | None, workers: int, length: int | None
    ) -> None:
        self.fixed = size
        self._workers = max(workers, 1)
        if size is None and length is not None:
            even = -(-length // (self._workers * BATCHES_PER_WORKER))
            size = min(max(even, 1), MAXIMUM_BATCH)
        self._size = size

    def next(self, position: int) -> int:
        """Items of the batch that starts at ``position``."""
        if self._size is not None:
            return self._size
        return min(max(position // self._workers, 1), MAXIMUM_BATCH)
