"""Slices: no task, some slots of the source's tasks."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any

from armoflow.graph.nodes import SliceNode
from armoflow.orchestrator.planning.chunks import Chunk, Planning, PlanStep, select
from armoflow.orchestrator.planning.kinds.base import ReadsOnce


class SliceKind(ReadsOnce):
    """Plans slices."""

    def plan(self, node: SliceNode) -> Planning:
        """No task: some slots of the source's tasks."""
        reader = self.resolver.reader(node.source)
        wanted = node.positions
        if wanted.step < 0:
            whole = yield from reader.take(wanted[0] + 1 if wanted else 0)
            if whole is not None:
                yield (yield from self._chosen(node, whole, wanted))
            return
        position = 0
        stop = wanted[-1] + 1 if wanted else 0
        while position < stop:
            chunk = yield from reader.chunk(stop - position)
            if chunk is None:
                return
            inside = range(
                wanted.start + max(-(-(position - wanted.start) // wanted.step), 0) * wanted.step,
                min(position + chunk.length, stop),
                wanted.step,
            )
            if inside:
                offsets = [index - position for index in inside]
                yield (yield from self._chosen(node, chunk, offsets))
            position += chunk.length

    def _chosen(
        self, node: SliceNode, chunk: Chunk, offsets: Sequence[int]
    ) -> Generator[PlanStep, Any, Chunk]:
        """Some items of a chunk of the source; those of a zip become tuples."""
        columns = [select(column, offsets) for column in chunk.columns]
        chosen = Chunk(columns, len(offsets))
        return Chunk([(yield from self.resolver.single_of(chosen, node.source))], len(offsets))
