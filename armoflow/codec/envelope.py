"""A result's data: one or several slots, each a value, an error, a skip, or nothing.

A slot is addressed by (result id, slot). One item, one task, one result means one slot; a packed
task writes one slot for each of its items, so that errors and retries stay per item.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from armoflow.codec.container import Buffer, pack, unpack
from armoflow.errors import EnvelopeError


class SlotKind(enum.IntEnum):
    """What a slot holds."""

    VALUE = 0
    ERROR = 1  # this item failed: an error record
    SKIPPED = 2  # an input failed: the root's error record
    ABSENT = 3  # filtered out


@dataclass(frozen=True, slots=True)
class Slot:
    """One slot: a pickled value (with out-of-band buffers) or an encoded error record.

    Attributes:
        kind: What it is.
        data: The pickle (VALUE), the record (ERROR, SKIPPED), or empty (ABSENT).
        buffers: The pickle's out-of-band buffers, in order.
    """

    kind: SlotKind
    data: bytes | memoryview = b""
    buffers: Sequence[Buffer] = field(default=())


ABSENT = Slot(SlotKind.ABSENT)


Cell: TypeAlias = "bytes | Slot | None"
"""A slot in its cheapest form: a value's pickle without buffers, None for absent, else a Slot."""


def pack_envelope(slots: Iterable[Cell]) -> list[Buffer]:
    """Lay out the slots of one result; returns the parts to write one after the other.

    Example:
        >>> data = b"".join(pack_envelope([Slot(SlotKind.VALUE, b"pickle"), ABSENT]))
        >>> [slot.kind.name for slot in unpack_envelope(data)]
        ['VALUE', 'ABSENT']
    """
    entries: list[Any] = []
    buffers: list[Buffer] = []
    for slot in slots:
        if slot is None or isinstance(slot, bytes):
            entries.append(slot)
        elif slot.kind is SlotKind.ABSENT:
            entries.append(None)
        elif slot.kind is SlotKind.VALUE and not slot.buffers:
            entries.append(slot.data)
        else:
            entries.append([int(slot.kind), slot.data, len(buffers), len(slot.buffers)])
            buffers.extend(slot.buffers)
    return pack(entries, buffers)


def unpack_envelope(data: Buffer) -> list[Slot]:
    """Read the slots of a result; the buffers are views of ``data``.

    Raises:
        EnvelopeError: If the data is truncated, corrupt or not an envelope.
    """
    return [_widen(cell) for cell in unpack_cells(data)]


def unpack_cells(data: Buffer) -> list[Cell]:
    """As :func:`unpack_envelope`, with each slot in its cheapest form.

    Example:
        >>> unpack_cells(b"".join(pack_envelope([b"pickle", None])))
        [b'pickle', None]
    """
    entries, buffers = unpack(data)
    if not isinstance(entries, list):
        raise EnvelopeError("stored data is not a result: it holds no slots")
    return [
        entry if entry is None or isinstance(entry, bytes) else _read(entry, buffers)
        for entry in entries
    ]


def _widen(cell: Cell) -> Slot:
    if cell is None:
        return ABSENT
    return Slot(SlotKind.VALUE, cell) if isinstance(cell, bytes) else cell


def _read(entry: Any, buffers: Sequence[memoryview]) -> Slot:
    try:
        kind, data, first, count = entry
        return Slot(SlotKind(kind), data, tuple(buffers[first : first + count]))
    except (TypeError, ValueError) as error:
        raise EnvelopeError(f"stored data has a malformed slot: {error}") from error
