"""A result's data: one or several slots, each a value, an error, a skip, or nothing.

A slot is addressed by (result id, slot). One item, one task, one result means one slot; a packed
task writes one slot for each of its items, so that errors and retries stay per item.

After the slots may stand what else is told of them, by name: ``seconds``, how long they took (an
engine tells how long a task took, of which its agent may have had more than the user's code),
``log``, what became of each item (see :mod:`armoflow.codec.item_log`), and ``packages``, those of
the worker that differ from the client's.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, TypeAlias

from armoflow import config
from armoflow.codec.container import Buffer, pack, unpack
from armoflow.errors import EnvelopeError


class SlotKind(enum.IntEnum):
    """What a slot holds."""

    VALUE = 0
    ERROR = 1  # this item failed: an error record
    SKIPPED = 2  # an input failed: the root's error record
    ABSENT = 3  # filtered out


class Slot(NamedTuple):
    """One slot: a pickled value (with out-of-band buffers) or an encoded error record.

    Attributes:
        kind: What it is.
        data: The pickle (VALUE), the record (ERROR, SKIPPED), or empty (ABSENT).
        buffers: The pickle's out-of-band buffers, in order.
    """

    kind: SlotKind
    data: bytes | memoryview = b""
    buffers: Sequence[Buffer] = ()


_KINDS = {int(kind): kind for kind in SlotKind}
_VALUE, _ABSENT = SlotKind.VALUE, SlotKind.ABSENT  # looking up a member takes longer than all else
_new = tuple.__new__

ABSENT = Slot(SlotKind.ABSENT)


Cell: TypeAlias = "bytes | Slot | None"
"""A slot in its cheapest form: a value's pickle without buffers, None for absent, else a Slot."""


def pack_envelope(
    slots: Iterable[Cell],
    seconds: float | None = None,
    log: Sequence[Any] = (),
    packages: str = "",
) -> list[Buffer]:
    """Lay out the slots of one result; returns the parts to write one after the other.

    Args:
        slots: What it holds.
        seconds: How long it took to make them, if somebody wants to know.
        log: What became of the items that made them.
        packages: What is to be told of the packages that they were made with.

    Example:
        >>> data = b"".join(pack_envelope([Slot(SlotKind.VALUE, b"pickle"), ABSENT]))
        >>> [slot.kind.name for slot in unpack_envelope(data)]
        ['VALUE', 'ABSENT']
    """
    entries: list[Any] = []
    buffers: list[Buffer] = []
    for slot in slots:
        if slot is None:
            entries.append(None)
        elif isinstance(slot, bytes):
            if len(slot) < config.OUT_OF_BAND_LIMIT:
                entries.append(slot)
            else:
                entries.append([0, None, len(buffers), 1])
                buffers.append(slot)
        elif slot.kind is _ABSENT:
            entries.append(None)
        else:
            entries.append(_entry(slot, buffers))
    told: dict[str, Any] = {}
    if seconds is not None:
        told["seconds"] = float(seconds)
    if log:
        told["log"] = log
    if packages:
        told["packages"] = packages
    if told:
        entries.append(told)
    return pack(entries, buffers)


def _entry(slot: Slot, buffers: list[Buffer]) -> Any:
    kind, data, own = slot
    first = len(buffers)
    if len(data) >= config.OUT_OF_BAND_LIMIT:  # not copied into the header: the first buffer
        buffers.append(data)
        data = None  # type: ignore[assignment]
    elif kind is _VALUE and not own:
        return data
    buffers.extend(own)
    return [int(kind), data, first, len(buffers) - first]


def unpack_envelope(data: Buffer) -> list[Slot]:
    """Read the slots of a result; the buffers are views of ``data``.

    Raises:
        EnvelopeError: If the data is truncated, corrupt or not an envelope.
    """
    return list(map(_widen, unpack_cells(data)))


def unpack_cells(data: Buffer) -> list[Cell]:
    """As :func:`unpack_envelope`, with each slot in its cheapest form.

    Example:
        >>> unpack_cells(b"".join(pack_envelope([b"pickle", None])))
        [b'pickle', None]
    """
    return unpack_told(data)[0]


def unpack_told(data: Buffer) -> tuple[list[Cell], dict[str, Any]]:
    """As :func:`unpack_cells`, with what else is told of the slots, by name.

    Example:
        >>> unpack_told(b"".join(pack_envelope([None], 0.5)))
        ([None], {'seconds': 0.5})
    """
    entries, buffers = unpack(data)
    if not isinstance(entries, list):
        raise EnvelopeError("stored data is not a result: it holds no slots")
    told = entries.pop() if entries and type(entries[-1]) is dict else {}
    for number, entry in enumerate(entries):
        if type(entry) is not bytes and entry is not None:
            entries[number] = _read(entry, buffers)
    return entries, told


def _widen(cell: Cell) -> Slot:
    if cell is None:
        return ABSENT
    if isinstance(cell, bytes):
        return _new(Slot, (_VALUE, cell, ()))
    return cell


def _read(entry: Any, buffers: Sequence[memoryview]) -> Slot:
    try:
        kind, data, first, count = entry
        own = tuple(buffers[first : first + count])
        if len(own) != count:
            raise ValueError("its buffers are not there")
        if data is None:
            data, own = own[0], own[1:]
        return Slot(_KINDS[kind], data, own)
    except (TypeError, ValueError, IndexError, KeyError) as error:
        raise EnvelopeError(f"stored data has a malformed slot: {error}") from error
