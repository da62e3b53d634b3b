"""What the kinds of nodes plan with: one of each tool, for one plan."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from armoflow import config
from armoflow.codec.payload import Operation
from armoflow.graph.arguments import find_dependencies
from armoflow.graph.base_task import BaseTask
from armoflow.graph.nodes import CallNode, Node
from armoflow.orchestrator.codebook import CodeBook
from armoflow.orchestrator.planned import SlotRange
from armoflow.orchestrator.planning import dynamic
from armoflow.orchestrator.planning.call_arguments import CallArguments
from armoflow.orchestrator.planning.chunks import Planning
from armoflow.orchestrator.planning.emitter import Emitter
from armoflow.orchestrator.planning.fusing import Fusion
from armoflow.orchestrator.planning.plan_core import Core
from armoflow.orchestrator.planning.plan_settings import PlanSettings, Surroundings
from armoflow.orchestrator.planning.resolver import Resolver
from armoflow.orchestrator.planning.siblings import Siblings
from armoflow.orchestrator.planning.subgraphs import Subgraphs
from armoflow.orchestrator.sizes import AdaptiveSizer, BatchSizer, FixedSizer


class PlanContext:
    """The tools of one plan.

    Args:
        core: Plans values and collections that are asked for.
        book: The code that was sent already.
        settings: Defaults and sizes.
        owner: The plan, to recognise its tasks.

    Attributes:
        arguments: Pickles arguments.
        emitter: Makes tasks.
        fusion: Finds chains that become one task.
        siblings: Finds calls that share one.
        subgraphs: Finds trees of calls that become one task.
        resolver: Finds the places of what a task needs.
    """

    def __init__(self, core: Core, book: CodeBook, settings: PlanSettings, owner: object) -> None:
        self.core = core
        self.settings = settings
        self.arguments = CallArguments(book.data)
        self.emitter = Emitter(book, settings, owner)
        self.fusion = Fusion(core, settings.rules, self.arguments)
        self.siblings = Siblings(core, self.emitter, self.arguments, self.fusion)
        self.subgraphs = Subgraphs(core, self.emitter, self.arguments, self.fusion)
        self.resolver = Resolver(core, self.emitter, self.arguments, self.siblings)
        self._sizers: list[BatchSizer] = []

    @property
    def surroundings(self) -> Surroundings:
        """What the graph refers to."""
        return self.arguments.surroundings

    def close(self) -> None:
        """The plan is at its end."""
        self.core.close()
        for sizer in self._sizers:
            sizer.finish()
        self._sizers.clear()
        self.resolver.clear()
        self.siblings.clear()
        self.subgraphs.clear()
        self.emitter.clear()
        self.arguments.clear()

    def find_demand(self, nodes: Iterable[Node]) -> None:
        """Find out what of the graph is to be made: all of these nodes is asked for."""
        self.resolver.mix(self.core.find_demand(nodes, self.surroundings.taken.get))

    def call(
        self,
        node: Node,
        function: BaseTask[Any, Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Planning:
        """One task that calls a function."""
        draft = self.arguments.draft()
        is_call = isinstance(node, CallNode)
        dependencies = node.dependencies if is_call else find_dependencies((args, kwargs))
        yield from self.resolver.resolve(draft, dependencies, node)
        outputs = yield from self.emitter.emit(
            node,
            Operation.CALL,
            draft,
            function=function,
            arguments=(
                self.arguments.of_call(draft, node)
                if isinstance(node, CallNode)
                else self.arguments.pickle(draft, function, args, kwargs)
            ),
            sizer=self.siblings.sizer([node]) if isinstance(node, CallNode) else None,
            outputs=[self.core.result(node, output) for output in range(function.outputs)],
            spent=self.core.spent(node),
        )
        return [SlotRange(result, 0, 1) for result in outputs]

    def expand(self, node: Node) -> Planning:
        """One task that builds a dynamic collection once its values are there."""
        return (yield from self.call(node, dynamic.expand, (dynamic.describe(node),), {}))

    def sizer(self, node: Node, length: int | None, *, measured: bool) -> BatchSizer:
        """How many items of a node each of its tasks takes; ``measured`` if it is told of them."""
        settings = self.settings
        size = settings.rules.of(node).batch_size
        if size is not None:
            return FixedSizer(size)
        patience = settings.patience if measured else 0.0
        packing, workers = settings.packing, settings.workers_of(node)
        # A few workers have even shares, however short these are.
        least = packing.least if workers > config.PROBES else 0.0
        sizer = AdaptiveSizer(workers, length, packing.target, patience, least)
        self._sizers.append(sizer)
        return sizer
