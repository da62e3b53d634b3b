"""How single values are planned: calls, items, and collections folded into one value.

A reduction is a tree that grows while its input is still being planned: each level holds fewer
entries than one combining task takes, so memory is logarithmic in the length, combining starts
early, and the order of the items is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any

from armoflow import config
from armoflow.codec.payload import Operation, Pickled
from armoflow.graph.delayed import Delayed
from armoflow.graph.nodes import (
    MISSING,
    CallNode,
    FoldNode,
    GatherNode,
    ItemNode,
    Node,
    ReduceNode,
)
from armoflow.orchestrator import builtins, dynamic, fusing
from armoflow.orchestrator.chunks import Planning, Step
from armoflow.orchestrator.drafts import is_local
from armoflow.orchestrator.inputs import node_of, sparse
from armoflow.orchestrator.planned import PlanPiece, Result, SlotRange
from armoflow.orchestrator.sizes import BatchSizer

if TYPE_CHECKING:
    from armoflow.orchestrator.plan import Planner

PACKED_FAN_IN = 16
"""Partial values that one task combines where tasks run whole batches anyway."""


def plan_call(planner: Planner, node: CallNode) -> Planning:
    """A call is one task, together with the calls before it that only it needs."""
    chain = fusing.chain_of_calls(planner, node)
    if len(chain) > 1:
        return (yield from fusing.emit_calls(planner, chain))
    return (yield from planner.call(node, node.task, node.args, node.kwargs))


def plan_item(planner: Planner, node: ItemNode) -> Planning:
    """An item is a slot of the task that runs it."""
    if dynamic.is_dynamic(node):
        return (yield from _expand(planner, node))
    return (yield from planner.item(node))


def plan_gather(planner: Planner, node: GatherNode) -> Planning:
    """A collection's values as one list."""
    if dynamic.is_dynamic(node):
        return (yield from _expand(planner, node))
    return (yield from planner.call(node, builtins.identity, (Delayed(node),), {}))


def plan_reduce(planner: Planner, node: ReduceNode) -> Planning:
    """A tree of combining tasks."""
    if dynamic.is_dynamic(node):
        return (yield from _expand(planner, node))
    tree = _Tree(planner, node)
    column: list[PlanPiece]
    reader = planner.reader(node.source)
    sizer = _sizer(planner, node)
    position = 0
    while (chunk := (yield from reader.chunk(sizer.next(position)))) is not None:
        column = yield from planner.inputs.single_of(chunk, node.source)
        if chunk.length > 1 or is_local(column):
            yield from tree.add_batch(column, chunk.length)
        else:
            yield from tree.add([column[0]], 0)
        position += chunk.length
    return [(yield from tree.finish())]


def plan_fold(planner: Planner, node: FoldNode) -> Planning:
    """A chain of combining tasks, each over the value so far and the next batch."""
    if dynamic.is_dynamic(node):
        return (yield from _expand(planner, node))
    reader = planner.reader(node.source)
    sizer = _sizer(planner, node)
    combine = _Combine(planner, node)
    so_far: SlotRange | None = None
    position = 0
    while (chunk := (yield from reader.chunk(sizer.next(position)))) is not None:
        column = yield from planner.inputs.single_of(chunk, node.source)
        if so_far is None:
            so_far = yield from combine(column, initial=True)
        else:
            so_far = yield from combine([so_far, *column])
        position += chunk.length
    if so_far is None:
        so_far = yield from combine([], initial=True, final=True)
    elif sparse(node.source) and node.initial is MISSING:
        so_far = yield from combine([so_far], final=True)
    return [so_far]


def _sizer(planner: Planner, node: ReduceNode | FoldNode) -> BatchSizer:
    return planner.sizer(node, getattr(node_of(node.source), "length", None), measured=False)


def _expand(planner: Planner, node: Node) -> Planning:
    return (yield from planner.call(node, dynamic.expand, (dynamic.describe(node),), {}))


class _Combine:
    """Emits the combining tasks of one node."""

    def __init__(self, planner: Planner, node: ReduceNode | FoldNode) -> None:
        self._planner = planner
        self._node = node

    def __call__(
        self, column: list[PlanPiece], *, initial: bool = False, final: bool = False
    ) -> Generator[Step, Any, SlotRange]:
        planner, node = self._planner, self._node
        draft = planner.draft()
        arguments: Pickled | None = None
        if initial and node.initial is not MISSING:
            yield from planner.inputs.resolve_value(draft, node.initial, node)
            arguments = draft.dumps(node.initial, f"the initial value of {node.name!r}")
        yield from planner.inputs.resolve_items(draft, [column], node)
        result = planner.result(node) if final else Result(node.name)
        outputs = yield from planner.emit(
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


class _Tree:
    """The levels of a reduction; ``levels[0]`` holds the newest entries."""

    def __init__(self, planner: Planner, node: ReduceNode) -> None:
        self._combine = _Combine(planner, node)
        self._node = node
        self._sparse = sparse(node.source)
        self._levels: list[list[PlanPiece]] = []
        self._fan_in = node.fan_in

    def add_batch(self, column: list[PlanPiece], length: int) -> Generator[Step, Any, None]:
        """Add a batch: it is combined within before it is combined with others."""
        self._fan_in = max(self._node.fan_in, min(PACKED_FAN_IN, config.MAXIMUM_INPUTS))
        if length == 1:
            yield from self.add(column, 0)
        else:
            yield from self.add([(yield from self._combine(column))], 0)

    def add(self, entry: list[PlanPiece], level: int) -> Generator[Step, Any, None]:
        """Add one entry; full levels are combined into an entry of the next."""
        while True:
            if level == len(self._levels):
                self._levels.append([])
            entries = self._levels[level]
            entries.extend(entry)
            if len(entries) < self._fan_in:
                return
            self._levels[level] = []
            entry = [(yield from self._combine(entries))]
            level += 1

    def finish(self) -> Generator[Step, Any, SlotRange]:
        """Combine what the levels hold, the oldest (highest) first."""
        rest = [entry for level in reversed(self._levels) for entry in level]
        alone = rest[0] if len(rest) == 1 else None
        if isinstance(alone, SlotRange) and self._node.initial is MISSING and not self._sparse:
            return alone
        width = max(self._fan_in, 2)
        while len(rest) > width:
            # From the right: the newest entries stand for the fewest items.
            rest[-width:] = [(yield from self._combine(rest[-width:]))]
        return (yield from self._combine(rest, initial=True, final=True))


VALUES: dict[type[Node], Callable[[Planner, Any], Planning]] = {
    CallNode: plan_call,
    ItemNode: plan_item,
    GatherNode: plan_gather,
    ReduceNode: plan_reduce,
    FoldNode: plan_fold,
}
