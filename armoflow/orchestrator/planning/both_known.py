"""What two know of one graph: a run of what has ended under its name, and a cache."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from armoflow.graph.nodes import CollectionNode, Node
from armoflow.orchestrator.planning.chunks import Chunk, split
from armoflow.orchestrator.planning.known import Begun, Found, Known, KnownItems, Scattered


class BothKnown:
    """Asks the first, and the second for what that does not know; see :class:`Known`.

    Args:
        first: It.
        second: The other.
    """

    def __init__(self, first: Known, second: Known) -> None:
        self._first = first
        self._second = second
        self._scattered: dict[CollectionNode, Scattered | None] = {}

    def find(self, node: Node) -> Found | None:
        """What one of them knows of a node that makes single values."""
        return self._first.find(node) or self._second.find(node)

    def find_items(self, node: CollectionNode) -> Begun | None:
        """What one of them knows of a collection, as a whole."""
        return self._first.find_items(node) or self._second.find_items(node)

    def find_scattered(self, node: CollectionNode) -> Scattered | None:
        """What they know of others together."""
        if node not in self._scattered:
            first = self._first.find_scattered(node) or ()
            second = self._second.find_scattered(node) or ()
            self._scattered[node] = merged(first, second) or None
        return self._scattered[node]

    def spent(self, node: Node) -> int:
        """Attempts that one of them knows of."""
        return self._first.spent(node) or self._second.spent(node)


def merged(first: Scattered, second: Scattered) -> list[KnownItems]:
    """The items that are in either; those of the first where both have them.

    Example:
        >>> def run(start: int, length: int) -> KnownItems:
        ...     return KnownItems(start, [], length)
        >>> [(r.start, r.length) for r in merged([run(2, 2)], [run(0, 3), run(3, 5)])]
        [(0, 2), (2, 2), (4, 4)]
    """
    runs = list(first)
    at = 0
    for run in second:
        while at < len(first) and first[at].start + first[at].length <= run.start:
            at += 1
        runs.extend(_without(run, first, at))
    return sorted(runs, key=lambda run: run.start)


def _without(run: KnownItems, others: Sequence[KnownItems], first: int) -> Iterator[KnownItems]:
    """What is left of a run without the items of others, of which the first ones come before it."""
    for number in range(first, len(others)):
        other = others[number]
        end, other_end = run.start + run.length, other.start + other.length
        if other.start >= end:
            break
        if other.start > run.start:
            yield _cut(run, 0, other.start - run.start)
        if other_end >= end:
            return
        run = _cut(run, other_end - run.start, run.length)
    yield run


def _cut(run: KnownItems, start: int, stop: int) -> KnownItems:
    _, rest = split(Chunk(run.columns, run.length), start)
    kept, _ = split(rest, stop - start)
    return KnownItems(run.start + start, kept.columns, stop - start)
