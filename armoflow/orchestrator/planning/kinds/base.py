"""What the kinds of nodes have in common."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from armoflow.graph.nodes import Node
from armoflow.orchestrator.planning.plan_context import PlanContext


class ReadsOnce:
    """A kind that reads once whatever a node has as input.

    Args:
        context: The tools of the plan.
    """

    def __init__(self, context: PlanContext) -> None:
        self.context = context
        self.core = context.core
        self.resolver = context.resolver

    def reads(self, node: Any) -> Iterable[tuple[Node, int]]:
        """See :class:`~armoflow.orchestrator.planning.plan_core.NodeKind`."""
        return [(upstream, 1) for upstream in node.inputs]
