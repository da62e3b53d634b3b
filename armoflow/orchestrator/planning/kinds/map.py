"""Maps: a task per batch; the operations before that only the map needs are its earlier steps."""

from __future__ import annotations

from armoflow.graph.nodes import MapNode
from armoflow.orchestrator.planning.chunks import Planning
from armoflow.orchestrator.planning.kinds.operations import ItemOperations


class MapKind(ItemOperations):
    """Plans maps."""

    def plan(self, node: MapNode) -> Planning:
        """A task per batch."""
        return self.run_chain(self.context.fusion.of_items(node))
