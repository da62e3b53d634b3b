"""The stored form of what is finished of a task, between the processes that run it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import index
from typing import Any, NamedTuple

import msgpack

from armoflow.codec.container import Buffer
from armoflow.codec.envelope import Cell
from armoflow.protocol.frames import UNREADABLE
from armoflow.worker.failures import UnreadableDataError
from armoflow.worker.mark import cell_from_wire, cell_to_wire


class Fold(NamedTuple):
    """How far a reduction has come.

    Attributes:
        position: The first item that is not folded.
        cell: What the items before it came to.
        base: Attempts that the reduction as a whole had spent when it began.
    """

    position: int
    cell: Cell
    base: int


def pack_saved(rows: Iterable[tuple[int, Sequence[Cell]]], fold: Fold | None) -> bytes:
    """Lay out finished items, each with its slot in each output.

    Example:
        >>> unpack_saved(pack_saved([(3, [b"x", None])], Fold(5, b"y", 0)))
        ([(3, [b'x', None])], Fold(position=5, cell=b'y', base=0))
    """
    items = [[item, [cell_to_wire(cell) for cell in cells]] for item, cells in rows]
    position = None if fold is None else [fold.position, cell_to_wire(fold.cell), fold.base]
    packed: bytes = msgpack.packb([items, position])
    return packed


def unpack_saved(content: Buffer) -> tuple[list[tuple[int, list[Any]]], Fold | None]:
    """The items, as they stand in messages, and the position of a reduction.

    Raises:
        UnreadableDataError: If it is something else, whoever has put it there.
    """
    try:
        items, fold = msgpack.unpackb(content, raw=False, strict_map_key=False)
        finished = [(index(item), list(cells)) for item, cells in items]
        for _, cells in finished:
            for cell in cells:
                cell_from_wire(cell)
        if fold is None:
            return finished, None
        position, cell, base = fold
        return finished, Fold(index(position), cell_from_wire(cell), index(base))
    except UNREADABLE as error:
        raise UnreadableDataError(f"what was saved of a task makes no sense: {error}") from error
