"""Why items of a task have failed, kept with the log of them: values go, and with them their slots.

Who looks at a session later reads it as data, so what it takes to raise the exception is left out.
"""

from __future__ import annotations

from collections.abc import Iterable

from armoflow.codec.envelope import Cell, Slot, SlotKind
from armoflow.codec.failure import ErrorRecord
from armoflow.config import ERROR_RECORD_LIMIT, KEPT_ERRORS_LIMIT


def kept_errors(cells: Iterable[Cell]) -> list[Slot]:
    """The errors that stand in some cells, each of them once, as far as there is room for them.

    Example:
        >>> record = ErrorRecord("raised", "ValueError", "no page", node="load", item=3)
        >>> failed = Slot(SlotKind.ERROR, record.encode())
        >>> [slot] = kept_errors([b"value", failed, None, failed])
        >>> ErrorRecord.decode(slot.data).summary == record.summary
        True
    """
    kept: dict[str, Slot] = {}
    room = KEPT_ERRORS_LIMIT
    for cell in cells:
        # Of a step that did not run because of one before it the record is that one's.
        if type(cell) is not Slot or cell.kind not in (SlotKind.ERROR, SlotKind.SKIPPED):
            continue
        record = ErrorRecord.decode(cell.data)  # without a key: without the forms of its exception
        if record.name in kept:
            continue
        data = record.encode(limit=ERROR_RECORD_LIMIT)
        room -= len(data)
        if room < 0:
            break
        kept[record.name] = Slot(SlotKind.ERROR, data)
    return [*kept.values()]
