"""Items that the client holds, or reads lazily."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

from armoflow.graph.nodes import Node, SourceNode
from armoflow.orchestrator.planned import LocalItems
from armoflow.orchestrator.planning.chunks import Chunk, Planning
from armoflow.orchestrator.planning.kinds.base import ReadsOnce
from armoflow.orchestrator.planning.plan_core import ALWAYS


class SourceKind(ReadsOnce):
    """Plans sources."""

    def reads(self, node: SourceNode) -> Iterable[tuple[Node, int]]:
        """Several items may hold the same delayed value: kept to the end."""
        return [(upstream, ALWAYS) for upstream in node.inputs]

    def plan(self, node: SourceNode) -> Planning:
        """Items that the client holds or reads lazily, cut as the first reader wants them."""
        taken = self.context.surroundings.taken.get(node)
        items = node.open() if taken is None else iter(taken)
        while values := list(itertools.islice(items, max(self.core.hint(node), 1))):
            yield Chunk([[LocalItems(values)]], len(values))
