"""Collections of which some items exist already, whatever kind of node makes the others."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from typing import Any

from armoflow.graph.delayed import Delayed
from armoflow.graph.nodes import CollectionNode, Node
from armoflow.orchestrator.planned import PlanPiece, SlotRange
from armoflow.orchestrator.planning.chunks import (
    Chunk,
    ItemReader,
    NeedValue,
    Planning,
    PlanStep,
    join,
)
from armoflow.orchestrator.planning.kinds.base import ReadsOnce
from armoflow.orchestrator.planning.known import Begun
from armoflow.orchestrator.planning.plan_core import ALWAYS
from armoflow.orchestrator.planning.tolerance import makers


class BegunCollections(ReadsOnce):
    """Plans what is left of them."""

    def reads(self, node: CollectionNode) -> Iterable[tuple[Node, int]]:
        """Items that come from several tasks: one that fails must not stop the others."""
        begun = self._begun(node)
        tolerant = self.context.emitter.tolerant
        if begun.rest is not None:
            tolerant.add(begun.rest)
            yield begun.rest, 1
        for column in begun.columns:
            for entry in column:
                if isinstance(entry, Delayed):
                    tolerant.update(makers(entry.node))
                    yield entry.node, ALWAYS

    def plan(self, node: CollectionNode) -> Planning:
        """What exists already, cut as the first reader wants it; then what is left."""
        begun = self._begun(node)
        length, start = len(begun.columns[0]), 0
        while start < length:
            stop = min(start + max(self.core.hint(node), 1), length)
            columns = yield from _places([column[start:stop] for column in begun.columns])
            yield Chunk(columns, stop - start)
            start = stop
        if begun.rest is not None:
            reader = ItemReader(self.core.open(begun.rest), None)
            while (chunk := (yield from reader.chunk(self.core.hint(node)))) is not None:
                yield chunk

    def _begun(self, node: CollectionNode) -> Begun:
        begun = self.core.begun(node)
        assert begun is not None
        return begun


def _places(
    entries: Sequence[Sequence[SlotRange | Delayed[Any]]],
) -> Generator[PlanStep, Any, list[list[PlanPiece]]]:
    """Where items are, some of which are the same as other values."""
    columns: list[list[PlanPiece]] = [[] for _ in entries]
    for column, items in zip(columns, entries, strict=True):
        for item in items:
            if isinstance(item, Delayed):
                places = yield NeedValue(item.node)
                join(column, places[item.output])
            else:
                join(column, item)
    return columns
