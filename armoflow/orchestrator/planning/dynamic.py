"""Collections over a value that is known only when the graph runs.

``f.map(delayed_list)`` cannot be planned by the client, which does not know how many items there
are. So everything from that value up to the next single value (a reduce, a gather, an item) goes
into one task as a description; that task gets the value, builds the collection from it, and returns
it, and so expands into children.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeAlias

from armoflow.errors import CollectionError
from armoflow.graph import collection
from armoflow.graph.collection import DelayedList
from armoflow.graph.delayed import Delayed
from armoflow.graph.nodes import (
    MISSING,
    CollectionNode,
    FilterNode,
    FoldNode,
    GatherNode,
    ItemNode,
    MapNode,
    Node,
    ReduceNode,
    SliceNode,
    Source,
    SourceNode,
    ZipNode,
)
from armoflow.graph.rearranging import From
from armoflow.graph.stepwise import IterateNode
from armoflow.graph.task import task
from armoflow.options import as_block

Description: TypeAlias = "tuple[Any, ...]"


_OF_ONE = (FilterNode, SliceNode, ReduceNode, FoldNode, GatherNode, ItemNode, IterateNode)


def sources_of(node: Node) -> tuple[Source, ...]:
    """The collections that a node reads."""
    if isinstance(node, (MapNode, ZipNode)):
        return tuple(node.sources)
    if isinstance(node, _OF_ONE):
        return (node.source,)
    return ()


def is_dynamic(node: Node) -> bool:
    """Whether a node reads, directly or through collections, a value known only at run time."""
    stack = [node]
    seen = {node}
    while stack:
        for source in sources_of(stack.pop()):
            if isinstance(source, Delayed):
                return True
            upstream = source if isinstance(source, SourceNode) else source.node
            if upstream not in seen:
                seen.add(upstream)
                stack.append(upstream)
    return False


def describe(node: Node) -> Description:
    """A node over a dynamic collection as plain tuples, for the task that will build it.

    Each is a kind, the block in which the node was made, and what that kind needs.
    """
    block = node.block
    if isinstance(node, ReduceNode):
        initial = () if node.initial is MISSING else (node.initial,)
        return ("reduce", block, node.task, _source(node.source), node.fan_in, initial)
    if isinstance(node, FoldNode):
        initial = () if node.initial is MISSING else (node.initial,)
        return ("fold", block, node.task, _source(node.source), initial)
    if isinstance(node, ItemNode):
        return ("item", block, _source(node.source), node.index)
    if isinstance(node, GatherNode):
        return ("gather", block, _source(node.source))
    raise TypeError(f"{node!r} is not a single value over a collection")


def _source(source: Source) -> Description:
    if isinstance(source, Delayed):
        return ("value", None, source)
    node = source if isinstance(source, SourceNode) else source.node
    if isinstance(node, SourceNode):
        if isinstance(node.iterable, From):
            return ("value", None, node.iterable)
        if node.length is None:
            raise CollectionError(
                f"{node.name!r} has an unknown length and is combined with a value known only "
                "when the graph runs: make it a list first, with list()"
            )
        return ("value", None, list(node.open()))
    if not is_dynamic(node):
        return ("value", None, source)
    output = source.output if isinstance(source, DelayedList) else 0
    return (*_collection(node), output)


def _collection(node: CollectionNode) -> Description:
    block = node.block
    if isinstance(node, MapNode):
        sources = [_source(source) for source in node.sources]
        return ("map", block, node.task, sources, node.fixed, node.star)
    if isinstance(node, FilterNode):
        return ("filter", block, node.task, _source(node.source), node.fixed)
    if isinstance(node, ZipNode):
        return ("zip", block, [_source(source) for source in node.sources], node.strict)
    if isinstance(node, IterateNode):
        how = {"neighbours": node.neighbours, "steps": node.steps, "wrap": node.wrap}
        return ("iterate", block, node.task, _source(node.source), how | node.fixed)
    if isinstance(node, SliceNode):
        raise CollectionError(
            f"a slice of {node.name!r} needs its length, known only when the graph runs"
        )
    raise TypeError(f"{node!r} is not a collection")


@task(name="expand")
def expand(description: Description) -> Any:
    """Build what a description says, now that its values are here."""
    return _build(description)


def _build(description: Description) -> Any:
    kind, block, *rest = description
    with as_block(block):
        return _build_kind(kind, rest)


def _build_kind(kind: str, rest: list[Any]) -> Any:
    if kind == "value":
        value = rest[0]
        return value if isinstance(value, (DelayedList, list, From)) else list(value)
    if kind == "map":
        function, sources, fixed, star, output = rest
        built = _map(function, [_build(source) for source in sources], fixed, star)
        return built[output] if isinstance(built, tuple) else built
    if kind == "filter":
        function, source, fixed, _ = rest
        return collection.items(_build(source)).filter(function, **fixed)
    if kind == "iterate":
        function, source, how, _ = rest
        return function.iterate(_build(source), **how)
    if kind == "zip":
        return collection.zip_items(*map(_build, rest[0]), strict=rest[1])
    return _build_value(kind, rest)


def _map(function: Any, sources: Iterable[Any], fixed: dict[str, Any], star: bool) -> Any:
    if star:
        return function.starmap(*sources, **fixed)
    return function.map(*sources, **fixed)


def _build_value(kind: str, rest: list[Any]) -> Any:
    if kind == "reduce":
        function, source, fan_in, initial = rest
        options = {"initial": initial[0]} if initial else {}
        return collection.items(_build(source)).reduce(function, fan_in=fan_in, **options)
    if kind == "fold":
        function, source, initial = rest
        options = {"initial": initial[0]} if initial else {}
        return collection.items(_build(source)).fold(function, **options)
    if kind == "item":
        source, index = rest
        return collection.items(_build(source))[index]
    if kind == "gather":
        built = _build(rest[0])
        return built.gather() if isinstance(built, DelayedList) else built
    raise TypeError(f"unknown description {kind!r}")
