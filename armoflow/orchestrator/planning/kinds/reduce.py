"""Reductions: a tree of combining tasks.

The tree grows while its input is still being planned: each level holds fewer entries than one
combining task takes, so memory is logarithmic in the length, combining starts early, and the order
of the items is kept.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from armoflow import config
from armoflow.graph.nodes import MISSING, ReduceNode
from armoflow.orchestrator.planned import PlanPiece, SlotRange
from armoflow.orchestrator.planning import dynamic
from armoflow.orchestrator.planning.chunks import Planning, PlanStep
from armoflow.orchestrator.planning.drafts import is_local
from armoflow.orchestrator.planning.kinds.base import ReadsOnce
from armoflow.orchestrator.planning.kinds.combine import Combine, sizer_of
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
        column: list[PlanPiece]
        reader = self.resolver.reader(node.source)
        sizer = sizer_of(self.context, node)
        position = 0
        while (chunk := (yield from reader.chunk(sizer.next(position)))) is not None:
            column = yield from self.resolver.single_of(chunk, node.source)
            if chunk.length > 1 or is_local(column):
                yield from tree.add_batch(column, chunk.length)
            else:
                yield from tree.add([column[0]], 0)
            position += chunk.length
        return [(yield from tree.finish())]


class _Tree:
    """The levels of a reduction; ``levels[0]`` holds the newest entries."""

    def __init__(self, context: PlanContext, node: ReduceNode) -> None:
        self._combine = Combine(context, node)
        self._node = node
        self._sparse = sparse(node.source)
        self._cached = context.settings.rules.of(node).cached  # the final value is, no other
        self._levels: list[list[PlanPiece]] = []
        self._fan_in = node.fan_in

    def add_batch(self, column: list[PlanPiece], length: int) -> Generator[PlanStep, Any, None]:
        """Add a batch: it is combined within before it is combined with others."""
        self._fan_in = max(self._node.fan_in, min(PACKED_FAN_IN, config.MAXIMUM_INPUTS))
        if length == 1:
            yield from self.add(column, 0)
        else:
            yield from self.add([(yield from self._combine(column))], 0)

    def add(self, entry: list[PlanPiece], level: int) -> Generator[PlanStep, Any, None]:
        """Add one entry; full levels are combined into an entry of the next."""
        while True:
            if level == len(self._levels):
                self._levels.append([])
            entries = self._levels[level]
            entries.extend(entry)
            if len(entries) < self._fan_in:
                return
            self._levels[level] = []
            entry = [(yield from self._combine(entries))]
            level += 1

    def finish(self) -> Generator[PlanStep, Any, SlotRange]:
        """Combine what the levels hold, the oldest (highest) first."""
        rest = [entry for level in reversed(self._levels) for entry in level]
        alone = rest[0] if len(rest) == 1 and not self._cached else None
        if isinstance(alone, SlotRange) and self._node.initial is MISSING and not self._sparse:
            return alone
        width = max(self._fan_in, 2)
        while len(rest) > width:
            # From the right: the newest entries stand for the fewest items.
            rest[-width:] = [(yield from self._combine(rest[-width:]))]
        return (yield from self._combine(rest, initial=True, final=True))
