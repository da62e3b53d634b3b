"""How a plan finds the places of what a task needs: values, lists, items of collections."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from armoflow import config
from armoflow.codec.payload import Operation
from armoflow.codec.pickling import are_scalars, is_scalar
from armoflow.graph.arguments import find_dependencies
from armoflow.graph.collection import DelayedList
from armoflow.graph.delayed import Delayed
from armoflow.graph.nodes import CollectionNode, GatherNode, Node, Source, SourceNode, ZipNode
from armoflow.options import as_block
from armoflow.orchestrator import builtins, dynamic
from armoflow.orchestrator.chunks import Chunk, NeedValue, Reader, Step
from armoflow.orchestrator.drafts import Draft
from armoflow.orchestrator.emit import Emitter
from armoflow.orchestrator.planned import LocalItems, PlanPiece, Result, SlotRange

if TYPE_CHECKING:
    from typing import Protocol

    from armoflow.graph.nodes import CallNode
    from armoflow.orchestrator.packing import Siblings

    class Reading(Protocol):
        """What finding inputs needs of the planner."""

        siblings: Siblings

        def reader(self, source: Source) -> Reader:
            """Reads a collection."""

        def count(self, node: Node, reads: int = 1) -> None:
            """A node will be read so often."""

        def counted(self, node: Node) -> bool:
            """Whether somebody will read a node."""

        def is_known(self, node: Node) -> bool:
            """Whether a node's value exists already."""

        def read(self, node: Node) -> None:
            """A node was read once."""

        def plan_siblings(self, group: Sequence[Sequence[CallNode]]) -> Generator[Step, Any, None]:
            """Plan sibling calls as one task."""


ALWAYS = 1 << 30
"""Reads of a node that is kept to the end of the plan."""


class Inputs:
    """Finds places for one plan.

    Args:
        planner: Plans what is asked for, and counts who has read what.
        emitter: Makes the tasks that gather slots.
    """

    def __init__(self, planner: Reading, emitter: Emitter) -> None:
        self._planner = planner
        self._emitter = emitter
        self._lists: dict[Node, list[SlotRange]] = {}
        self._gatherings: dict[tuple[Node, int], Node] = {}

    def forget(self, node: Node) -> None:
        """All who needed a list have read it."""
        self._lists.pop(node, None)

    def clear(self) -> None:
        """The plan is at its end."""
        self._lists.clear()
        self._gatherings.clear()

    def drain(self, source: Source) -> Generator[Step, Any, list[PlanPiece]]:
        """All pieces of a collection, at most ``MAXIMUM_INPUTS`` results."""
        reader = self._planner.reader(source)
        column: list[PlanPiece] = []
        while (chunk := (yield from reader.chunk(config.MAXIMUM_INPUTS))) is not None:
            column.extend((yield from self.single_of(chunk, source)))
        return column

    def single(self, chunk: Chunk, node: Node) -> Generator[Step, Any, list[PlanPiece]]:
        """A chunk's only column; the items of a zip become tuples first."""
        if not isinstance(node, ZipNode):
            return chunk.columns[0]
        draft = self._emitter.draft()
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
        return [SlotRange(outputs[0], 0, chunk.length)]

    def single_of(self, chunk: Chunk, source: Source) -> Generator[Step, Any, list[PlanPiece]]:
        """A chunk's only column, read from this source."""
        return (yield from self.single(chunk, node_of(source)))

    def resolve(
        self, draft: Draft, dependencies: Iterable[Any], node: Node
    ) -> Generator[Step, Any, None]:
        """Find the places of what arguments depend on."""
        dependencies = list(dependencies)
        for number, dependency in enumerate(dependencies):
            if isinstance(dependency, DelayedList) and not dynamic.is_dynamic(dependency.node):
                column = yield from self.drain(dependency)
                draft.refer_to_list(dependency, (yield from self._few(column, node)))
            elif (
                isinstance(dependency.node, GatherNode)
                and not dynamic.is_dynamic(dependency.node)
                and not self._planner.is_known(dependency.node)
            ):
                # A list of values needs no task of its own.
                draft.refer_to_list(dependency, (yield from self._list(dependency.node)))
                if dependency.node is not node:
                    self._planner.read(dependency.node)
            else:
                if number < len(dependencies) - 1:
                    group = self._planner.siblings.group(dependencies, number)
                    if group:
                        yield from self._planner.plan_siblings(group)
                places = yield NeedValue(self.gathered(dependency))
                draft.refer_to_slot(dependency, places[dependency.output])

    def _list(self, node: GatherNode) -> Generator[Step, Any, list[SlotRange]]:
        ranges = self._lists.get(node)
        if ranges is None:
            if not self._planner.counted(node):
                self._planner.count(node, ALWAYS)
            column = yield from self.drain(node.source)
            ranges = self._lists[node] = yield from self._few(column, node)
        return ranges

    def resolve_value(self, draft: Draft, value: Any, node: Node) -> Generator[Step, Any, None]:
        """Find the places of what one value depends on."""
        if not is_scalar(value):
            yield from self.resolve(draft, find_dependencies(value), node)

    def resolve_fixed(self, draft: Draft, node: Any) -> Generator[Step, Any, None]:
        """Find the places of what the fixed arguments of a collection operation depend on."""
        yield from self.resolve_value(draft, node.fixed, node)

    def resolve_items(
        self, draft: Draft, columns: Sequence[Sequence[PlanPiece]], node: Node
    ) -> Generator[Step, Any, None]:
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
    ) -> Generator[Step, Any, list[PlanPiece]]:
        """A column in which local items that hold lazy values are replaced by their values."""
        evaluated: list[PlanPiece] = []
        for piece in column:
            if isinstance(piece, LocalItems) and self._emitter.holds_references(piece.values):
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
            self._planner.count(gathered, ALWAYS)
        return gathered

    def _few(
        self, column: Sequence[PlanPiece], node: Node
    ) -> Generator[Step, Any, list[SlotRange]]:
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
    ) -> Generator[Step, Any, SlotRange]:
        """A task that copies slots, errors and all, into one result."""
        draft = self._emitter.draft()
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

    # --- values ---------------------------------------------------------------------------------


def node_of(source: Source) -> Node:
    """The node behind a source."""
    return source if isinstance(source, SourceNode) else source.node


def sparse(source: Source) -> bool:
    """Whether some items of a collection may be absent."""
    node = node_of(source)
    return isinstance(node, CollectionNode) and node.sparse
