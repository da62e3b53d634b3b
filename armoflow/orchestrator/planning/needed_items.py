"""Which items of the collections of a graph somebody needs, told before any is planned or found.

Readers are asked before what they read, so each node is asked once, with all that is needed of it:
what it reads itself follows from what is known of it by then.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeAlias

from armoflow.graph.arguments import find_dependencies
from armoflow.graph.nodes import (
    CollectionNode,
    FilterNode,
    ItemNode,
    MapNode,
    Node,
    SliceNode,
    SourceNode,
    ZipNode,
    source_node,
)
from armoflow.orchestrator.planning.item_ranges import (
    ALL,
    ItemRanges,
    behind_slice,
    first_of,
    joined,
)

Need: TypeAlias = "tuple[Node, ItemRanges]"
"""A node, and which of its items are needed; of a single value, all."""

_IN_ORDER = (list, tuple, set, frozenset, dict)


class NeededItems:
    """What is needed of each node of one graph.

    Args:
        reads: The nodes that one may read, whatever is needed of it.
        ask: What some nodes need, of which more is needed than before, given all that is; none of
            them reads another.
    """

    def __init__(
        self,
        reads: Callable[[Node], Iterable[Node]],
        ask: Callable[[Mapping[Node, ItemRanges]], Iterable[Need]],
    ) -> None:
        self._reads = reads
        self._ask = ask
        self._needed: dict[Node, ItemRanges] = {}

    def of(self, node: Node) -> ItemRanges:
        """What is needed of a node."""
        return self._needed.get(node, ())

    def whole(self, node: Node) -> bool:
        """Whether all of a node is needed."""
        return self.of(node) == _all_of(node)

    def add(self, roots: Iterable[Node]) -> list[Node]:
        """All of some nodes is needed; returns those of which more is needed than before."""
        more: defaultdict[Node, list[ItemRanges]] = defaultdict(list)
        for root in roots:
            more[root].append(ALL)
        reads = self._all_reads(more)
        waiting = Counter(node for below in reads.values() for node in below)
        grown: list[Node] = []
        ready = [node for node in reads if not waiting[node]]
        while ready:
            wave: dict[Node, ItemRanges] = {}
            for node in ready:
                items = self._grown(node, more.pop(node, ()))
                if items is not None:
                    wave[node] = self._needed[node] = items
            grown += wave
            for node, items in self._ask(wave):
                more[node].append(items)
            below = [node for reader in ready for node in reads[reader]]
            waiting.subtract(below)
            ready = [node for node in dict.fromkeys(below) if not waiting[node]]
        for node in +waiting:  # it needs itself: planning says so
            self._needed[node] = ALL
        others = [node for node in more if node not in reads]
        if others:  # a list has other lazy values in it than when they were counted
            grown += self.add(others)
        return grown

    def _all_reads(self, roots: Iterable[Node]) -> dict[Node, Iterable[Node]]:
        reads: dict[Node, Iterable[Node]] = {}
        stack = [*roots]
        while stack:
            node = stack.pop()
            if node not in reads:
                below = reads[node] = dict.fromkeys(self._reads(node))
                stack.extend(below)
        return reads

    def _grown(self, node: Node, more: Iterable[ItemRanges]) -> ItemRanges | None:
        """What is needed of a node now, if that is more than before."""
        before = self.of(node)
        length = node.length if isinstance(node, CollectionNode) else None
        items = first_of(joined([before, *more]), length)
        return None if items == before else items


def needed_behind(
    node: Node, items: ItemRanges, held: Iterable[Any] | None = None
) -> Iterator[Need]:
    """What is needed to make some of a node's items.

    Args:
        node: It.
        items: Which of them; of a single value, all.
        held: The items of a local iterable, where these are not what it has now.
    """
    if not items:
        return
    if isinstance(node, SliceNode):
        yield node.source.node, behind_slice(node.positions, items)
    elif isinstance(node, ItemNode):
        yield node.source.node, _item(node)
    elif isinstance(node, SourceNode):
        for reference in _lazy_items(node, items, held):
            yield reference.node, ALL
    elif isinstance(node, (MapNode, FilterNode, ZipNode)):
        sources = (node.source,) if isinstance(node, FilterNode) else node.sources
        for below in map(source_node, sources):
            yield below, items if isinstance(below, CollectionNode) else ALL
        for reference in node.arguments:
            yield reference.node, ALL
    else:
        for below in node.inputs:
            yield below, ALL


def _item(node: ItemNode) -> ItemRanges:
    if node.source.node.length is None:
        return ALL
    return (range(node.index, node.index + 1),)


def _all_of(node: Node) -> ItemRanges:
    return first_of(ALL, node.length) if isinstance(node, CollectionNode) else ALL


def _lazy_items(node: SourceNode, items: ItemRanges, held: Iterable[Any] | None) -> Iterable[Any]:
    """The lazy values in some items of a local iterable, where these can be told."""
    values = node.iterable if held is None else held
    if not node.dependencies or items == _all_of(node) or not isinstance(values, _IN_ORDER):
        return node.dependencies
    each = [*values]
    return find_dependencies([each[part.start : part.stop] for part in items])
