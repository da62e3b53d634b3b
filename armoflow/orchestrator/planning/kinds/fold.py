"""Folds: a chain of combining tasks, each over the value so far and the next batch."""

from __future__ import annotations

from armoflow.graph.nodes import MISSING, FoldNode
from armoflow.orchestrator.planned import SlotRange
from armoflow.orchestrator.planning import dynamic
from armoflow.orchestrator.planning.chunks import Planning
from armoflow.orchestrator.planning.kinds.base import ReadsOnce
from armoflow.orchestrator.planning.kinds.combine import BegunReduction, Combine, sizer_of
from armoflow.orchestrator.planning.resolver import sparse


class FoldKind(ReadsOnce):
    """Plans folds."""

    def plan(self, node: FoldNode) -> Planning:
        """A chain of combining tasks."""
        if dynamic.is_dynamic(node):
            return (yield from self.context.expand(node))
        reader = self.resolver.reader(node.source)
        sizer = sizer_of(self.context, node)
        combine = Combine(self.context, node)
        cached = self.context.settings.rules.of(node).cached  # the final value is, no other
        so_far: SlotRange | None = None
        position = 0
        if (begun := BegunReduction(self.core.partials(node)).at(0)) is not None:
            yield from reader.skip(begun.stop)
            so_far, position = begun.place, begun.stop
        while (chunk := (yield from reader.batch(sizer.next(position)))) is not None:
            column = yield from self.resolver.single_of(chunk, node.source)
            position += chunk.length
            if so_far is None:
                so_far = yield from combine(column, 0, position, initial=True)
            else:
                so_far = yield from combine([so_far, *column], 0, position)
        if so_far is None:
            so_far = yield from combine([], 0, 0, initial=True, final=True)
        elif (sparse(node.source) and node.initial is MISSING) or cached:
            so_far = yield from combine([so_far], 0, position, final=True)
        return [so_far]
