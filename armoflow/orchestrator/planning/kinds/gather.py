"""A collection's values as one list."""

from __future__ import annotations

from armoflow.graph.delayed import Delayed
from armoflow.graph.nodes import GatherNode
from armoflow.orchestrator import builtins
from armoflow.orchestrator.planning import dynamic
from armoflow.orchestrator.planning.chunks import Planning
from armoflow.orchestrator.planning.kinds.base import ReadsOnce


class GatherKind(ReadsOnce):
    """Plans lists that are values of their own; as an argument a list needs no task."""

    def plan(self, node: GatherNode) -> Planning:
        """One task that takes the list as its argument, and returns it."""
        if dynamic.is_dynamic(node):
            return (yield from self.context.expand(node))
        return (yield from self.context.call(node, builtins.identity, (Delayed(node),), {}))
