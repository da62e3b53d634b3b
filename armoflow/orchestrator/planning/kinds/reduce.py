"""Reductions: a tree of combining tasks.

The tree grows while its input is still being planned: each level holds fewer entries than one
combining task takes, so memory is logarithmic in the length, combining starts early, and the order
of the items is kept.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any, NamedTuple

from armoflow import config
from armoflow.graph.nodes import MISSING, ReduceNode
from armoflow.orchestrator.planned import PlanPiece, SlotRange
from armoflow.orchestrator.planning import dynamic
from armoflow.orchestrator.planning.chunks import Planning, PlanStep
from armoflow.orchestrator.planning.drafts import is_local
from armoflow.orchestrator.planning.kinds.base import ReadsOnce
from armoflow.orchestrator.planning.kinds.combine import BegunReduction, Combine, sizer_of
from armoflow.orchestrator.planning.plan_context import PlanContext
from armoflow.orchestrator.planning.resolver import sparse

PACKED_FAN_IN = 16
"""Partial values that one task combines where tasks run whole batches anyway."""


class ReduceKind(ReadsOnce):
    """Plans reductions."""

    def plan(self, node: ReduceNode) -> Planning:
        """A tree of combining tasks."""
        if dynamic.is_dynamic(node):
            return (yield from self.context.expand(node))
        tree = _Tree(self.context, node)
        begun = BegunReduction(self.core.partials(node))
        column: list[PlanPiece]
        reader = self.resolver.reader(node.source)
        sizer = sizer_of(self.context, node)
        position = 0
        while True:
            if (partial := begun.at(position)) is not None:
                yield from reader.skip(partial.stop - position)
                yield from tree.add(_Entry(partial.place, position, partial.stop))
                position = partial.stop
                continue
            chunk = yield from begun.read(reader, position, sizer.next(position))
            if chunk is None:
                break
            column = yield from self.resolver.single_of(chunk, node.source)
            start, position = position, position + chunk.length
            if chunk.length > 1 or is_local(column):
                yield from tree.add_batch(column, start, position)
            else:
                yield from tree.add(_Entry(column[0], start, position))
        return [(yield from tree.finish())]


class _Entry(NamedTuple):
    """What stands for the items from ``start`` to ``stop``."""

    piece: PlanPiece
    start: int
    stop: int


class _Tree:
    """The levels of a reduction; ``levels[0]`` holds the newest entries."""

    def __init__(self, context: PlanContext, node: ReduceNode) -> None:
        self._combine = Combine(context, node)
        self._node = node
        self._sparse = sparse(node.source)
        self._cached = context.settings.rules.of(node).cached  # the final value is, no other
        self._levels: list[list[_Entry]] = []
        self._fan_in = node.fan_in

    def add_batch(
        self, column: list[PlanPiece], start: int, stop: int
    ) -> Generator[PlanStep, Any, None]:
        """Add a batch: it is combined within before it is combined with others."""
        self._fan_in = max(self._node.fan_in, min(PACKED_FAN_IN, config.MAXIMUM_INPUTS))
        piece = column[0]
        if stop - start > 1:
            piece = yield from self._combine(column, start, stop)
        yield from self.add(_Entry(piece, start, stop))

    def add(self, entry: _Entry) -> Generator[PlanStep, Any, None]:
        """Add one entry; full levels are combined into an entry of the next."""
        level = 0
        while True:
            if level == len(self._levels):
                self._levels.append([])
            entries = self._levels[level]
            entries.append(entry)
            if len(entries) < self._fan_in:
                return
            self._levels[level] = []
            entry = yield from self._join(entries)
            level += 1

    def _join(self, entries: Sequence[_Entry]) -> Generator[PlanStep, Any, _Entry]:
        start, stop = entries[0].start, entries[-1].stop
        pieces = [entry.piece for entry in entries]
        return _Entry((yield from self._combine(pieces, start, stop)), start, stop)

    def finish(self) -> Generator[PlanStep, Any, SlotRange]:
        """Combine what the levels hold, the oldest (highest) first."""
        rest = [entry for level in reversed(self._levels) for entry in level]
        alone = rest[0].piece if len(rest) == 1 and not self._cached else None
        if isinstance(alone, SlotRange) and self._node.initial is MISSING and not self._sparse:
            return alone
        width = max(self._fan_in, 2)
        while len(rest) > width:
            # From the right: the newest entries stand for the fewest items.
            rest[-width:] = [(yield from self._join(rest[-width:]))]
        pieces = [entry.piece for entry in rest]
        stop = rest[-1].stop if rest else 0
        return (yield from self._combine(pieces, 0, stop, initial=True, final=True))
