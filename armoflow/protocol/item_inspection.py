"""What became of the items of tasks, as far as these tell: engines know of tasks alone.

A task that ran several items has left a log, in its values or as a result beside them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from armonik.common import Result, Task

from armoflow.codec.envelope import SlotKind, unpack_envelope
from armoflow.codec.failure import ErrorRecord
from armoflow.codec.item_log import (
    PREFIX,
    ItemRecord,
    ItemSummary,
    read_items,
    read_summary,
    tells_of_failures,
)
from armoflow.protocol.inspection import Inspection


class ToldItems(NamedTuple):
    """What a result says of the items of the task that made it, and why some have failed."""

    records: Sequence[ItemRecord]
    errors: Sequence[ErrorRecord]


class TaskItems(NamedTuple):
    """What became of the items of a task that ran several.

    Attributes:
        records: Of all of them; empty where nothing is told of them.
        errors: Why some failed, by what errors call them; as far as it was kept.
    """

    records: Sequence[ItemRecord]
    errors: Mapping[str, ErrorRecord]


class ItemInspection:
    """Looks at the items of tasks.

    Args:
        inspection: The connection.
    """

    def __init__(self, inspection: Inspection) -> None:
        self._inspection = inspection

    def summaries(self, session_id: str) -> dict[str, ItemSummary]:
        """Of a session's tasks that ran several items, and where one failed: how many, by task."""
        wanted = (Result.session_id == session_id) & Result.name.startswith(PREFIX)
        found = {}
        for result in self._inspection.listed(wanted):
            summary = read_summary(result.name)
            if summary is not None and summary.failed:
                found[result.created_by] = summary
        return found

    def failed(self, session_id: str, since: datetime | None) -> Iterator[Result]:
        """The logs that tasks with failed items have left since then, oldest first."""
        wanted = (Result.session_id == session_id) & Result.name.startswith(PREFIX)
        if since is not None:
            wanted = wanted & (Result.created_at >= since)
        return (log for log in self._inspection.listed(wanted) if tells_of_failures(log.name))

    def of(self, task: Task) -> TaskItems:
        """What became of the items of a task, as long as its log and its values are there."""
        own = (Result.created_by == task.id) & Result.name.startswith(PREFIX)
        records: list[ItemRecord] = []
        errors: dict[str, ErrorRecord] = {}
        for log in self._inspection.listed(own):
            data = self._inspection.data(log)
            if data is not None:
                records += read_items(data)
                errors |= {record.name: record for record in _error_records(data)}
        for output in task.expected_output_ids:
            for result in self._inspection.listed(Result.result_id == output):
                data = self._inspection.data(result) if result.owner_task_id == task.id else None
                if data is not None:
                    records += read_items(data)
                    errors |= {record.name: record for record in _error_records(data)}
        return TaskItems(records, errors)

    def left(self, session_id: str) -> dict[str, ToldItems]:
        """The logs of items that outlive values, by task: an item failed, or was tried again."""
        wanted = (Result.session_id == session_id) & Result.name.startswith(PREFIX)
        left = {
            log.created_by: self._inspection.data(log) for log in self._inspection.listed(wanted)
        }
        return {id: _told(data) for id, data in left.items() if data is not None}

    def told(self, session_id: str, result_ids: Sequence[str]) -> dict[str, ToldItems]:
        """What results say of the items of the tasks that made them; without, it is left out."""

        def ask(result_id: str) -> ToldItems | None:
            data = self._inspection.data(Result(result_id=result_id, session_id=session_id))
            return None if data is None else _told(data)

        # One after the other: at the interpreter's end, when a client leaves a report, there are no
        # threads any more.
        found = {id: ask(id) for id in result_ids}
        return {id: told for id, told in found.items() if told is not None}


def _told(data: bytes) -> ToldItems:
    return ToldItems(read_items(data), _error_records(data))


def _error_records(data: bytes) -> list[ErrorRecord]:
    """Why items have failed."""
    return [
        ErrorRecord.decode(slot.data)  # without a key: it is read as data, nothing is unpickled
        for slot in unpack_envelope(data)
        if slot.kind is SlotKind.ERROR
    ]
