"""The planner: a lazy graph becomes a stream of tasks, depth first, so that the first runs at once.

Here the parts come together: the core, the kinds of nodes, the tools that they plan with.
Collections are planned chunk by chunk (see ``chunks``), so a million items need neither a million
nodes nor a finished plan before the first result.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import Any, Final, Protocol

from armoflow import config
from armoflow.graph.collection import DelayedList
from armoflow.graph.delayed import Delayed
from armoflow.graph.nodes import (
    CallNode,
    FilterNode,
    FoldNode,
    GatherNode,
    ItemNode,
    MapNode,
    Node,
    ReduceNode,
    SliceNode,
    SourceNode,
    ZipNode,
)
from armoflow.graph.stepwise import IterateNode
from armoflow.orchestrator.codebook import CodeBook
from armoflow.orchestrator.constant import Constant
from armoflow.orchestrator.planned import PlannedTask, PlanPiece, Result
from armoflow.orchestrator.planning import dynamic
from armoflow.orchestrator.planning.chunks import NeedValue, Planning
from armoflow.orchestrator.planning.kinds.begun import BegunCollections
from armoflow.orchestrator.planning.kinds.call import CallKind
from armoflow.orchestrator.planning.kinds.filter import FilterKind
from armoflow.orchestrator.planning.kinds.fold import FoldKind
from armoflow.orchestrator.planning.kinds.gather import GatherKind
from armoflow.orchestrator.planning.kinds.item import ItemKind
from armoflow.orchestrator.planning.kinds.iterate import IterateKind
from armoflow.orchestrator.planning.kinds.map import MapKind
from armoflow.orchestrator.planning.kinds.reduce import ReduceKind
from armoflow.orchestrator.planning.kinds.slice import SliceKind
from armoflow.orchestrator.planning.kinds.source import SourceKind
from armoflow.orchestrator.planning.kinds.zip import ZipKind
from armoflow.orchestrator.planning.known import NOTHING, Begun, Known, Partial
from armoflow.orchestrator.planning.plan_context import PlanContext
from armoflow.orchestrator.planning.plan_core import Core, NodeKind
from armoflow.orchestrator.planning.plan_settings import PlanSettings, Surroundings

KINDS: Final[Mapping[type[Node | Begun], Callable[[PlanContext], NodeKind]]] = {
    CallNode: CallKind,
    ItemNode: ItemKind,
    GatherNode: GatherKind,
    ReduceNode: ReduceKind,
    FoldNode: FoldKind,
    SourceNode: SourceKind,
    MapNode: MapKind,
    FilterNode: FilterKind,
    ZipNode: ZipKind,
    SliceNode: SliceKind,
    IterateNode: IterateKind,
    Begun: BegunCollections,
}
"""What plans each kind of node."""


class Target(Protocol):
    """Who asked for a value or a collection: told where it will be."""

    value: Delayed[Any] | DelayedList[Any]

    def place(self, column: Sequence[PlanPiece], whole: bool) -> None:
        """Some items (``whole``: the one value) will be here, in order."""

    def seal(self) -> None:
        """That was all."""

    def fail(self, error: BaseException) -> None:
        """It cannot be planned: an iterator raised, an argument cannot be pickled."""


class Planner:
    """Plans one graph for a client, or for a task that returned it.

    Args:
        book: The code that was sent already.
        settings: Defaults and sizes.
        known: The values that exist already.
    """

    def __init__(self, book: CodeBook, settings: PlanSettings, known: Known = NOTHING) -> None:
        self._core = Core(self._make_kind, known)
        self._context = PlanContext(self._core, book, settings, self)

    def _make_kind(self, node_type: type[Node | Begun]) -> NodeKind:
        return KINDS[node_type](self._context)

    @property
    def surroundings(self) -> Surroundings:
        """What the graph may refer to."""
        return self._context.surroundings

    @surroundings.setter
    def surroundings(self, surroundings: Surroundings) -> None:
        self._context.arguments.surroundings = surroundings

    @property
    def stuck(self) -> Sequence[Node]:
        """The nodes that it was at when an error ended a plan, each for the one before it."""
        return self._core.stuck

    def tell(self, made: Callable[[Node, int, Sequence[Sequence[PlanPiece]]], None]) -> None:
        """Have one more told where all will be that is planned; see :class:`Core`."""
        self._core.on_made.append(made)

    def tell_combined(self, combined: Callable[[Node, Partial], None]) -> None:
        """Have one more told what reductions make of some of their items; see :class:`Core`."""
        self._core.on_combined.append(combined)

    def begin_with(self, partials: Callable[[Node], Sequence[Partial]]) -> None:
        """Go on with what reductions have made already; see :class:`Core`."""
        self._core.partials = partials

    def bind(self, value: Delayed[Any], result: Result) -> None:
        """Let the task that makes a value write it to this result, where that is possible."""
        self._core.bind(value, result)

    def want(
        self,
        values: Sequence[Delayed[Any] | DelayedList[Any]],
        visit: Callable[[Node], None] | None = None,
    ) -> None:
        """Count what the values need, before they are planned.

        Args:
            values: What will be asked for.
            visit: Called once with each node.
        """
        for value in values:
            self._core.count(value.node, visit=visit)
            self._context.emitter.wanted.add(value.node)
            if isinstance(value.node, ItemNode):
                self._context.emitter.wanted.add(value.node.source.node)

    def plan(self, targets: Sequence[Target]) -> Generator[PlannedTask | Constant, None, None]:
        """Plan the targets one after the other; all of them were wanted, or none.

        Yields:
            Tasks, each after those that make its inputs, and constants, each before the tasks
            that use it.
        """
        siblings, run = self._context.siblings, self._core.run
        values = [target.value for target in targets]
        try:
            if not self._context.emitter.wanted:
                self.want(values)
            self._context.find_demand([value.node for value in values])
            for number, target in enumerate(targets):
                try:
                    group = siblings.group(values, number)
                    if group:
                        yield from run(siblings.plan(group))
                    yield from run(self._plan_target(target))
                except (GeneratorExit, KeyboardInterrupt):  # noqa: PERF203 - one per target
                    raise
                except BaseException as error:  # an iterable of the user's may raise anything
                    target.fail(error)
        finally:
            self._context.close()

    def copy(
        self, pieces: Sequence[PlanPiece], node: Node, result: Result
    ) -> Iterator[PlannedTask | Constant]:
        """Plan one more task, that copies slots into an existing result."""
        return self._core.run(self._context.resolver.gather(pieces, node, result))

    def release(self) -> None:
        """Nothing more is planned: its parts let go of each other, so that no collection need."""
        self._core.release()
        self._context.emitter.release()

    def _plan_target(self, target: Target) -> Planning:
        value, resolver = target.value, self._context.resolver
        if isinstance(value, DelayedList) and not dynamic.is_dynamic(value.node):
            reader = resolver.reader(value)
            while (chunk := (yield from reader.chunk(config.MAXIMUM_INPUTS))) is not None:
                column = yield from resolver.single(chunk, value.node)
                target.place((yield from resolver.evaluate(column, value.node)), False)
        else:
            output = 0 if isinstance(value, DelayedList) else value.output
            places = yield NeedValue(resolver.gathered(value))
            target.place([places[output]], True)
        target.seal()
