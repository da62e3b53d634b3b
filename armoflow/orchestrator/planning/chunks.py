"""Collections as streams of chunks: planned once, read by several consumers, each at its own pace.

Planning is written as coroutines that *ask*: ``yield NeedValue(node)`` for the place of a value,
``yield NeedChunk(cursor)`` for a collection's next chunk. The planner answers from an explicit
stack, so that a chain of any depth plans without recursion.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Generator, Sequence
from typing import Any, NamedTuple, TypeAlias

from armoflow.graph.nodes import CollectionNode, Node
from armoflow.orchestrator.constant import Constant
from armoflow.orchestrator.planned import LocalItems, PlannedTask, PlanPiece, Result, SlotRange
from armoflow.orchestrator.planning.item_ranges import ItemRanges, joined
from armoflow.orchestrator.planning.known import KnownItems, Unneeded


class Chunk(NamedTuple):
    """Consecutive items of a collection.

    Attributes:
        columns: Where the items are: a list of pieces per output of the node; of a zip, a list per
            zipped collection.
        length: Number of items; each column's pieces sum up to it.
    """

    columns: Sequence[list[PlanPiece]]
    length: int


class NeedValue(NamedTuple):
    """Asks for the places of a node's values, one slot an output."""

    node: Node


class NeedChunk(NamedTuple):
    """Asks for a cursor's next chunk, or None at the end; sources cut ``hint`` items."""

    cursor: Cursor
    hint: int


PlanStep: TypeAlias = "PlannedTask | Constant | NeedValue | NeedChunk | Chunk"
Planning: TypeAlias = "Generator[PlanStep, Any, Any]"


class _ChunkLink:
    __slots__ = ("chunk", "next")

    def __init__(self) -> None:
        self.chunk: Chunk | None = None
        self.next: _ChunkLink | None = None


class ChunkStream:
    """A collection being planned; its chunks are kept only while a cursor has yet to pass them.

    Attributes:
        running: It is being asked for its next chunk.
        length: How many items it has given.
    """

    __slots__ = (
        *("_head", "_unopened", "ended", "error", "generator", "hint", "length"),
        *("node", "running", "tail"),
    )

    def __init__(self, node: CollectionNode, generator: Planning, readers: int) -> None:
        self.node = node
        self.generator = generator
        self.tail = _ChunkLink()
        self._head: _ChunkLink | None = self.tail
        self._unopened = readers
        self.ended = False
        self.running = False
        self.error: BaseException | None = None
        self.hint = 1
        self.length = 0

    @property
    def passed(self) -> bool:
        """Whether all readers that were announced have come: the first chunks are not kept."""
        return self._head is None

    def open(self) -> Cursor:
        """A cursor at the first chunk; as many may be opened as readers were announced."""
        head = self._head
        if head is None:
            raise RuntimeError(f"{self.node.name!r} has more readers than were counted")
        self._unopened -= 1
        if self._unopened <= 0:
            self._head = None
        return Cursor(self, head)

    def append(self, chunk: Chunk) -> None:
        """Add a chunk for the cursors to find."""
        link = _ChunkLink()
        self.length += chunk.length
        self.tail.chunk = chunk
        self.tail.next = link
        self.tail = link


class Cursor:
    """One reader's place in a stream."""

    __slots__ = ("_link", "stream")

    def __init__(self, stream: ChunkStream, link: _ChunkLink) -> None:
        self.stream = stream
        self._link = link

    def advance(self) -> Chunk | None:
        """The next chunk if it is planned already."""
        link = self._link
        if link.next is None:
            return None
        self._link = link.next
        return link.chunk


class ItemReader:
    """Takes items from a cursor in the sizes that its consumer wants.

    Args:
        cursor: Where to read.
        outputs: Which of the chunks' columns to read; None for all of them (a zip, unpacked).
    """

    __slots__ = ("_cursor", "_outputs", "_rest")

    def __init__(self, cursor: Cursor, outputs: Sequence[int] | None) -> None:
        self._cursor = cursor
        self._outputs = outputs
        self._rest: Chunk | None = None

    def chunk(self, hint: int) -> Generator[PlanStep, Any, Chunk | None]:
        """The next chunk as it was planned, or None at the end."""
        if self._rest is not None:
            rest, self._rest = self._rest, None
            return rest
        chunk = yield NeedChunk(self._cursor, hint)
        if chunk is None or self._outputs is None:
            return chunk  # type: ignore[no-any-return]
        return Chunk([chunk.columns[output] for output in self._outputs], chunk.length)

    def take(self, count: int) -> Generator[PlanStep, Any, Chunk | None]:
        """Up to ``count`` items, fewer only at the end, None when there are none."""
        columns: list[list[PlanPiece]] = []
        length = 0
        while length < count:
            chunk = yield from self.chunk(count - length)
            if chunk is None:
                break
            if length + chunk.length > count:
                chunk, self._rest = split(chunk, count - length)
            if not columns:
                columns = [list(column) for column in chunk.columns]
            else:
                for column, more in zip(columns, chunk.columns, strict=True):
                    column.extend(more)
            length += chunk.length
        return Chunk(columns, length) if length else None

    def skip(self, count: int) -> Generator[PlanStep, Any, None]:
        """Read over items that nothing is made of."""
        while count:
            chunk = yield from self.chunk(count)
            if chunk is None:
                return
            if chunk.length > count:
                chunk = self.put_back(chunk, count)
            count -= chunk.length

    def batch(self, size: int, most: int | None = None) -> Generator[PlanStep, Any, Chunk | None]:
        """The next chunk, or None at the end; of more items only where one task makes them all.

        Args:
            size: How many items are wanted.
            most: How many it may have, even if one task makes more.
        """
        chunk = yield from self.chunk(size)
        if chunk is None:
            return None
        whole = all(map(_is_whole, chunk.columns))
        kept = min(chunk.length, chunk.length if whole else size)
        kept = kept if most is None else min(kept, most)
        return chunk if kept == chunk.length else self.put_back(chunk, kept)

    def put_back(self, chunk: Chunk, count: int) -> Chunk:
        """Keep only the first ``count`` items of a chunk just read; the others come next."""
        first, self._rest = split(chunk, count)
        return first


def chunk_of(run: KnownItems) -> Chunk:
    """Items that exist already as a chunk."""
    return Chunk([[*column] for column in run.columns], run.length)


def unneeded_in(chunk: Chunk) -> ItemRanges:
    """The items of a chunk that nobody looks at, by their positions in it."""
    found: list[ItemRanges] = []
    for column in chunk.columns:
        position = 0
        for piece in column:
            if isinstance(piece, SlotRange) and isinstance(piece.result, Unneeded):
                found.append((range(position, position + piece.length),))
            position += piece.length
    return joined(found)


def split(chunk: Chunk, count: int) -> tuple[Chunk, Chunk]:
    """The first ``count`` items, and the others."""
    pairs = [_split_column(column, count) for column in chunk.columns]
    first = Chunk([pair[0] for pair in pairs], count)
    return first, Chunk([pair[1] for pair in pairs], chunk.length - count)


def _is_whole(column: Sequence[PlanPiece]) -> bool:
    """Whether one task makes all items of a column."""
    results = {piece.result if isinstance(piece, SlotRange) else None for piece in column}
    return len(results) == 1 and None not in results


def _split_column(
    column: Sequence[PlanPiece], count: int
) -> tuple[list[PlanPiece], list[PlanPiece]]:
    for number, piece in enumerate(column):
        if count < piece.length:
            first, others = [*column[:number]], [*column[number:]]  # there may be many behind it
            if count > 0:
                first.append(_cut(piece, 0, count))
                others[0] = _cut(piece, count, piece.length)
            return first, others
        count -= piece.length
    return [*column], []


def _cut(piece: PlanPiece, start: int, stop: int) -> PlanPiece:
    if isinstance(piece, LocalItems):
        return LocalItems(piece.values[start:stop])
    return SlotRange(piece.result, piece.start + start, piece.start + stop)


def by_result(column: Sequence[PlanPiece], first: int) -> dict[Result, list[tuple[SlotRange, int]]]:
    """The slots of a column by the results that hold them, each with its first item's position.

    Args:
        column: It.
        first: The position of its first item.
    """
    found: dict[Result, list[tuple[SlotRange, int]]] = {}
    for piece in column:
        if isinstance(piece, SlotRange) and not isinstance(piece.result, Unneeded):
            found.setdefault(piece.result, []).append((piece, first))
        first += piece.length
    return found


def select(column: Sequence[PlanPiece], positions: Sequence[int]) -> list[PlanPiece]:
    """The items at these positions of a column, neighbours joined."""
    selected: list[PlanPiece] = []
    ends: list[int] = []
    total = 0
    for piece in column:
        total += piece.length
        ends.append(total)
    for position in positions:
        index = bisect_right(ends, position)
        piece = column[index]
        offset = position - (ends[index] - piece.length)
        join(selected, _cut(piece, offset, offset + 1))
    return selected


def join(column: list[PlanPiece], piece: PlanPiece) -> None:
    """Add items to a column of one's own; what follows on those before is one piece with them."""
    last = column[-1] if column else None
    if isinstance(last, LocalItems) and isinstance(piece, LocalItems):
        last.values.extend(piece.values)
    elif (
        isinstance(last, SlotRange)
        and isinstance(piece, SlotRange)
        and last.result is piece.result
        and last.stop == piece.start
    ):
        column[-1] = SlotRange(last.result, last.start, piece.stop)
    elif isinstance(piece, LocalItems):
        column.append(LocalItems([*piece.values]))  # others may read the same chunk
    else:
        column.append(piece)
