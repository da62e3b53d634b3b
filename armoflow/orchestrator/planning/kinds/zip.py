"""Zips: no task, the columns side by side; whoever reads the zip takes them together."""

from __future__ import annotations

from collections.abc import Iterable

from armoflow.graph.nodes import Node, ZipNode, uneven
from armoflow.orchestrator.planning.chunks import Chunk, Planning
from armoflow.orchestrator.planning.kinds.base import ReadsOnce
from armoflow.orchestrator.planning.kinds.batches import align
from armoflow.orchestrator.planning.tolerance import tolerated


class ZipKind(ReadsOnce):
    """Plans zips."""

    def reads(self, node: ZipNode) -> Iterable[tuple[Node, int]]:
        """What it reads must leave error slots: an item takes one of each."""
        self.context.emitter.tolerant.update(tolerated(node, None))
        return super().reads(node)

    def plan(self, node: ZipNode) -> Planning:
        """No task: the columns side by side; whoever reads the zip takes them together."""
        readers = [self.resolver.reader(source) for source in node.sources]
        length = 0
        while (first := (yield from readers[0].chunk(self.core.hint(node)))) is not None:
            column = yield from self.resolver.single_of(first, node.sources[0])
            aligned = yield from align(self.resolver, node, Chunk([column], first.length), readers)
            taken = 0 if aligned is None else aligned.length
            length += taken
            if node.strict and taken < first.length:
                raise uneven(length)
            if aligned is not None:
                yield aligned
            if taken < first.length:
                return
        for reader in readers[1:] if node.strict else ():
            if (yield from reader.take(1)) is not None:
                raise uneven(length)
