"""What came for a value: decoded from the slots of results when somebody asks for it."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from typing import Any, NamedTuple, NoReturn, Protocol

from armoflow.codec.bare import cause_of
from armoflow.codec.container import Buffer
from armoflow.codec.envelope import ABSENT, Cell, Slot, SlotKind, unpack_told
from armoflow.codec.failure import ErrorRecord
from armoflow.codec.payload import Pickled
from armoflow.codec.pickling import loads
from armoflow.codec.unreadable import unreadable
from armoflow.errors import EnvelopeError, RemoteTraceback, StaleCacheError
from armoflow.graph.nodes import Node, SliceNode
from armoflow.interrupts import is_interrupt
from armoflow.orchestrator.package_versions import heed, why_unreadable
from armoflow.orchestrator.planned import LocalItems, PlanPiece, Result, SlotRange

_FAILURES = frozenset({SlotKind.ERROR, SlotKind.SKIPPED})


class Failing(Protocol):
    """What keeps an error until somebody asks for a value."""

    error: BaseException | None


def raise_error(holder: Failing) -> NoReturn:
    """Raise the error that something keeps, which lets go of it.

    The error's traceback holds the frames that it passes, and with them all that they hold: if that
    is the error again, nothing but a collection of garbage frees any of it.
    """
    error, holder.error = holder.error, None
    assert error is not None
    try:
        raise error
    finally:
        del error


class ItemOutcome:
    """One item's value, or the error in its place, or neither (filtered out)."""

    __slots__ = ("error", "present", "value")

    def __init__(
        self, value: Any = None, error: BaseException | None = None, present: bool = True
    ) -> None:
        self.value = value
        self.error = error
        self.present = present


class Names(NamedTuple):
    """What errors call the items that somebody asked for.

    Attributes:
        name: Name of the node.
        positions: Of a slice, the positions in its source.
    """

    name: str
    positions: range | None = None

    @classmethod
    def of(cls, node: Node) -> Names:
        """The names of a node's items; they hold nothing of the node."""
        if isinstance(node, SliceNode):
            return cls(node.source.node.name, node.positions)
        return cls(node.name)

    def item(self, index: int) -> str:
        """The name of one item."""
        return f"{self.name}[{index if self.positions is None else self.positions[index]}]"


def outcomes(
    pieces: Sequence[PlanPiece], key: bytes, names: Names | None = None, *, whole: bool = False
) -> list[ItemOutcome]:
    """Decode pieces whose data is here: one outcome an item, absent ones included.

    Args:
        pieces: Where the items are.
        key: What the errors of the client's tasks are sealed with.
        names: What was asked for, where the paths of errors lead.
        whole: It is one value, not the items of a collection.
    """
    decoded: list[ItemOutcome] = []
    for piece in pieces:
        if isinstance(piece, LocalItems):
            decoded.extend(ItemOutcome(value) for value in piece.values)
        else:
            decoded.extend(_decode(piece, key))
    return decoded if names is None else _named(decoded, names, 0, whole=whole)


def _named(
    decoded: list[ItemOutcome], names: Names, position: int, *, whole: bool
) -> list[ItemOutcome]:
    """Let the paths of errors lead to what was asked for, of which they are at a position."""
    for index, outcome in enumerate(decoded, position):
        if outcome.error is not None:
            _reach(outcome.error, names.name if whole else names.item(index))
    return decoded


def has_failed(pieces: Sequence[PlanPiece]) -> bool:
    """Whether an item failed or was skipped, of pieces whose data is here; no error is read."""
    return any(_has_failed(piece) for piece in pieces if isinstance(piece, SlotRange))


def _has_failed(piece: SlotRange) -> bool:
    cells = _cells_of(piece.result)
    return cells is None or any(map(is_failure, cells[piece.start : piece.stop]))


def is_failure(cell: Cell) -> bool:
    """Whether a slot failed or was skipped."""
    return isinstance(cell, Slot) and cell.kind in _FAILURES


def values(pieces: Sequence[PlanPiece], key: bytes, names: Names, *, whole: bool) -> list[Any]:
    """The values of pieces whose data is here, but for absent ones; raises the first error.

    The arguments are those of :func:`outcomes`.
    """
    found: list[Any] = []
    position = 0
    for piece in pieces:
        quick = _quick_values(piece)
        if quick is not None:
            found += quick
        else:
            for outcome in _named(outcomes([piece], key), names, position, whole=whole):
                if outcome.error is not None:
                    raise_error(outcome)
                if outcome.present:
                    found.append(outcome.value)
        position += piece.length
    return found


def _quick_values(piece: PlanPiece) -> list[Any] | None:
    """The values of a piece if there is nothing to it: no error, nothing absent, nothing large."""
    if isinstance(piece, LocalItems):
        return piece.values
    cells = _cells_of(piece.result)
    if cells is None:
        return None
    cells = cells[piece.start : piece.stop]
    if len(cells) < piece.length or not {bytes}.issuperset(map(type, cells)):
        return None
    try:
        return list(map(pickle.loads, cells))  # type: ignore[arg-type]
    except BaseException as error:
        if is_interrupt(error):
            raise
        return None  # of whatever a value needs: which one it is, is found out one by one


def cut_cells(result: Result, numbers: range) -> Sequence[bytes | Slot | None]:
    """Some slots of a result whose data is here, each for a receiver of its own.

    If these are all of it, the result lets its data go: what a receiver keeps is its own slot. One
    that cannot be read is None; then the result says why.
    """
    cells = _cells_of(result)
    if cells is None or numbers.stop > len(cells):
        return [None] * len(numbers)
    if len(numbers) == len(cells):
        result.data = result.cells = None
    alone = len(cells) == 1
    return [
        cell if isinstance(cell, bytes) else _own(ABSENT if cell is None else cell, alone)
        for cell in cells[numbers.start : numbers.stop]
    ]


def _own(slot: Slot, alone: bool) -> Slot:
    """A slot that holds no view of the data of all."""
    if alone or (not slot.buffers and isinstance(slot.data, bytes)):
        return slot
    return Slot(slot.kind, bytes(slot.data), tuple(map(_copied, slot.buffers)))


def _copied(buffer: Buffer) -> Buffer:
    return bytes(buffer) if memoryview(buffer).readonly else bytearray(buffer)


def slot_outcome(
    cell: bytes | Slot, key: bytes, result: Result, number: int, name: str
) -> ItemOutcome:
    """Decode one slot; ``name`` is what was asked for, where the paths of errors lead."""
    outcome = _outcome(cell, key, result, number)
    if outcome.error is not None:
        _reach(outcome.error, name)
    return outcome


def _cells_of(result: Result) -> list[Cell] | None:
    if result.blame is not None:
        return None
    try:
        return envelope_cells(result)
    except EnvelopeError:
        return None


def _reach(error: BaseException, name: str) -> None:
    """Let the path of an error end with what was asked for.

    What failed below a task that returned a graph does not know that task.
    """
    cause = cause_of(error)
    if isinstance(cause, RemoteTraceback) and cause.path:
        last = cause.path[-1]
        if name.startswith(f"{last}["):
            cause.path[-1] = name
        elif last != name and not last.startswith(f"{name}["):
            cause.path.append(name)


def _decode(piece: SlotRange, key: bytes) -> list[ItemOutcome]:
    result = piece.result
    if result.blame is not None:
        blame = result.blame
        return [
            ItemOutcome(error=blame.exception(key, slot)) for slot in range(piece.start, piece.stop)
        ]
    positions = range(piece.start, piece.stop)
    try:
        cells = envelope_cells(result)
        return [_outcome(cells[position], key, result, position) for position in positions]
    except (EnvelopeError, IndexError) as error:
        lost = EnvelopeError(f"the result of task {result.item_name(piece.start)!r}: {error}")
        lost.__cause__ = error
        return [ItemOutcome(error=lost) for _ in positions]


def envelope_cells(result: Result) -> list[Cell]:
    """The slots of a result whose data is here, read once."""
    if result.cells is None:
        if result.data is None:
            raise EnvelopeError(f"the data of {result.name!r} is not here")
        result.cells, told = unpack_told(result.data)
        result.seconds = told.get("seconds")
        if "packages" in told:
            result.packages = told["packages"]
            heed(result.packages)
    return result.cells


def _outcome(slot: Cell, key: bytes, result: Result, position: int) -> ItemOutcome:
    if slot is None or (isinstance(slot, Slot) and slot.kind is SlotKind.ABSENT):
        return ItemOutcome(present=False)
    if isinstance(slot, bytes) or slot.kind is SlotKind.VALUE:
        data, buffers = (slot, ()) if isinstance(slot, bytes) else (slot.data, slot.buffers)
        try:
            return ItemOutcome(loads(Pickled(data, buffers)))
        except BaseException as error:  # whatever the value's own code raises, or an import
            if is_interrupt(error):
                raise
            what = f"the value of task {result.item_name(position)!r}"
            why = why_unreadable(result.packages, error, worker=False)
            told: Exception = unreadable(what, data, error, why)
            if result.promised is not None:
                told = StaleCacheError(str(told), result.id)
            return ItemOutcome(error=told)
    record = ErrorRecord.decode(slot.data, key)
    heed(record.packages)
    return ItemOutcome(
        error=record.exception(path=record.path, skipped=max(len(record.path) - 1, 0))
    )
