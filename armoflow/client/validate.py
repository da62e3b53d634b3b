"""Checks of a whole graph before anything of it is sent."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from armoflow.client.future import Future
from armoflow.client.put import Put, check_owner
from armoflow.graph.arguments import ATOMS
from armoflow.graph.collection import DelayedList
from armoflow.graph.delayed import Delayed
from armoflow.graph.nodes import (
    CallNode,
    CollectionNode,
    FilterNode,
    FoldNode,
    MapNode,
    Node,
    ReduceNode,
    SourceNode,
)
from armoflow.options import Limits, TaskOptions, merge_options

if TYPE_CHECKING:
    from armoflow.client.client import Client


_STEADY = ATOMS - {bytearray, memoryview}


class Survey(NamedTuple):
    """What a graph is made of.

    Attributes:
        settled: It can be planned without waiting for an iterator of the user's or a future.
        only_calls: It has no collections: its plan never waits for measurements.
        pending: Futures in its arguments that are not done.
        changing: The user may change an argument of a call.
        containers: Sources of items that the user may change.
    """

    settled: bool
    only_calls: bool
    pending: Sequence[Future[Any]]
    changing: bool
    containers: Sequence[SourceNode]


def check_graph(
    values: Sequence[Any],
    client: Client,
    defaults: TaskOptions,
    limits: Limits,
) -> Survey:
    """Check partitions, priorities and references of all nodes that the values need.

    An engine does not check them for each task: a task in a partition that nobody serves would
    wait for ever (ArmoniK.Core, GrpcTasksService).

    Returns:
        What was found.

    Raises:
        SubmissionError: If a partition is unknown or a priority too high.
        ForeignReferenceError: If an argument is a future or ``put`` reference of another client.
    """
    checked: dict[int, TaskOptions] = {}
    settled = only_calls = True
    changing = False
    containers: list[SourceNode] = []
    pending: list[Future[Any]] = []
    stack: list[Node] = [value.node for value in values]
    seen: set[Node] = set(stack)
    while stack:
        node = stack.pop()
        for options in (node.options, node.block):  # a block's are for the graph that is returned
            if options is not None and id(options) not in checked:
                checked[id(options)] = options
                limits.check(node.name, merge_options(options, defaults))
        own = arguments(node)
        if not _STEADY.issuperset(map(type, own)):
            changing = changing or _may_change(own)
            for reference in references(own):
                check_owner(reference, client)
                if isinstance(reference, Future) and not reference.done():
                    pending.append(reference)
        for upstream in node.inputs:
            if upstream not in seen:
                seen.add(upstream)
                stack.append(upstream)
        if isinstance(node, CollectionNode):
            only_calls = False
            if isinstance(node, SourceNode):
                settled = settled and node.settled
                if node.changing:
                    containers.append(node)
    waits = bool(pending)
    return Survey(settled and not waits, only_calls and not waits, pending, changing, containers)


def _may_change(values: Iterable[Any]) -> bool:
    """Whether the user may change one of some values, at any depth."""
    pending = [values]
    seen: set[int] = set()
    while pending:
        for value in pending.pop():
            kind = type(value)
            if kind in (tuple, frozenset):
                if id(value) not in seen:
                    seen.add(id(value))
                    pending.append(value)
            elif kind not in _STEADY and kind not in (Delayed, DelayedList, Future, Put):
                return True
    return False


def arguments(node: Node) -> Iterable[Any]:
    """What of a node's arguments can be looked into before it is planned."""
    if isinstance(node, CallNode):
        return (*node.args, *node.kwargs.values()) if node.kwargs else node.args
    if isinstance(node, (MapNode, FilterNode)):
        return tuple(node.fixed.values())
    if isinstance(node, (ReduceNode, FoldNode)):
        return (node.initial,)
    if isinstance(node, SourceNode) and node.settled:
        return (node.iterable,)
    return ()


def references(value: Any) -> Iterator[Any]:
    """The futures and ``put`` references in containers, to any depth."""
    stack = [value]
    seen: set[int] = set()
    while stack:
        part = stack.pop()
        if isinstance(part, (Future, Put)):
            yield part
            continue
        inside: Iterable[Any] = ()
        if isinstance(part, (list, tuple, set, frozenset)):
            inside = part
        elif isinstance(part, dict):
            inside = [*part, *part.values()]
        elif hasattr(type(part), "__dataclass_fields__"):
            inside = [getattr(part, field.name, None) for field in dataclasses.fields(part)]
        if inside and id(part) not in seen and not ATOMS.issuperset(map(type, inside)):
            seen.add(id(part))
            stack.extend(inner for inner in inside if type(inner) not in ATOMS)
