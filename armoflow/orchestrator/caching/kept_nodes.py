"""Which nodes of a graph have their values kept, by which policy, and what these are known by."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

from armoflow.cache.key_parts import Argument, KeyParts
from armoflow.cache.node_keys import Keys
from armoflow.graph.nodes import CallNode, CollectionNode, FilterNode, Node
from armoflow.options import TaskOptions, cache_policy, merge_options
from armoflow.orchestrator.caching.uncached import KEPT
from armoflow.orchestrator.planning import dynamic
from armoflow.policies import NOT_CACHED, CachePolicy

_KEPT_ITEMS = -1
"""In place of an output's number: what a filter leaves is its source's item."""


class KeptNode(NamedTuple):
    """A node whose values are kept.

    Attributes:
        items: The keys of its calls: of a single value, one.
        outputs: The numbers of its outputs.
        policy: What holds for it.
    """

    items: Sequence[bytes]
    outputs: Sequence[int]
    policy: CachePolicy


class KeptNodes:
    """The nodes of one graph whose values are kept.

    Args:
        base: What holds where a task says nothing.
        references: What futures and ``put`` references stand for, by type.

    Attributes:
        unsure: Nodes that read what may stand for a failure: nothing of them is kept.
    """

    def __init__(self, base: TaskOptions, references: dict[type, Callable[[Any], bytes]]) -> None:
        self.unsure: Collection[Node] = ()
        self._base = base
        self._keys = Keys(self.policy_of, references=references)
        self._kept: dict[Node, KeptNode] = {}
        self._parts: dict[Node, KeyParts] = {}

    def __contains__(self, node: Node) -> bool:
        return node in self._kept

    def __getitem__(self, node: Node) -> KeptNode:
        return self._kept[node]

    def get(self, node: Node) -> KeptNode | None:
        """What a node is known by, if that was asked for and it is kept."""
        return self._kept.get(node)

    def key(self, node: Node) -> KeptNode | None:
        """What a node is known by, if it is kept.

        Raises:
            UnkeyableError: If an argument has no key; names it.
        """
        known = self._kept.get(node)
        if known is None and self.policy_of(node).enabled:
            known = self._make_key(node)
            if known is not None:
                self._kept[node] = known
        return known

    def _make_key(self, node: Node) -> KeptNode | None:
        policy = self.policy_of(node)
        if isinstance(node, CollectionNode):
            items = self._keys.items(node)
            if items is None:
                return None
            kept = isinstance(node, FilterNode)
            outputs = (_KEPT_ITEMS,) if kept else tuple(range(node.outputs))
            return KeptNode(list(items), outputs, policy)
        key = self._keys.of(node)
        return None if key is None else KeptNode([key.digest], range(node.outputs), policy)

    def policy_of(self, node: Node) -> CachePolicy:
        """Whether and how a node's values are kept."""
        if not isinstance(node, KEPT) or (
            not isinstance(node, CallNode) and dynamic.is_dynamic(node)
        ):
            return NOT_CACHED
        if node in self.unsure:
            return NOT_CACHED
        own = node.options
        return cache_policy(merge_options(own, self._base), own.env)

    def is_unsure(self, node: Node) -> bool:
        """Whether a value that would be kept may be made of what stands for a failure."""
        if node in self.unsure:
            return True
        return self.policy_of(node).enabled and self._keys.replaces(node)

    def parts_of(self, node: Node) -> KeyParts:
        """What a node's keys are made of."""
        parts = self._parts.get(node)
        if parts is None:
            parts = self._parts[node] = self._keys.shared_parts(node)
        return parts

    def arguments(self, node: CollectionNode, item: int) -> dict[str, Argument]:
        """What the key of one item has of its arguments."""
        return dict(self._keys.parts(node, item).arguments)
