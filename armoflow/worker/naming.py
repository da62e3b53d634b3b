"""What the item is called that a process is running."""

from __future__ import annotations

from armoflow.codec.payload import Payload
from armoflow.codec.positions import position_of
from armoflow.worker.mark import NO_ITEM, Position


def item_of(payload: Payload, item: int) -> tuple[Payload, int | None]:
    """The step that an item is of, and its position in its collection, if it is of one.

    Example:
        >>> from armoflow.codec.payload import Operation, Stage, CodeReference
        >>> steps = [Stage("g", CodeReference("digest"))]
        >>> payload = Payload(Operation.MAP, "f", count=2, positions=10, collection=True)
        >>> payload.stages = steps
        >>> [(step.name, index) for step, index in (item_of(payload, item) for item in range(4))]
        [('f', 10), ('f', 11), ('g', 10), ('g', 11)]
    """
    number, place = divmod(item, payload.slot_count or 1)
    steps = list(payload.steps())
    if item == NO_ITEM or number >= len(steps):  # before the first item, or after the last
        return steps[0 if item == NO_ITEM else -1], None
    step = steps[number]
    return step, position_of(step.positions, place) if step.collection else None


def name_of(payload: Payload, position: Position) -> str:
    """What errors and output call what runs."""
    if position.inline:
        return position.name
    step, index = item_of(payload, position.item)
    return step.name if index is None else f"{step.name}[{index}]"
