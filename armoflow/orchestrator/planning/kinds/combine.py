"""Tasks that combine several values into one: what reductions and folds are made of."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from armoflow.codec.payload import Operation, Pickled
from armoflow.graph.nodes import MISSING, FoldNode, ReduceNode
from armoflow.orchestrator.planned import PlanPiece, Result, SlotRange
from armoflow.orchestrator.planning.chunks import PlanStep
from armoflow.orchestrator.planning.plan_context import PlanContext
from armoflow.orchestrator.planning.resolver import node_of
from armoflow.orchestrator.sizes import BatchSizer


class Combine:
    """Emits the combining tasks of one node."""

    def __init__(self, context: PlanContext, node: ReduceNode | FoldNode) -> None:
        self._context = context
        self._node = node

    def __call__(
        self, column: list[PlanPiece], *, initial: bool = False, final: bool = False
    ) -> Generator[PlanStep, Any, SlotRange]:
        """One task; the ``initial`` value comes first, the ``final`` one is the node's own."""
        context, node = self._context, self._node
        draft = context.arguments.draft()
        arguments: Pickled | None = None
        if initial and node.initial is not MISSING:
            yield from context.resolver.resolve_value(draft, node.initial, node)
            arguments = draft.dumps(node.initial, f"the initial value of {node.name!r}")
        yield from context.resolver.resolve_items(draft, [column], node)
        result = context.core.result(node) if final else Result(node.name)
        outputs = yield from context.emitter.emit(
            node,
            Operation.COMBINE,
            draft,
            function=node.task,
            arguments=arguments,
            columns=[draft.column(column, node.name)],
            count=sum(piece.length for piece in column),
            final=final,
            outputs=[result],
        )
        return SlotRange(outputs[0], 0, 1)


def sizer_of(context: PlanContext, node: ReduceNode | FoldNode) -> BatchSizer:
    """How many values one task combines."""
    return context.sizer(node, getattr(node_of(node.source), "length", None), measured=False)
