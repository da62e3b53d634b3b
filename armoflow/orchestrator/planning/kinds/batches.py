"""What operations on items read, cut into batches, column by column."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from armoflow.graph.nodes import CollectionNode
from armoflow.orchestrator.planned import PlanPiece
from armoflow.orchestrator.planning.chunks import Chunk, ItemReader, PlanStep, split
from armoflow.orchestrator.planning.drafts import is_local
from armoflow.orchestrator.planning.plan_context import PlanContext
from armoflow.orchestrator.planning.resolver import Resolver


class Batches:
    """Cuts what a collection operation reads into the batches that its tasks take."""

    def __init__(
        self, context: PlanContext, node: CollectionNode, readers: list[ItemReader]
    ) -> None:
        self._resolver = context.resolver
        self._node = node
        self._readers = readers
        self.sizer = context.sizer(node, node.length, measured=True)

    def skip(self, count: int) -> Generator[PlanStep, Any, None]:
        """Pass over items that are not needed."""
        for reader in self._readers:
            yield from reader.take(count)

    def next(
        self, position: int, most: int | None = None
    ) -> Generator[PlanStep, Any, Chunk | None]:
        """The items of the task that starts at ``position``, so many at most; None at the end."""
        size = self.sizer.next(position)
        first = self._readers[0]
        if most is not None:
            return (yield from self._next_of(min(size, most)))
        chunk = yield from (first.take(size) if self.sizer.fixed else first.chunk(size))
        if chunk is None:
            self.sizer.finish()
            return None
        if not self.sizer.fixed and chunk.length > size and is_local(chunk.columns[0]):
            chunk = first.put_back(chunk, size)
        return (yield from self._aligned(chunk))

    def _next_of(self, size: int) -> Generator[PlanStep, Any, Chunk | None]:
        chunk = yield from self._readers[0].take(size)
        if chunk is None:
            return None
        return (yield from self._aligned(chunk))

    def _aligned(self, chunk: Chunk) -> Generator[PlanStep, Any, Chunk | None]:
        if len(self._readers) == 1:
            return chunk
        return (yield from align(self._resolver, self._node, chunk, self._readers))


def align(
    resolver: Resolver, node: Any, first: Chunk, readers: list[ItemReader]
) -> Generator[PlanStep, Any, Chunk | None]:
    """The other columns beside the first; the shortest ends them all, as in Python's map."""
    columns: list[list[PlanPiece]] = [(yield from resolver.single_of(first, node.sources[0]))]
    length = first.length
    for reader, source in zip(readers[1:], node.sources[1:], strict=True):
        chunk = yield from reader.take(length)
        if chunk is None:
            return None
        columns.append((yield from resolver.single_of(chunk, source)))
        length = min(length, chunk.length)
    cut = [
        column
        if _length(column) == length
        else split(Chunk([column], _length(column)), length)[0].columns[0]
        for column in columns
    ]
    return Chunk(cut, length)


def _length(column: list[PlanPiece]) -> int:
    return sum(piece.length for piece in column)
