"""Tasks that combine several values into one: what reductions and folds are made of."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Generator, Iterable
from typing import Any

from armoflow.codec.payload import Operation, Pickled
from armoflow.graph.nodes import MISSING, FoldNode, ReduceNode
from armoflow.orchestrator.planned import PlanPiece, Result, SlotRange
from armoflow.orchestrator.planning.chunks import Chunk, ItemReader, PlanStep
from armoflow.orchestrator.planning.known import Partial
from armoflow.orchestrator.planning.plan_context import PlanContext
from armoflow.orchestrator.planning.resolver import node_of
from armoflow.orchestrator.sizes import BatchSizer


class Combine:
    """Emits the combining tasks of one node."""

    def __init__(self, context: PlanContext, node: ReduceNode | FoldNode) -> None:
        self._context = context
        self._node = node

    def __call__(
        self,
        column: list[PlanPiece],
        start: int,
        stop: int,
        *,
        initial: bool = False,
        final: bool = False,
    ) -> Generator[PlanStep, Any, SlotRange]:
        """One task, which combines what stands for the items from ``start`` to ``stop``.

        The ``initial`` value comes first; the ``final`` one is the node's own.
        """
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
        place = SlotRange(outputs[0], 0, 1)
        if not final:
            context.core.combined(node, Partial(start, stop, place))
        return place


class BegunReduction:
    """What a reduction has made already, by where it begins: of each the longest."""

    def __init__(self, partials: Iterable[Partial]) -> None:
        self._longest: dict[int, Partial] = {}
        for partial in sorted(partials, key=lambda partial: partial.stop):
            self._longest[partial.start] = partial
        self._starts = sorted(self._longest)

    def at(self, position: int) -> Partial | None:
        """What begins at a position."""
        return self._longest.get(position)

    def read(
        self, reader: ItemReader, position: int, hint: int
    ) -> Generator[PlanStep, Any, Chunk | None]:
        """The next chunk, up to where something begins that was made already."""
        following = bisect_right(self._starts, position)
        most = None if following == len(self._starts) else self._starts[following] - position
        return (yield from reader.batch(hint, most))


def sizer_of(context: PlanContext, node: ReduceNode | FoldNode) -> BatchSizer:
    """How many values one task combines."""
    return context.sizer(node, getattr(node_of(node.source), "length", None), measured=False)
