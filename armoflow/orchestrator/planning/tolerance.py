"""Which tasks must leave error slots, so that one bad item of a batch does not stop the others.

A task whose input was aborted does not run at all. Where a task takes several items from several
tasks, none of these may end in error: their failures become error slots, which skip one item each.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from armoflow.graph.nodes import (
    FilterNode,
    ItemNode,
    MapNode,
    Node,
    SliceNode,
    Source,
    SourceNode,
    ZipNode,
    source_node,
)


def tolerated(node: Node, batch_size: int | None) -> Iterator[Node]:
    """The nodes whose failures become error slots because of what this node does with them.

    Args:
        node: Any node.
        batch_size: How many items its tasks take, where the user said so.
    """
    if isinstance(node, MapNode):
        sources: tuple[Source, ...] = node.sources
    elif isinstance(node, FilterNode):
        sources = (node.source,)
    elif isinstance(node, ZipNode):
        sources, batch_size = node.sources, None
    else:
        return
    if batch_size == 1:
        return
    # Otherwise a batch is what one task of the source made, and ends with it or not at all.
    mixed = len(sources) > 1 or batch_size is not None
    for source in map(source_node, sources):
        if isinstance(source, SourceNode):
            for item in source.inputs:
                yield from makers(item)
        elif mixed:
            yield from makers(source)


def behind(nodes: Iterable[MapNode | FilterNode]) -> Iterator[Node]:
    """The nodes that tasks may read of which each makes items from here and there of a collection.

    It may run the operations before as well (see ``fusing``), and read what the first one reads.

    Args:
        nodes: The collections.
    """
    stack: list[Node] = [*nodes]
    seen: set[Node] = set()
    while stack:
        node_before = stack.pop()
        if node_before in seen:
            continue
        seen.add(node_before)
        if isinstance(node_before, (MapNode, ZipNode)):
            sources = node_before.sources
        elif isinstance(node_before, FilterNode):
            sources = (node_before.source,)
        else:
            continue
        for source in map(source_node, sources):
            if not isinstance(source, SourceNode):
                stack.append(source)
                yield from makers(source)


def makers(node: Node) -> Iterator[Node]:
    """The nodes whose tasks make a node's values."""
    stack = [node]
    seen: set[Node] = set()
    while stack:
        node = stack.pop()
        if node in seen:
            continue
        seen.add(node)
        if isinstance(node, (ItemNode, SliceNode)):
            stack.append(node.source.node)
        elif isinstance(node, ZipNode):
            stack.extend(node.inputs)
        elif not isinstance(node, SourceNode):
            yield node
