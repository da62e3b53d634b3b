"""How much is written to the journal's tables: so who has read them knows whether they changed."""

from __future__ import annotations

from collections import Counter

from armoflow.engine.transaction import Transaction


class RowCounts:
    """What some batches do.

    Attributes:
        rows: Rows that they write, by table: new ones, and new versions of those that are there.
        removals: How many of the batches remove rows.
        batches: How many there are.
    """

    __slots__ = ("batches", "removals", "rows")

    def __init__(self) -> None:
        self.rows: Counter[str] = Counter()
        self.removals = 0
        self.batches = 0

    def add(self, batch: Transaction) -> None:
        """One more batch."""
        self.rows["tasks"] += len(batch.tasks)
        self.rows["results"] += len(batch.results)
        self.removals += bool(batch.removed)
        self.batches += 1
