"""Filters: a task per batch; items that go leave an absent slot, so that positions stay."""

from __future__ import annotations

from armoflow.graph.nodes import FilterNode
from armoflow.orchestrator.planning.chunks import Planning
from armoflow.orchestrator.planning.kinds.operations import ItemOperations


class FilterKind(ItemOperations):
    """Plans filters."""

    def plan(self, node: FilterNode) -> Planning:
        """A task per batch."""
        return self.run_chain([node])
