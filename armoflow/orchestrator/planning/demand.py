"""What of a graph a plan is to make: what is needed, but for what is known."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from armoflow.graph.delayed import Delayed
from armoflow.graph.nodes import (
    CollectionNode,
    FoldNode,
    ItemNode,
    MapNode,
    Node,
    ReduceNode,
    SliceNode,
    ZipNode,
    source_node,
)
from armoflow.orchestrator.planned import SlotRange
from armoflow.orchestrator.planning.item_ranges import ALL, ItemRanges, without
from armoflow.orchestrator.planning.known import (
    NOTHING,
    Known,
    KnownItems,
    Partial,
    Scattered,
    Unneeded,
)
from armoflow.orchestrator.planning.needed_items import Need, NeededItems, needed_behind


class Demand:
    """What is to be made of one graph.

    Args:
        known: The values that exist already.
        partials: Gives what a reduction has made already, of some of its items each.
        held: Gives the items of a local iterable where these were taken out of it.
    """

    def __init__(
        self,
        known: Known,
        partials: Callable[[Node], Sequence[Partial]],
        held: Callable[[Node], Iterable[Any] | None],
    ) -> None:
        self._known = known
        self._partials = partials
        self._held = held
        self._needs = NeededItems(self._reads, self._ask)
        self._passed_over: dict[CollectionNode, Scattered] = {}

    def add(self, nodes: Iterable[Node]) -> list[Node]:
        """All of some nodes is asked for; returns those of which more is needed than before."""
        grown = self._needs.add(nodes)
        for node in grown:
            self._passed_over.pop(node, None)  # type: ignore[call-overload]
        return grown

    def is_whole(self, node: Node) -> bool:
        """Whether all of a node is needed."""
        return self._needs.whole(node)

    def is_needed(self, node: Node) -> bool:
        """Whether somebody needs a node, or an item of it."""
        return bool(self._needs.of(node))

    def missing(self, node: CollectionNode) -> ItemRanges:
        """The items of a collection that are to be made: needed, and not known."""
        if self._known.find_items(node) is not None:
            return ()
        known = self._known.find_scattered(node) or ()
        return without(self._needs.of(node), map(_range_of, known))

    def passed_over(self, node: CollectionNode) -> Scattered:
        """The items of a map or a filter that are not to be made: known, or of no use."""
        found = self._passed_over.get(node)
        if found is None:
            known = self._known.find_scattered(node) or ()
            unneeded = without(self._unneeded(node), map(_range_of, known))
            nowhere = Unneeded(node.name)
            runs = [*known, *(_nowhere(items, nowhere, node.outputs) for items in unneeded)]
            found = self._passed_over[node] = sorted(runs, key=lambda run: run.start)
        return found

    def _unneeded(self, node: CollectionNode) -> ItemRanges:
        needed = self._needs.of(node)
        length = node.length
        if length is None:  # whoever reads it to its end may come to more
            length = needed[-1].stop if needed else 0
        return without((range(length),), needed)

    # --- what reads what ------------------------------------------------------------------------

    def _reads(self, node: Node) -> Iterable[Node]:
        if isinstance(node, CollectionNode):
            begun = self._known.find_items(node)
            if begun is not None:
                entries = _lazy(begun.columns)
                return entries if begun.rest is None else [*entries, begun.rest]
        else:
            found = self._known.find(node)
            if found is not None:
                return _lazy([found])
        return node.inputs

    def _ask(self, wave: Mapping[Node, ItemRanges]) -> Iterator[Need]:
        for node, items in wave.items():
            if isinstance(node, CollectionNode):
                yield from self._behind_items(node, items)
            elif (found := self._known.find(node)) is not None:
                yield from ((below, ALL) for below in _lazy([found]))
            elif isinstance(node, (ReduceNode, FoldNode)):
                yield from self._behind_reduction(node)
            else:
                yield from needed_behind(node, items)

    def _behind_items(self, node: CollectionNode, items: ItemRanges) -> Iterator[Need]:
        begun = self._known.find_items(node)
        if begun is None:
            known = self._known.find_scattered(node) or ()
            missing = without(items, map(_range_of, known))
            yield from needed_behind(node, missing, self._held(node))
            return
        yield from ((below, ALL) for below in _lazy(begun.columns))
        if begun.rest is not None:
            made = len(begun.columns[0])
            left = without(items, [range(made)])
            yield begun.rest, tuple(range(r.start - made, r.stop - made) for r in left)

    def _behind_reduction(self, node: ReduceNode | FoldNode) -> Iterator[Need]:
        """What was made of some items takes their place, from the first on that it begins with."""
        longest = {one.start: one for one in sorted(self._partials(node), key=_stop)}
        made: list[range] = []
        for start in sorted(longest):
            if start >= (made[-1].stop if made else 0) and (start == 0 or not _is_fold(node)):
                made.append(range(start, longest[start].stop))
        source = source_node(node.source)
        for below, items in needed_behind(node, ALL):
            yield below, without(items, made) if below is source else items


def demand_of(nodes: Iterable[Node], known: Known = NOTHING) -> Demand:
    """What is to be made of a graph that is not planned: all of some nodes is asked for.

    Example:
        >>> from armoflow import task
        >>> found = task(abs).map(range(100))
        >>> demand_of([found[90:95].node]).missing(found.node)
        (range(90, 95),)
    """
    demand = Demand(known, lambda node: (), lambda node: None)
    demand.add(nodes)
    return demand


def reads_some(node: Node) -> bool:
    """Whether there may be items of a collection that a reader does not look at."""
    if isinstance(node, (MapNode, ZipNode)):
        lengths = {getattr(source_node(source), "length", None) for source in node.sources}
        return len(lengths) > 1
    return isinstance(node, (SliceNode, ItemNode))


def _lazy(columns: Iterable[Iterable[SlotRange | Delayed[Any]]]) -> list[Node]:
    return [entry.node for column in columns for entry in column if isinstance(entry, Delayed)]


def _range_of(run: KnownItems) -> range:
    return range(run.start, run.start + run.length)


def _nowhere(items: range, nowhere: Unneeded, outputs: int) -> KnownItems:
    places = [[SlotRange(nowhere, items.start, items.stop)] for _ in range(outputs)]
    return KnownItems(items.start, places, len(items))  # type: ignore[arg-type]


def _stop(partial: Partial) -> int:
    return partial.stop


def _is_fold(node: Node) -> bool:
    return isinstance(node, FoldNode)
