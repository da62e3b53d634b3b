"""How a task fails inside the runner."""

from __future__ import annotations

from armoflow.codec.envelope import Slot, SlotKind
from armoflow.codec.failure import ErrorRecord


class ItemFailure(Exception):
    """An item has no value: it failed, or an input of it did. Never leaves the runner.

    Attributes:
        record: Why.
        kind: ERROR, or SKIPPED if it did not run because of an input.
    """

    def __init__(self, record: ErrorRecord, kind: SlotKind = SlotKind.ERROR) -> None:
        super().__init__(record)
        self.record = record
        self.kind = kind

    def slot(self) -> Slot:
        """The slot that says so."""
        return Slot(self.kind, self.record.encode())


def skip(slot: Slot, node: str) -> ItemFailure:
    """What a consumer of a failed slot ends with: the root's record, seen from this node."""
    record = ErrorRecord.decode(slot.data).via(node)
    return ItemFailure(record, SlotKind.SKIPPED)


class MissingDataError(Exception):
    """Data that the task names cannot be read; becomes a record of the kind "lost"."""
