"""How a task fails inside the runner."""

from __future__ import annotations

from collections.abc import Iterable

from armoflow import config
from armoflow.codec.envelope import Slot, SlotKind
from armoflow.codec.failure import ErrorRecord
from armoflow.codec.payload import Payload
from armoflow.codec.positions import label


class ItemFailure(Exception):
    """An item has no value: it failed, or an input of it did. Never leaves the runner.

    Attributes:
        record: Why.
        kind: ERROR, or SKIPPED if it did not run because of an input.
        placed: The task's name is at the end of the record's path.
    """

    def __init__(
        self, record: ErrorRecord, kind: SlotKind = SlotKind.ERROR, *, placed: bool = False
    ) -> None:
        super().__init__(record)
        self.record = record
        self.kind = kind
        self.placed = placed

    def slot(self, key: bytes, limit: int = config.ERROR_RECORD_LIMIT) -> Slot:
        """The slot that says so.

        Args:
            key: Seals the record.
            limit: Bytes that it may take.
        """
        return Slot(self.kind, self.record.encode(key, limit))


def skip(slot: Slot, key: bytes) -> ItemFailure:
    """What a consumer of a failed slot ends with: the root's record; the job adds its name."""
    return ItemFailure(ErrorRecord.decode(slot.data, key), SlotKind.SKIPPED)


def carry(record: ErrorRecord, steps: Iterable[Payload]) -> ErrorRecord:
    """A failure as it is seen after further steps of its task, which did not run."""
    for step in steps:
        one = step.collection and step.count == 1
        record = record.via(label(step.name, step.positions if one else None, 0))
    return record


class UnreadableDataError(Exception):
    """Data that the task names cannot be read; becomes a record of the kind "lost"."""
