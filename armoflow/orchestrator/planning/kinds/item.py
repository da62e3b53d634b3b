"""Items of a collection: slots of the tasks that run them. All share one reader of it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable

from armoflow.graph.nodes import ItemNode, Node, ZipNode
from armoflow.orchestrator.planned import LocalItems, SlotRange
from armoflow.orchestrator.planning import dynamic
from armoflow.orchestrator.planning.chunks import Chunk, ItemReader, Planning, select
from armoflow.orchestrator.planning.known import Unneeded
from armoflow.orchestrator.planning.plan_context import PlanContext


class ItemKind:
    """Plans items.

    Args:
        context: The tools of the plan.
    """

    def __init__(self, context: PlanContext) -> None:
        self._context = context
        self._indexes: dict[Node, _ItemIndex] = {}

    def reads(self, node: ItemNode) -> Iterable[tuple[Node, int]]:
        """See :class:`~armoflow.orchestrator.planning.plan_core.NodeKind`."""
        if node.source.node in self._indexes:
            return ()
        self._indexes[node.source.node] = _ItemIndex()
        return [(node.source.node, 1)]

    def plan(self, node: ItemNode) -> Planning:
        """Read the collection as far as the item."""
        if dynamic.is_dynamic(node):
            return (yield from self._context.expand(node))
        source, resolver = node.source, self._context.resolver
        if self._indexes[source.node].lacks(node.index):
            self._indexes[source.node] = _ItemIndex()  # nobody was to need it when it was read
        index = self._indexes[source.node]
        if index.reader is None:
            index.reader = ItemReader(self._context.core.open(source.node), None)
        while index.length <= node.index:
            chunk = yield from index.reader.chunk(node.index - index.length + 1)
            if chunk is None:
                raise IndexError(f"{source!r} has {index.length} items: no item {node.index}")
            index.add(chunk)
        chunk, offset = index.find(node.index)
        if isinstance(source.node, ZipNode):
            selected = Chunk([select(column, [offset]) for column in chunk.columns], 1)
            column = yield from resolver.single(selected, source.node)
        else:
            column = select(chunk.columns[source.output], [offset])
        if isinstance(column[0], LocalItems):
            return [(yield from resolver.gather(column, node))]
        return column


class _ItemIndex:
    """The chunks of a collection whose items are asked for one by one.

    Attributes:
        reader: Where further chunks come from; None before the first.
        length: Items so far.
    """

    def __init__(self) -> None:
        self.reader: ItemReader | None = None
        self.length = 0
        self._chunks: list[Chunk] = []
        self._starts: list[int] = []

    def add(self, chunk: Chunk) -> None:
        """The next chunk that was read."""
        self._chunks.append(chunk)
        self._starts.append(self.length)
        self.length += chunk.length

    def lacks(self, index: int) -> bool:
        """Whether an item was read, but is not to be made."""
        if index >= self.length:
            return False
        chunk, offset = self.find(index)
        pieces = (select(column, [offset])[0] for column in chunk.columns)
        return any(
            isinstance(piece, SlotRange) and isinstance(piece.result, Unneeded) for piece in pieces
        )

    def find(self, index: int) -> tuple[Chunk, int]:
        """The chunk that has an item, and the item's place in it."""
        position = bisect_right(self._starts, index) - 1
        return self._chunks[position], index - self._starts[position]
