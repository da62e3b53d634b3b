"""What a task is given that runs some items of another one."""

from __future__ import annotations

import pickle

from hypothesis import given
from hypothesis import strategies as st

from armoflow.codec.payload import (
    InputSlots,
    Operation,
    Payload,
    Pickled,
    PickledItems,
    Piece,
    Values,
)
from armoflow.codec.positions import position_of
from armoflow.orchestrator.dividing import choose

LENGTHS = st.lists(st.integers(1, 5), min_size=1, max_size=6)
KINDS = st.lists(st.sampled_from([InputSlots, PickledItems, Values]), min_size=6, max_size=6)


def made(lengths: list[int], kinds: list[type]) -> list[Piece]:
    """A column whose items are their numbers, one way or another."""
    pieces: list[Piece] = []
    first = 0
    for length, kind in zip(lengths, kinds, strict=False):
        numbers = list(range(first, first + length))
        if kind is InputSlots:
            pieces.append(InputSlots(7, first, first + length))
        elif kind is PickledItems:
            pieces.append(PickledItems([Pickled(pickle.dumps(number)) for number in numbers]))
        else:
            pieces.append(Values(pickle.dumps(numbers), length))
        first += length
    return pieces


def read(column: list[Piece]) -> list[int]:
    numbers: list[int] = []
    for piece in column:
        if isinstance(piece, InputSlots):
            numbers += range(piece.start, piece.stop)
        elif isinstance(piece, PickledItems):
            numbers += [pickle.loads(item.data) for item in piece.pickles]
        else:
            numbers += pickle.loads(piece.pickled)
    return numbers


@given(LENGTHS, KINDS, st.data(), st.booleans())
def test_items_are_those_that_were_chosen_whatever_they_are_made_of(
    lengths: list[int], kinds: list[type], data: st.DataObject, scattered: bool
) -> None:
    count = sum(lengths)
    chosen = sorted(data.draw(st.sets(st.integers(0, count - 1), min_size=1)))
    positions = [3 * item for item in range(count)] if scattered else 10
    payload = Payload(Operation.MAP, "f", columns=[made(lengths, kinds)], count=count, spent=2)
    payload.positions = positions
    part = choose(payload, chosen)
    assert read(part.columns[0]) == chosen
    where = [position_of(part.positions, item) for item in range(part.count)]
    assert where == [position_of(positions, item) for item in chosen]
    assert (part.count, part.spent) == (len(chosen), 0 if chosen[0] else 2)
