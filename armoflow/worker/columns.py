"""The items of the collections that a task works on."""

from __future__ import annotations

import pickle
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

from armoflow.codec.envelope import Cell, Slot, SlotKind
from armoflow.codec.payload import InputSlots, Pickled, PickledItems, Piece, Values
from armoflow.worker.inputs import Inputs, pickle_value


class Column:
    """The items of one argument of a collection operation.

    Attributes:
        plain: Every item is a value in its cheapest form: no failed, absent or large one.
        length: How many items there are.
    """

    def __init__(self, inputs: Inputs, pieces: Sequence[Piece]) -> None:
        self._inputs = inputs
        self._runs: list[tuple[Piece, list[Any]]] = []
        self._starts: list[int] = []
        self.plain = True
        self.length = 0
        for piece in pieces:
            self._add(piece)

    def _add(self, piece: Piece) -> None:
        if isinstance(piece, Values):
            items = pickle.loads(piece.pickled)
        elif isinstance(piece, PickledItems):
            items = [item if item.buffers else bytes(item.data) for item in piece.pickles]
        else:
            items = self._inputs.slice(piece)
        if not isinstance(piece, Values):
            self.plain = self.plain and set(map(type, items)) <= {bytes}
        self._runs.append((piece, items))
        self._starts.append(self.length)
        self.length += len(items)

    def iterate(self, start: int) -> Iterator[Any]:
        """The values from ``start`` on; only of a plain column, and without references."""
        if len(self._runs) == 1:  # of one item, always
            return _values(*self._runs[0], start)
        runs = []
        for piece, items in self._runs:
            if start < len(items):
                runs.append(_values(piece, items, start))
            start = max(0, start - len(items))
        return chain.from_iterable(runs)

    def value(self, index: int) -> Any:
        """One value, loaded anew.

        Raises:
            AbsentItem: If it was filtered out.
            ItemFailure: If it holds an error.
            SerializationError: If it cannot be read back.
        """
        piece, raw, offset = self._raw(index)
        if isinstance(piece, Values):
            return raw
        if isinstance(piece, InputSlots):
            slot = piece.start + offset
            return self._inputs.value(self._fresh(piece, raw, slot), piece.input, slot)
        pickled = raw if isinstance(raw, Pickled) else Pickled(raw)
        return self._inputs.load(pickled, self._inputs.item_name(index))

    def cell(self, index: int) -> Cell:
        """One item as it is copied into a result, errors and all."""
        piece, raw, offset = self._raw(index)
        if isinstance(piece, InputSlots):
            return self._fresh(piece, raw, piece.start + offset)
        if isinstance(piece, PickledItems) and not self._inputs.referable:
            return Slot(SlotKind.VALUE, *raw) if isinstance(raw, Pickled) else bytes(raw)
        return pickle_value(self.value(index))

    def _fresh(self, piece: InputSlots, cell: Cell, slot: int) -> Cell:
        """A slot as it was made, whatever a call has written to its memory since."""
        return self._inputs.fresh(piece.input, slot) if isinstance(cell, Slot) else cell

    def _raw(self, index: int) -> tuple[Piece, Any, int]:
        """An item as it came, with its piece and its place in it."""
        position = bisect_right(self._starts, index) - 1
        piece, items = self._runs[position]
        offset = index - self._starts[position]
        return piece, items[offset], offset


def _values(piece: Piece, items: list[Any], start: int) -> Iterator[Any]:
    """The values of a piece from one on."""
    rest = items[start:] if start else items
    return iter(rest) if isinstance(piece, Values) else map(pickle.loads, rest)
