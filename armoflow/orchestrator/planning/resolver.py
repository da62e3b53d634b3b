"""How a plan finds the places of what a task needs: values, lists, items of collections."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from itertools import chain
from typing import Any

from armoflow import config
from armoflow.codec.payload import Operation
from armoflow.codec.pickling import are_scalars, is_scalar
from armoflow.graph.arguments import find_dependencies
from armoflow.graph.collection import DelayedList
from armoflow.graph.delayed import Delayed
from armoflow.graph.nodes import (
    CollectionNode,
    FilterNode,
    GatherNode,
    MapNode,
    Node,
    Source,
    SourceNode,
    ZipNode,
)
from armoflow.options import as_block
from armoflow.orchestrator import builtins
from armoflow.orchestrator.planned import LocalItems, PlanPiece, Result, SlotRange
from armoflow.orchestrator.planning import dynamic
from armoflow.orchestrator.planning.call_arguments import CallArguments
from armoflow.orchestrator.planning.chunks import (
    Chunk,
    ItemReader,
    NeedValue,
    PlanStep,
    select,
    unneeded_in,
)
from armoflow.orchestrator.planning.drafts import Draft
from armoflow.orchestrator.planning.emitter import Emitter
from armoflow.orchestrator.planning.item_ranges import without
from armoflow.orchestrator.planning.known import Unneeded
from armoflow.orchestrator.planning.plan_core import ALWAYS, Core
from armoflow.orchestrator.planning.siblings import Siblings
from armoflow.orchestrator.planning.tolerance import behind, makers


class Resolver:
    """Finds places for one plan.

    Args:
        core: Plans what is asked for, and counts who has read what.
        emitter: Makes the tasks that gather slots.
        arguments: Drafts them.
        siblings: Finds calls that may share a task.
    """

    def __init__(
        self, core: Core, emitter: Emitter, arguments: CallArguments, siblings: Siblings
    ) -> None:
        self._core = core
        self._emitter = emitter
        self._arguments = arguments
        self._siblings = siblings
        self._lists: dict[Node, list[SlotRange]] = {}
        self._gatherings: dict[tuple[Node, int], Node] = {}
        core.on_forget = self._forget

    def clear(self) -> None:
        """The plan is at its end."""
        self._lists.clear()
        self._gatherings.clear()

    def _forget(self, node: Node) -> None:
        """All who needed a list have read it."""
        self._lists.pop(node, None)

    # --- collections ----------------------------------------------------------------------------

    def reader(self, source: Source) -> ItemReader:
        """A reader of one output of a collection, or of all columns of a zip."""
        node = node_of(source)
        if not isinstance(node, CollectionNode):
            raise TypeError(f"{source!r} is known only when the graph runs")
        if isinstance(node, ZipNode):
            return ItemReader(self._core.open(node), None)
        output = 0 if isinstance(source, SourceNode) else source.output
        return ItemReader(self._core.open(node), [output])

    def drain(self, source: Source) -> Generator[PlanStep, Any, list[PlanPiece]]:
        """All pieces of a collection, at most ``MAXIMUM_INPUTS`` results."""
        reader = self.reader(source)
        column: list[PlanPiece] = []
        while (chunk := (yield from reader.chunk(config.MAXIMUM_INPUTS))) is not None:
            column.extend((yield from self.single_of(chunk, source)))
        return column

    def single(self, chunk: Chunk, node: Node) -> Generator[PlanStep, Any, list[PlanPiece]]:
        """A chunk's only column; the items of a zip become tuples first, where they are needed."""
        if not isinstance(node, ZipNode):
            return chunk.columns[0]
        unneeded = unneeded_in(chunk)
        if not unneeded:
            return [(yield from self._tuples(chunk, node))]
        needed = without((range(chunk.length),), unneeded)
        column: list[PlanPiece] = [
            SlotRange(Unneeded(node.name), part.start, part.stop) for part in unneeded
        ]
        if needed:
            offsets = [*chain.from_iterable(needed)]
            columns = [select(column, offsets) for column in chunk.columns]
            result, made, _ = yield from self._tuples(Chunk(columns, len(offsets)), node)
            for part in needed:
                column.append(SlotRange(result, made, made + len(part)))
                made += len(part)
        parts = sorted(zip([*unneeded, *needed], column, strict=True), key=lambda one: one[0].start)
        return [piece for _, piece in parts]

    def _tuples(self, chunk: Chunk, node: Node) -> Generator[PlanStep, Any, SlotRange]:
        """A task that makes the items of a zip."""
        draft = self._arguments.draft()
        yield from self.resolve_items(draft, chunk.columns, node)
        columns = [draft.column(column, node.name) for column in chunk.columns]
        outputs = yield from self._emitter.emit(
            node,
            Operation.MAP,
            draft,
            function=builtins.pack_tuple,
            columns=columns,
            count=chunk.length,
        )
        return SlotRange(outputs[0], 0, chunk.length)

    def single_of(self, chunk: Chunk, source: Source) -> Generator[PlanStep, Any, list[PlanPiece]]:
        """A chunk's only column, read from this source."""
        return (yield from self.single(chunk, node_of(source)))

    def resolve(
        self, draft: Draft, dependencies: Iterable[Any], node: Node
    ) -> Generator[PlanStep, Any, None]:
        """Find the places of what arguments depend on."""
        dependencies = list(dependencies)
        for number, dependency in enumerate(dependencies):
            self._count(dependency.node)
            if isinstance(dependency, DelayedList) and not dynamic.is_dynamic(dependency.node):
                column = yield from self.drain(dependency)
                draft.refer_to_list(dependency, (yield from self._few(column, node)))
            elif (
                isinstance(dependency.node, GatherNode)
                and not dynamic.is_dynamic(dependency.node)
                and not self._core.is_known(dependency.node)
            ):
                # A list of values needs no task of its own.
                draft.refer_to_list(dependency, (yield from self._list(dependency.node)))
                if dependency.node is not node:
                    self._core.read(dependency.node)
            elif (place := self._core.take(dependency)) is not None:
                draft.refer_to_slot(dependency, place)
            else:
                if number < len(dependencies) - 1:
                    group = self._siblings.group(dependencies, number)
                    if group:
                        yield from self._siblings.plan(group)
                places = yield NeedValue(self.gathered(dependency))
                draft.refer_to_slot(dependency, places[dependency.output])

    def _count(self, node: Node) -> None:
        """What an item of an iterator holds was not counted before: others may hold it too."""
        if not self._core.counted(node):
            self.mix(self._core.count_late(node))
            self._emitter.tolerant.update(makers(node))

    def mix(self, nodes: Iterable[Node]) -> None:
        """Let those of some nodes leave error slots whose tasks take items from here and there."""
        mixing = [
            n for n in nodes if isinstance(n, (MapNode, FilterNode)) and self._core.passed_over(n)
        ]
        self._emitter.tolerant.update(mixing, behind(mixing))

    def _list(self, node: GatherNode) -> Generator[PlanStep, Any, list[SlotRange]]:
        ranges = self._lists.get(node)
        if ranges is None:
            column = yield from self.drain(node.source)
            ranges = self._lists[node] = yield from self._few(column, node)
        return ranges

    def resolve_value(self, draft: Draft, value: Any, node: Node) -> Generator[PlanStep, Any, None]:
        """Find the places of what one value depends on."""
        if not is_scalar(value):
            yield from self.resolve(draft, find_dependencies(value), node)

    def resolve_fixed(self, draft: Draft, node: Any) -> Generator[PlanStep, Any, None]:
        """Find the places of what the fixed arguments of a collection operation depend on."""
        yield from self.resolve_value(draft, node.fixed, node)

    def resolve_items(
        self, draft: Draft, columns: Sequence[Sequence[PlanPiece]], node: Node
    ) -> Generator[PlanStep, Any, None]:
        """Find the places of what local items depend on."""
        for column in columns:
            for piece in column:
                if isinstance(piece, LocalItems):
                    if are_scalars(piece.values):
                        continue
                    for value in piece.values:
                        yield from self.resolve(draft, find_dependencies(value), node)

    def evaluate(
        self, column: Sequence[PlanPiece], node: Node
    ) -> Generator[PlanStep, Any, list[PlanPiece]]:
        """A column in which local items that hold lazy values are replaced by their values."""
        evaluated: list[PlanPiece] = []
        for piece in column:
            if isinstance(piece, LocalItems) and self._arguments.hold_references(piece.values):
                evaluated.append((yield from self.gather([piece], node)))
            else:
                evaluated.append(piece)
        return evaluated

    def gathered(self, value: Delayed[Any] | DelayedList[Any]) -> Node:
        """The node that gathers a dynamic collection; one for all who ask."""
        if isinstance(value, Delayed):
            return value.node
        gathered = self._gatherings.get((value.node, value.output))
        if gathered is None:
            with as_block(value.node.block):
                gathered = value.gather().node
            self._gatherings[value.node, value.output] = gathered
            self._core.count(gathered, ALWAYS)
        return gathered

    def _few(
        self, column: Sequence[PlanPiece], node: Node
    ) -> Generator[PlanStep, Any, list[SlotRange]]:
        """The same slots in at most ``MAXIMUM_INPUTS`` results, gathered level by level."""
        ranges: list[SlotRange] = []
        for piece in column:
            if isinstance(piece, SlotRange):
                ranges.append(piece)
            else:
                ranges.append((yield from self.gather([piece], node)))
        while len({piece.result for piece in ranges}) > config.MAXIMUM_INPUTS:
            gathered = []
            for first in range(0, len(ranges), config.MAXIMUM_INPUTS):
                group = ranges[first : first + config.MAXIMUM_INPUTS]
                gathered.append((yield from self.gather(group, node)))
            ranges = gathered
        return ranges

    def gather(
        self, pieces: Sequence[PlanPiece], node: Node, result: Result | None = None
    ) -> Generator[PlanStep, Any, SlotRange]:
        """A task that copies slots, errors and all, into one result."""
        draft = self._arguments.draft()
        yield from self.resolve_items(draft, [pieces], node)
        column = draft.column(pieces, node.name)
        length = sum(piece.length for piece in pieces)
        outputs = yield from self._emitter.emit(
            node,
            Operation.GATHER,
            draft,
            columns=[column],
            count=length,
            outputs=None if result is None else [result],
        )
        return SlotRange(outputs[0], 0, length)


def node_of(source: Source) -> Node:
    """The node behind a source."""
    return source if isinstance(source, SourceNode) else source.node


def sparse(source: Source) -> bool:
    """Whether some items of a collection may be absent."""
    node = node_of(source)
    return isinstance(node, CollectionNode) and node.sparse
