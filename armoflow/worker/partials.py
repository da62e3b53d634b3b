"""Partial results: where child tasks find what was made before them in their parent."""

from __future__ import annotations

from armoflow import config
from armoflow.codec.envelope import pack_envelope
from armoflow.orchestrator.planned import Result, SlotRange
from armoflow.protocol.result_handle import ResultState
from armoflow.worker.expansion_context import ExpansionContext
from armoflow.worker.made import Made
from armoflow.worker.mark import weight


class Partials:
    """The partial results of one task: small values lie together.

    Args:
        name: The task's.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._columns: list[tuple[Result, list[Made | None]]] = []
        self._room = 0

    def place(self, made: Made | None) -> SlotRange:
        """Where a child task will find a value; None: one that was filtered out."""
        place = None if made is None else made.place
        if place is None:
            length = 0 if made is None else weight(made.cell)
            if length > self._room or not self._columns:
                result = Result(f"partial {self._name}")
                result.state = ResultState.CREATED
                self._columns.append((result, []))
                self._room = config.INLINE_DATA_LIMIT
            self._room -= length
            result, column = self._columns[-1]
            place = SlotRange(result, len(column), len(column) + 1)
            column.append(made)
            if made is not None:
                made.place = place
        return place

    def store(self, context: ExpansionContext) -> None:
        """Store what child tasks need."""
        for result, column in self._columns:
            cells = [None if made is None else made.to_cell(context.slot) for made in column]
            result.id = context.store(result.name, pack_envelope(cells))
