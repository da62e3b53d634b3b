"""What the values of a named run are known by: the keys of a cache, of every node."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from armoflow.cache.node_keys import Keys
from armoflow.cache.walk import digest_of
from armoflow.graph.collection import DelayedList
from armoflow.graph.delayed import Delayed
from armoflow.graph.nodes import CollectionNode, FilterNode, MapNode, Node
from armoflow.options import TaskOptions, merge_options
from armoflow.orchestrator.planning import dynamic
from armoflow.policies import CachePolicy, make_policy

_KEPT_ITEMS = -1
"""In place of an output's number: what a filter leaves is its source's item."""


ValueKey = tuple[bytes, int]
"""The key of a node, and which of its outputs; -1: what a filter leaves."""


class KeyedNode(NamedTuple):
    """What the values of a node are known by.

    Attributes:
        items: The keys of its calls: of a single value, one.
        outputs: The numbers of its outputs.
    """

    items: Sequence[bytes]
    outputs: Sequence[int]


class RunKeys:
    """The keys of one graph, whatever its tasks say of caching; what they ignore counts.

    Args:
        base: What holds where a task says nothing.
        references: What futures and ``put`` references stand for, by type.
    """

    def __init__(
        self, base: TaskOptions, references: dict[type, Callable[[Any], bytes]] | None = None
    ) -> None:
        self._base = base
        self._keys = Keys(self._policy_of, references=references)
        self._known: dict[Node, KeyedNode | None] = {}

    def root(self, value: Delayed[Any] | DelayedList[Any]) -> bytes:
        """The key of the node that makes a value.

        Raises:
            UnkeyableError: If an argument has no key; names it.
        """
        key = self._keys.of(value.node)
        assert key is not None  # all are enabled
        return key.digest

    def graph(self, value: Delayed[Any] | DelayedList[Any]) -> bytes:
        """The key of what is asked for.

        Raises:
            UnkeyableError: If an argument has no key; names it.
        """
        kind = b"one" if isinstance(value, Delayed) else b"all"
        return digest_of(b"run", kind, value.output.to_bytes(4, "big"), self.root(value))

    def of(self, node: Node) -> KeyedNode | None:
        """What a node's values are known by; None: it has none of its own, or only as it runs."""
        if node not in self._known:
            self._known[node] = self._make(node)
        return self._known[node]

    def skipping(self, node: Node) -> Sequence[ValueKey]:
        """The values of a node in whose place there may be nothing, because something failed."""
        keyed = self.of(node) if isinstance(node, MapNode) and node.sparse else None
        if keyed is None:
            return ()
        return [(key, output) for key in keyed.items for output in keyed.outputs]

    def _make(self, node: Node) -> KeyedNode | None:
        if not isinstance(node, CollectionNode):
            key = self._keys.of(node)
            assert key is not None
            return KeyedNode([key.digest], range(node.outputs))
        if not isinstance(node, (MapNode, FilterNode)) or dynamic.is_dynamic(node):
            return None
        items = self._keys.items(node)
        if items is None:
            return None
        kept = isinstance(node, FilterNode)
        return KeyedNode(list(items), (_KEPT_ITEMS,) if kept else range(node.outputs))

    def _policy_of(self, node: Node) -> CachePolicy:
        options = merge_options(node.options, self._base)
        policy = make_policy(options.cache or True, version=options.version, ignore=options.ignore)
        return policy.declaring(options.requirements or (), node.options.env or ())
