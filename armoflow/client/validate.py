"""Checks of a whole graph before anything of it is sent."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from armoflow.client.future import Future
from armoflow.client.inquiry import Inquiry
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
from armoflow.graph.stepwise import IterateNode
from armoflow.options import TaskOptions, merge_options
from armoflow.orchestrator.planning.drafts import External
from armoflow.orchestrator.planning.plan_settings import Surroundings
from armoflow.placement import Limits

if TYPE_CHECKING:
    from armoflow.client.client import Client
    from armoflow.codec.payload import Pickled


_STEADY = ATOMS - {bytearray, memoryview}
_PLAIN = _STEADY | {Delayed, DelayedList}


class Survey:
    """Looks at each node of a graph while what it needs is counted, before anything is sent.

    An engine does not check partitions for each task: a task in one that nobody serves would wait
    for ever (ArmoniK.Core, GrpcTasksService).

    Args:
        client: Whose futures and ``put`` references may be arguments.
        defaults: What holds where a node's options say nothing.
        limits: Partitions and priorities that the session has.

    Attributes:
        pending: Futures in its arguments that are not done.
        changing: The user may change an argument of a call.
        containers: Sources of items that the user may change.
        once: It reads an iterator, and so cannot be planned a second time.
        cached: Values are kept for later runs, or taken from earlier ones.
        inquiry: What was found when they were looked for.
    """

    def __init__(self, client: Client, defaults: TaskOptions, limits: Limits) -> None:
        self.pending: list[Future[Any]] = []
        self.changing = False
        self.once = False
        self.cached = False
        self.inquiry: Inquiry | None = None
        self.containers: list[SourceNode] = []
        self._client = client
        self._defaults = defaults
        self._limits = limits
        self._checked: dict[int, TaskOptions] = {}
        self._settled = self._only_calls = True

    @property
    def settled(self) -> bool:
        """Whether it can be planned without waiting for an iterator of the user's or a future."""
        return self._settled and not self.pending

    @property
    def only_calls(self) -> bool:
        """Whether it has no collections: its plan never waits for measurements."""
        return self._only_calls and not self.pending

    def surroundings(
        self, external: External, pickled: dict[Node, Pickled] | None = None
    ) -> Surroundings:
        """What the graph refers to, as it is now: the caller goes on while it is planned."""
        taken: dict[Node, Iterable[Any]] = {node: node.take() for node in self.containers}
        return Surroundings(external, copy=True, taken=taken, pickled=pickled or {})

    def visit(self, node: Node) -> None:
        """Look at one node.

        Raises:
            SubmissionError: If a partition is unknown or a priority too high.
            ForeignReferenceError: If an argument is a future or ``put`` reference of another
                client.
        """
        checked = self._checked
        for options in (node.options, node.block):  # a block's are for the graph that is returned
            if options is not None and id(options) not in checked:
                checked[id(options)] = options
                merged = merge_options(options, self._defaults)
                self._limits.check(node.name, merged)
                self.cached = self.cached or bool(merged.cache)
        own = arguments(node)
        if not _PLAIN.issuperset(map(type, own)):
            self.changing = self.changing or _may_change(own)
            self._check_references(own)
        if isinstance(node, CollectionNode):
            self._only_calls = False
            if isinstance(node, SourceNode):
                self._settled = self._settled and node.settled
                self.once = self.once or node.once
                if node.changing:
                    self.containers.append(node)

    def _check_references(self, values: Iterable[Any]) -> None:
        for reference in references(values):
            check_owner(reference, self._client)
            if isinstance(reference, Future) and not reference.done():
                self.pending.append(reference)


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
    if isinstance(node, (MapNode, FilterNode, IterateNode)):
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
        kind = type(part)  # whatever the value says that it is: a mock may claim to be a list
        if issubclass(kind, (Future, Put)):
            yield part
            continue
        inside: Iterable[Any] = ()
        if issubclass(kind, (list, tuple, set, frozenset)):
            inside = part
        elif issubclass(kind, dict):
            inside = [*part, *part.values()]
        elif hasattr(kind, "__dataclass_fields__"):
            inside = [getattr(part, field.name, None) for field in dataclasses.fields(part)]
        if id(part) not in seen and not ATOMS.issuperset(map(type, inside)):
            seen.add(id(part))
            stack.extend(inner for inner in inside if type(inner) not in ATOMS)
