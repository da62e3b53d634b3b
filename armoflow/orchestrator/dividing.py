"""Parts of tasks of many items: what each is given, and what puts them together again."""

from __future__ import annotations

import io
import pickle
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from armoflow.codec.payload import InputSlots, Operation, Payload, PickledItems, Piece, Values
from armoflow.codec.positions import choose_positions
from armoflow.errors import EnvelopeError
from armoflow.orchestrator.planned import PlannedTask, Result, SlotRange
from armoflow.orchestrator.planning.rules import wire_options


def choose(payload: Payload, items: Sequence[int]) -> Payload:
    """What a task is given that runs some items of another one, in their order.

    Example:
        >>> column = [InputSlots(0, 5, 9), InputSlots(1, 0, 2)]
        >>> many = Payload(Operation.MAP, "f", columns=[column], count=6)
        >>> choose(many, range(3, 5)).columns
        [[InputSlots(input=0, start=8, stop=9), InputSlots(input=1, start=0, stop=1)]]
        >>> choose(many, [0, 2, 5]).positions
        [0, 2, 5]
    """
    return replace(
        payload,
        columns=[list(_choose_of_column(column, items)) for column in payload.columns],
        positions=choose_positions(payload.positions, items),
        count=len(items),
        spent=0 if items[0] else payload.spent,
    )


def neighbours(items: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Items that follow one another: the first, and the one after the last.

    Example:
        >>> list(neighbours([1, 2, 5]))
        [(1, 3), (5, 6)]
    """
    start = stop = -1
    for item in items:
        if item != stop:
            if stop > start:
                yield start, stop
            start = item
        stop = item + 1
    if stop > start:
        yield start, stop


def gathering(payload: Payload, column: Sequence[SlotRange], output: Result) -> PlannedTask:
    """A task that copies slots of a divided one, errors and all."""
    copies = Payload(
        Operation.GATHER,
        "gather",  # it runs none of the calls: who counts these goes by names
        columns=[[InputSlots(number, *piece[1:]) for number, piece in enumerate(column)]],
        count=sum(piece.length for piece in column),
        settings=payload.settings,
        key=payload.key,
        versions=payload.versions,
    )
    options = wire_options(payload.settings, copies.count)
    return PlannedTask(copies, [piece.result for piece in column], [output], options)


def _choose_of_column(column: Sequence[Piece], items: Sequence[int]) -> Iterator[Piece]:
    first = 0
    for piece in column:
        after = first + piece.length
        own = items[bisect_left(items, first) : bisect_left(items, after)]
        if own:
            yield from _choose_of_piece(piece, [item - first for item in own])
        first = after


def _choose_of_piece(piece: Piece, items: Sequence[int]) -> Iterator[Piece]:
    if isinstance(piece, InputSlots):
        for start, stop in neighbours(items):
            yield InputSlots(piece.input, piece.start + start, piece.start + stop)
    elif isinstance(piece, PickledItems):
        yield PickledItems([piece.pickles[item] for item in items])
    else:
        values = _Scalars(io.BytesIO(piece.pickled)).load()
        yield Values(pickle.dumps([values[item] for item in items], protocol=5), len(items))


class _Scalars(pickle.Unpickler):
    """Reads immutable scalars, and runs no code of whoever wrote them."""

    def find_class(self, module: str, name: str) -> Any:
        """Complex numbers are made by a call; there is nothing else."""
        if (module, name) == ("builtins", "complex"):
            return complex
        raise EnvelopeError(f"there is a {module}.{name} where only scalars may be")
