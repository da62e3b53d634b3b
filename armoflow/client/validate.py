"""Checks of a whole graph before anything of it is sent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from armoflow.errors import SubmissionError
from armoflow.graph.nodes import CollectionNode, Node, SourceNode
from armoflow.options import TaskOptions


class Survey(NamedTuple):
    """What a graph is made of.

    Attributes:
        settled: It can be planned without reading an iterator of the user's, which may wait.
        only_calls: It has no collections: its plan never waits for measurements.
    """

    settled: bool
    only_calls: bool


def check_graph(
    values: Sequence[Any], defaults: TaskOptions, partitions: Sequence[str], max_priority: int
) -> Survey:
    """Check partitions and priorities of all nodes that the values need.

    An engine does not check them for each task: a task in a partition that nobody serves would
    wait for ever (ArmoniK.Core, GrpcTasksService).

    Returns:
        What was found.

    Raises:
        SubmissionError: If a partition is unknown or a priority too high.
    """
    checked: dict[int, TaskOptions] = {}
    settled = only_calls = True
    stack: list[Node] = [value.node for value in values]
    seen: set[Node] = set(stack)
    while stack:
        node = stack.pop()
        if id(node.options) not in checked:
            checked[id(node.options)] = node.options
            _check(node, node.options.over(defaults), partitions, max_priority)
        for upstream in node.inputs:
            if upstream not in seen:
                seen.add(upstream)
                stack.append(upstream)
        if isinstance(node, CollectionNode):
            only_calls = False
            if isinstance(node, SourceNode) and not node.settled:
                settled = False
    return Survey(settled, only_calls)


def _check(node: Node, options: TaskOptions, partitions: Sequence[str], max_priority: int) -> None:
    if options.partition is not None and options.partition not in partitions:
        raise SubmissionError(
            f"task {node.name!r} asks for partition {options.partition!r}, which this engine does "
            f"not have: it has {', '.join(map(repr, partitions)) or 'none'}"
        )
    if options.priority is not None and options.priority > max_priority:
        raise SubmissionError(
            f"task {node.name!r} asks for priority {options.priority}, but the engine's queues go "
            f"up to {max_priority}: lower it, or say Client(max_priority=...) if they allow more"
        )
