"""Estimates what a graph takes, from what calls of its tasks have taken; nothing of it is read."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from armoflow.estimate import Estimate, TaskEstimate
from armoflow.graph.nodes import CallNode, FoldNode, Node, ReduceNode, source_node
from armoflow.graph.stepwise import IterateNode
from armoflow.index import Measured
from armoflow.orchestrator.caching.uncached import CALLING, calls_of
from armoflow.orchestrator.pack_sizes import PackSizer
from armoflow.orchestrator.planning.dynamic import sources_of
from armoflow.orchestrator.planning.plan_settings import PlanSettings


class _Kind:
    """The calls of one task."""

    def __init__(self, measured: Measured) -> None:
        self.measured = measured
        self.calls = self.to_run = self.engine_tasks = 0


class Estimator:
    """Estimates one graph.

    Args:
        settings: What calls have taken in this client, and how they are packed.
        to_run: How many calls of a node are to run.
        earlier: What calls of a task took in earlier runs, by its name.
    """

    def __init__(
        self,
        settings: PlanSettings,
        to_run: Callable[[Node], int],
        earlier: Callable[[str], Measured],
    ) -> None:
        self._settings = settings
        self._to_run = to_run
        self._earlier = earlier
        self._kinds: dict[str, _Kind] = {}
        self._ends: dict[Node, float] = {}
        self._largest = 0.0

    def estimate(self, nodes: Sequence[Node]) -> Estimate:
        """What the nodes of a graph take, each of them after all that it reads."""
        for node in nodes:
            before = max((self._ends[below] for below in node.inputs), default=0.0)
            self._ends[node] = before + (self._add(node) if isinstance(node, CALLING) else 0.0)
        tasks = [self._told(name, kind) for name, kind in self._kinds.items()]
        path = max(self._ends.values(), default=0.0)
        workers = self._settings.workers
        return Estimate(tasks, path, workers, workers * self._largest)

    def _add(self, node: Any) -> float:
        """Count a node's calls; returns the seconds from its first to its last."""
        kind = self._kind(node)
        calls, left = _calls(node), self._to_run(node)
        left = calls if left and isinstance(node, (ReduceNode, FoldNode)) else left
        kind.calls += calls
        kind.to_run += left
        if not left:
            return 0.0
        each = kind.measured.seconds or 0.0
        if isinstance(node, (CallNode, FoldNode)):
            kind.engine_tasks += 1
        elif isinstance(node, ReduceNode):
            kind.engine_tasks += math.ceil(left / (node.fan_in - 1))
        else:
            kind.engine_tasks += self._packs(node, left, kind.measured)
        inputs = [self._kinds.get(below.name) for below in node.inputs]
        sizes = [found.measured.size or 0.0 for found in inputs if found is not None]
        self._largest = max(self._largest, (kind.measured.size or 0.0) + sum(sizes))
        return each * _depth(node, left)

    def _kind(self, node: Any) -> _Kind:
        kind = self._kinds.get(node.name)
        if kind is None:
            measured = self._earlier(node.name)
            lately = self._settings.paces.of(node.task.function)
            if lately is not None:
                measured = measured._replace(seconds=lately)
            kind = self._kinds[node.name] = _Kind(measured)
        return kind

    def _packs(self, node: Node, calls: int, measured: Measured) -> int:
        """How many engine tasks so many calls are, packed as they would be."""
        size = self._settings.rules.of(node).batch_size
        if not isinstance(size, int):
            if measured.seconds is None:
                return calls
            sizer = PackSizer(self._settings.workers, self._settings.packing)
            sizer.measured(calls, calls * measured.seconds)
            sizer.weighed(1, int(measured.size or 0))
            size = sizer.next(calls)
        return math.ceil(calls / max(size, 1))

    def _told(self, name: str, kind: _Kind) -> TaskEstimate:
        known = kind.calls - kind.to_run
        return TaskEstimate(name, kind.calls, known, kind.engine_tasks, *kind.measured)


def _calls(node: Node) -> int:
    """How often a node calls its task."""
    if isinstance(node, (ReduceNode, FoldNode)):
        return max(_items(node) - 1, 1)
    return calls_of(node)


def _items(node: Node) -> int:
    """How many items a reduction has, as far as that is known."""
    (source,) = sources_of(node)
    return getattr(source_node(source), "length", None) or 2


def _depth(node: Node, calls: int) -> int:
    """How many calls of a node come one after the other, however many workers there are."""
    if isinstance(node, FoldNode):
        return calls
    if isinstance(node, ReduceNode):
        levels = math.ceil(math.log(max(_items(node), 2), node.fan_in))
        return levels * (node.fan_in - 1)
    if isinstance(node, IterateNode):
        return node.steps
    return 1
