"""Slices: no task, some slots of the source's tasks."""

from __future__ import annotations

from armoflow.graph.nodes import SliceNode
from armoflow.orchestrator.planning.chunks import Chunk, Planning, select
from armoflow.orchestrator.planning.kinds.base import ReadsOnce


class SliceKind(ReadsOnce):
    """Plans slices."""

    def plan(self, node: SliceNode) -> Planning:
        """No task: some slots of the source's tasks."""
        reader = self.resolver.reader(node.source)
        wanted = node.positions
        if wanted.step < 0:
            length = node.source.node.length or 0
            whole = yield from reader.take(length)
            if whole is not None:
                column = yield from self.resolver.single_of(whole, node.source)
                if wanted:
                    yield Chunk([select(column, wanted)], len(wanted))
            return
        position = 0
        stop = wanted[-1] + 1 if wanted else 0
        while position < stop:
            chunk = yield from reader.chunk(stop - position)
            if chunk is None:
                return
            column = yield from self.resolver.single_of(chunk, node.source)
            inside = range(
                wanted.start + max(-(-(position - wanted.start) // wanted.step), 0) * wanted.step,
                min(position + chunk.length, stop),
                wanted.step,
            )
            if inside:
                offsets = [index - position for index in inside]
                yield Chunk([select(column, offsets)], len(offsets))
            position += chunk.length
