"""Parts of tasks of many items: what each is given, and what puts them together again."""

from __future__ import annotations

import io
import pickle
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from armoflow.codec.payload import Items, Operation, Payload, Piece, Slots, Values
from armoflow.codec.positions import cut_positions
from armoflow.errors import EnvelopeError
from armoflow.orchestrator.planned import PlannedTask, Result, SlotRange
from armoflow.orchestrator.planning.rules import wire_options


def cut(payload: Payload, start: int, stop: int) -> Payload:
    """What a task is given that runs some items of another one.

    Example:
        >>> many = Payload(Operation.MAP, "f", columns=[[Slots(0, 5, 9), Slots(1, 0, 2)]], count=6)
        >>> cut(many, 3, 5).columns
        [[Slots(input=0, start=8, stop=9), Slots(input=1, start=0, stop=1)]]
    """
    return replace(
        payload,
        columns=[list(_cut_column(column, start, stop)) for column in payload.columns],
        positions=cut_positions(payload.positions, start, stop),
        count=stop - start,
        spent=0 if start else payload.spent,
    )


def gathering(payload: Payload, column: Sequence[SlotRange], output: Result) -> PlannedTask:
    """A task that copies slots of a divided one, errors and all."""
    copies = Payload(
        Operation.GATHER,
        "gather",  # it runs none of the calls: who counts these goes by names
        columns=[[Slots(number, *piece[1:]) for number, piece in enumerate(column)]],
        count=sum(piece.length for piece in column),
        settings=payload.settings,
        key=payload.key,
        versions=payload.versions,
    )
    options = wire_options(payload.settings, copies.count)
    return PlannedTask(copies, [piece.result for piece in column], [output], options)


def _cut_column(column: Sequence[Piece], start: int, stop: int) -> Iterator[Piece]:
    for piece in column:
        first, last = max(start, 0), min(stop, piece.length)
        if first < last:
            yield _cut_piece(piece, first, last)
        start, stop = start - piece.length, stop - piece.length


def _cut_piece(piece: Piece, start: int, stop: int) -> Piece:
    if isinstance(piece, Slots):
        return Slots(piece.input, piece.start + start, piece.start + stop)
    if isinstance(piece, Items):
        return Items(piece.pickles[start:stop])
    values = _Scalars(io.BytesIO(piece.pickled)).load()[start:stop]
    return Values(pickle.dumps(values, protocol=5), stop - start)


class _Scalars(pickle.Unpickler):
    """Reads immutable scalars, and runs no code of whoever wrote them."""

    def find_class(self, module: str, name: str) -> Any:
        """Complex numbers are made by a call; there is nothing else."""
        if (module, name) == ("builtins", "complex"):
            return complex
        raise EnvelopeError(f"there is a {module}.{name} where only scalars may be")
