"""How collections are planned: each kind of collection node as a coroutine that gives chunks."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Generator, Sequence
from typing import TYPE_CHECKING, Any

from armoflow.codec.payload import Operation
from armoflow.graph.collection import DelayedList
from armoflow.graph.nodes import (
    CollectionNode,
    FilterNode,
    MapNode,
    SliceNode,
    Source,
    SourceNode,
    ZipNode,
)
from armoflow.orchestrator import fusing
from armoflow.orchestrator.chunks import Chunk, Planning, Reader, Step, select, split
from armoflow.orchestrator.drafts import is_local
from armoflow.orchestrator.planned import LocalItems, PlanPiece, SlotRange

if TYPE_CHECKING:
    from armoflow.orchestrator.plan import Planner


def plan_source(planner: Planner, node: SourceNode) -> Planning:
    """Items that the client holds or reads lazily, cut as the first reader wants them."""
    taken = planner.settings.taken.get(node)
    items = node.open() if taken is None else iter(taken)
    stream = planner.stream(node)
    while values := list(itertools.islice(items, max(stream.hint, 1))):
        yield Chunk([[LocalItems(values)]], len(values))


def plan_map(planner: Planner, node: MapNode) -> Planning:
    """A task per batch; its outputs hold a slot per item.

    The operations before it that only it needs are earlier steps of the same tasks.
    """
    chain = fusing.chain_of_items(planner, node)
    head = chain[0]
    draft = planner.draft()
    yield from planner.inputs.resolve_fixed(draft, head)
    arguments = planner.emitter.fixed(draft, head.fixed, head)
    steps = fusing.item_steps(planner, draft, chain)
    filters = isinstance(head, FilterNode)
    sources = (head.source,) if isinstance(head, FilterNode) else head.sources
    star, unzip = not isinstance(head, FilterNode) and head.star, _is_zip(sources)
    batches = _Batches(planner, head, [planner.reader(source) for source in sources])
    position = 0
    while (chunk := (yield from batches.next(position))) is not None:
        own = planner.draft(draft)
        columns = chunk.columns
        if filters or (unzip and not star):
            columns = [(yield from planner.inputs.single_of(chunk, sources[0]))]
        yield from planner.inputs.resolve_items(own, columns, head)
        outputs = yield from planner.emit(
            node,
            Operation.FILTER if filters else Operation.MAP,
            own,
            function=head.task,
            arguments=arguments,
            columns=[own.column(column, head.name, position) for column in columns],
            start=position,
            count=chunk.length,
            star=star and not unzip,
            collection=True,
            sizer=batches.sizer,
            outputs=[planner.result(node, output) for output in range(node.task.outputs)],
            name=head.name,
            steps=steps,
        )
        slots: list[list[PlanPiece]] = [[SlotRange(result, 0, chunk.length)] for result in outputs]
        position += chunk.length
        yield Chunk(slots, chunk.length)


def plan_filter(planner: Planner, node: FilterNode) -> Planning:
    """A task per batch; items that go leave an absent slot, so that positions stay."""
    draft = planner.draft()
    yield from planner.inputs.resolve_fixed(draft, node)
    arguments = planner.emitter.fixed(draft, node.fixed, node)
    batches = _Batches(planner, node, [planner.reader(node.source)])
    position = 0
    while (chunk := (yield from batches.next(position))) is not None:
        column = yield from planner.inputs.single_of(chunk, node.source)
        own = planner.draft(draft)
        yield from planner.inputs.resolve_items(own, [column], node)
        outputs = yield from planner.emit(
            node,
            Operation.FILTER,
            own,
            function=node.task,
            arguments=arguments,
            columns=[own.column(column, node.name, position)],
            start=position,
            count=chunk.length,
            collection=True,
            sizer=batches.sizer,
        )
        position += chunk.length
        yield Chunk([[SlotRange(outputs[0], 0, chunk.length)]], chunk.length)


def plan_zip(planner: Planner, node: ZipNode) -> Planning:
    """No task: the columns side by side; whoever reads the zip takes them together."""
    readers = [planner.reader(source) for source in node.sources]
    while (first := (yield from readers[0].chunk(planner.stream(node).hint))) is not None:
        column = yield from planner.inputs.single_of(first, node.sources[0])
        aligned = yield from _align(planner, node, Chunk([column], first.length), readers)
        if aligned is None:
            return
        yield aligned
        if aligned.length < first.length:
            return


def plan_slice(planner: Planner, node: SliceNode) -> Planning:
    """No task: some slots of the source's tasks."""
    reader = planner.reader(node.source)
    wanted = node.positions
    if wanted.step < 0:
        length = node.source.node.length or 0
        whole = yield from reader.take(length)
        if whole is not None:
            column = yield from planner.inputs.single_of(whole, node.source)
            if wanted:
                yield Chunk([select(column, wanted)], len(wanted))
        return
    position = 0
    stop = wanted[-1] + 1 if wanted else 0
    while position < stop:
        chunk = yield from reader.chunk(stop - position)
        if chunk is None:
            return
        column = yield from planner.inputs.single_of(chunk, node.source)
        inside = range(
            wanted.start + max(-(-(position - wanted.start) // wanted.step), 0) * wanted.step,
            min(position + chunk.length, stop),
            wanted.step,
        )
        if inside:
            offsets = [index - position for index in inside]
            yield Chunk([select(column, offsets)], len(offsets))
        position += chunk.length


class _Batches:
    """Cuts what a collection operation reads into the batches that its tasks take."""

    def __init__(self, planner: Planner, node: CollectionNode, readers: list[Reader]) -> None:
        self._planner = planner
        self._node = node
        self._readers = readers
        self.sizer = planner.sizer(node, node.length, measured=True)

    def next(self, position: int) -> Generator[Step, Any, Chunk | None]:
        size = self.sizer.next(position)
        first = self._readers[0]
        chunk = yield from (first.take(size) if self.sizer.fixed else first.chunk(size))
        if chunk is None:
            self.sizer.finish()
            return None
        if not self.sizer.fixed and chunk.length > size and is_local(chunk.columns[0]):
            chunk = first.put_back(chunk, size)
        if len(self._readers) == 1:
            return chunk
        return (yield from _align(self._planner, self._node, chunk, self._readers))


def _align(
    planner: Planner, node: Any, first: Chunk, readers: list[Reader]
) -> Generator[Step, Any, Chunk | None]:
    """The other columns beside the first; the shortest ends them all, as in Python's map."""
    columns: list[list[PlanPiece]] = [(yield from planner.inputs.single_of(first, node.sources[0]))]
    length = first.length
    for reader, source in zip(readers[1:], node.sources[1:], strict=True):
        chunk = yield from reader.take(length)
        if chunk is None:
            return None
        columns.append((yield from planner.inputs.single_of(chunk, source)))
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


def _is_zip(sources: Sequence[Source]) -> bool:
    source = sources[0]
    return (
        len(sources) == 1 and isinstance(source, DelayedList) and isinstance(source.node, ZipNode)
    )


STREAMS: dict[type[CollectionNode], Callable[[Planner, Any], Planning]] = {
    SourceNode: plan_source,
    MapNode: plan_map,
    FilterNode: plan_filter,
    ZipNode: plan_zip,
    SliceNode: plan_slice,
}
