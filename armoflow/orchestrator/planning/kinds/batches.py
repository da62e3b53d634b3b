"""What operations on items read, cut into batches, column by column."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator, Sequence
from typing import Any, NamedTuple

from armoflow.codec.positions import Positions, as_positions
from armoflow.graph.nodes import FilterNode, MapNode
from armoflow.orchestrator.planned import PlanPiece, Result, SlotRange
from armoflow.orchestrator.planning.chunks import Chunk, ItemReader, PlanStep, join, split
from armoflow.orchestrator.planning.known import KnownItems, Scattered
from armoflow.orchestrator.planning.plan_context import PlanContext
from armoflow.orchestrator.planning.resolver import Resolver


class Batch(NamedTuple):
    """Items of a collection that follow one another, some of which exist already.

    Attributes:
        new: Those that one task is to make.
        positions: Where these are in the collection.
        layout: All of them in their order: a run that exists, or how many are new; nothing where
            all are.
    """

    new: Chunk
    positions: Positions
    layout: Sequence[KnownItems | int] = ()

    def chunk(self, outputs: Sequence[Result]) -> Chunk:
        """Where all of them are, given what the task makes."""
        if not self.layout:
            length = self.new.length
            return Chunk([[SlotRange(output, 0, length)] for output in outputs], length)
        columns = [[*self._column(number, output)] for number, output in enumerate(outputs)]
        return Chunk(columns, sum(map(_part_length, self.layout)))

    def _column(self, number: int, result: Result) -> Iterator[PlanPiece]:
        slot = 0
        for part in self.layout:
            if isinstance(part, int):
                yield SlotRange(result, slot, slot + part)
                slot += part
            else:
                yield from part.columns[number]


class BatchCutter:
    """Cuts what a collection operation reads into the batches that its tasks take.

    Args:
        context: The tools of the plan.
        node: The operation.
        readers: Of what it reads.
        known: Those of its items that exist already: no task takes them.
    """

    def __init__(
        self,
        context: PlanContext,
        node: MapNode | FilterNode,
        readers: list[ItemReader],
        known: Scattered,
    ) -> None:
        self._resolver = context.resolver
        self._node = node
        self._readers = readers
        self._known = deque(known)
        length = node.length
        if length is not None:
            length -= sum(run.length for run in known)
        self.sizer = context.sizer(node, length, measured=True)
        self._first = node.first
        self._position = 0
        self._unread = 0
        self._planned = 0

    def next(self) -> Generator[PlanStep, Any, Batch | KnownItems | None]:
        """The items of the next task, or a run of those that exist; None at the end.

        What exists between items of a task, and right behind them, comes with these.
        """
        if self._known and (run := self._pass_over()) is not None:
            return run
        size = self.sizer.next(self._planned)
        taking = self._take_scattered if self._known else self._take
        batch = yield from taking(size)
        if batch is None:
            self.sizer.finish()
        else:
            self._planned += batch.new.length
        return batch

    def _pass_over(self) -> KnownItems | None:
        """The run of items at this position that exist, if there is one."""
        if not self._known or self._known[0].start > self._position:
            return None
        run = self._known.popleft()
        self._position += run.length
        self._unread += run.length
        return run

    def _catch_up(self) -> Generator[PlanStep, Any, None]:
        """Read over what was passed over: only now, for there may be nothing to make behind it."""
        unread, self._unread = self._unread, 0
        for reader in self._readers:
            yield from reader.skip(unread)

    def _take(self, size: int) -> Generator[PlanStep, Any, Batch | None]:
        """Neighbours, if possible those that one task of the source makes."""
        if self._unread:
            yield from self._catch_up()
        first = self._readers[0]
        chunk = yield from (first.take(size) if self.sizer.fixed else first.batch(size))
        if len(self._readers) > 1:
            chunk = yield from self._aligned(chunk)
        if chunk is None:
            return None
        batch = Batch(chunk, self._first + self._position)
        self._position += chunk.length
        return batch

    def _take_scattered(self, size: int) -> Generator[PlanStep, Any, Batch | None]:
        """Items wherever they are, and what exists between them and right behind."""
        layout: list[KnownItems | int] = []
        positions: list[int] = []
        columns: list[list[PlanPiece]] = []
        while True:
            run = self._pass_over()
            if run is not None:
                layout.append(run)
                continue
            room = size - len(positions)
            if self._known:
                room = min(room, self._known[0].start - self._position)
            chunk = None
            if room:
                if self._unread:
                    yield from self._catch_up()
                chunk = yield from self._aligned((yield from self._readers[0].take(room)))
            if chunk is None:
                break
            layout.append(chunk.length)
            first = self._first + self._position
            positions.extend(range(first, first + chunk.length))
            self._position += chunk.length
            columns = columns or [[] for _ in chunk.columns]
            for column, more in zip(columns, chunk.columns, strict=True):
                for piece in more:
                    join(column, piece)
        if not positions:
            return None
        return Batch(Chunk(columns, len(positions)), as_positions(positions), layout)

    def _aligned(self, chunk: Chunk | None) -> Generator[PlanStep, Any, Chunk | None]:
        if chunk is None or len(self._readers) == 1:
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


def _part_length(part: KnownItems | int) -> int:
    return part if isinstance(part, int) else part.length


def _length(column: list[PlanPiece]) -> int:
    return sum(piece.length for piece in column)
