"""The keys of the items of collections, one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any, Final

from armoflow.cache.call_keys import Arguments
from armoflow.cache.fingerprints import placed
from armoflow.cache.walk import NoKey, digest_of, text_digest
from armoflow.graph.collection import DelayedList
from armoflow.graph.delayed import Delayed
from armoflow.graph.nodes import (
    FilterNode,
    MapNode,
    Node,
    SliceNode,
    Source,
    SourceNode,
    ZipNode,
    source_node,
)
from armoflow.graph.stepwise import IterateNode

_DEEPEST: Final = 50
"""Collections that read one another item by item, each on Python's stack; the next one is kept."""


def sources_of(node: Node) -> tuple[Source, ...]:
    """What a node reads item by item, or as a collection."""
    sources = getattr(node, "sources", None)
    if sources is not None:
        return tuple(sources)
    source = getattr(node, "source", None)
    return () if source is None else (source,)


def rule_of(node: IterateNode) -> bytes:
    """How cells change, but for what the task does."""
    return text_digest("iterate", *map(str, (node.steps, node.wrap, *node.neighbours)))


def output_key(key: bytes, node: Node, output: int) -> bytes:
    """The key of one output of a node, or of an item of it."""
    return key if node.outputs == 1 else digest_of(b"output", key, output.to_bytes(4, "big"))


def _output_of(source: DelayedList[Any] | Delayed[Any], key: bytes) -> bytes:
    return output_key(key, source.node, source.output)


class Columns:
    """Reads the items of the collections of one graph.

    A collection is opened after those that it reads.

    Args:
        arguments: Makes the digests of what is given.
    """

    def __init__(self, arguments: Arguments) -> None:
        self._arguments = arguments
        self._depths: dict[Node, int] = {}
        self._kept: dict[Node, list[bytes]] = {}
        self._begun: dict[Node, tuple[list[bytes], Iterator[bytes]]] = {}
        self._dynamic: set[Node] = set()

    def open(self, node: Node) -> None:
        """Get ready to read a collection."""
        below = [source_node(source) for source in sources_of(node)]
        if any(isinstance(source, Delayed) for source in sources_of(node)) or any(
            source in self._dynamic for source in below
        ):
            self._dynamic.add(node)
        depth = 1 + max((self._depths.get(source, 0) for source in below), default=0)
        if depth > _DEEPEST and node not in self._dynamic:
            self._kept[node] = list(self._rows(node))
            depth = 0
        self._depths[node] = depth

    def is_open(self, node: Node) -> bool:
        """Whether it is ready."""
        return node in self._depths

    def is_dynamic(self, node: Node) -> bool:
        """Whether its items are known only when the graph runs."""
        return node in self._dynamic

    def calls(self, node: MapNode | FilterNode) -> Iterator[bytes]:
        """The keys of the calls for each item.

        Raises:
            NoKey: If one has none.
        """
        called = self._arguments.called(node)
        fixed = self._arguments.of(called, (), node.fixed)
        sources = (node.source,) if isinstance(node, FilterNode) else node.sources
        if isinstance(node, MapNode) and node.star:
            for row in self._starred(node.sources[0]):
                named = dict(zip(called.names(len(row)), row, strict=True))
                counted = {name: key for name, key in named.items() if called.counts(name)}
                yield called.key(counted | fixed)
        else:
            rows = zip(*map(self.column, sources), strict=False)
            yield from called.key_rows(called.names(len(sources)), rows, fixed)

    def column(self, source: Source) -> Iterator[bytes]:
        """The keys of the items of one output."""
        if isinstance(source, SourceNode):
            return self.rows(source)
        node = source.node
        if node.outputs > 1:
            return (_output_of(source, key) for key in self.rows(node))
        return self.rows(node)

    def rows(self, node: Node) -> Iterator[bytes]:
        """The keys of the items of a collection: of a map, of their calls."""
        kept = self._kept.get(node)
        return self._rows(node) if kept is None else iter(kept)

    def at(self, source: Source, index: int) -> bytes:
        """The key of one item; those before it are kept."""
        node = source_node(source)
        kept, rest = self._begun.setdefault(node, ([], self.rows(node)))
        kept.extend(islice(rest, max(0, index + 1 - len(kept))))
        return kept[index] if isinstance(source, SourceNode) else _output_of(source, kept[index])

    def _rows(self, node: Any) -> Iterator[bytes]:
        if isinstance(node, SourceNode):
            yield from self._items(node)
        elif isinstance(node, MapNode):
            yield from self.calls(node)
        elif isinstance(node, FilterNode):  # what it leaves are its source's items
            yield from self.column(node.source)
        elif isinstance(node, IterateNode):  # each cell may come of all others
            called = self._arguments.called(node)
            fixed = called.key(self._arguments.of(called, (), node.fixed))
            whole = digest_of(b"iterate", fixed, rule_of(node), *self.column(node.source))
            yield from (digest_of(whole, b"%d" % place) for place in range(node.length or 0))
        elif isinstance(node, ZipNode):
            for row in zip(*map(self.column, node.sources), strict=False):
                yield digest_of(b"zip", *row)
        elif isinstance(node, SliceNode):
            keys = list(islice(self.column(node.source), max(node.positions, default=-1) + 1))
            yield from (keys[position] for position in node.positions)

    def _items(self, node: SourceNode) -> Iterator[bytes]:
        of = self._arguments.values.of
        for index, value in enumerate(_read(node)):
            try:
                yield of(value)
            except NoKey as error:  # noqa: PERF203 - it says which item
                raise _of_item(node, index, error) from error.__cause__

    def _starred(self, source: Source) -> Iterator[tuple[bytes, ...]]:
        """The digests of the arguments that are in each item; of others, one for them all."""
        node = source_node(source)
        if isinstance(node, ZipNode):
            yield from zip(*map(self.column, node.sources), strict=False)
        elif isinstance(node, SourceNode):
            of = self._arguments.values.of
            for index, value in enumerate(_read(node)):
                try:
                    spread = isinstance(value, (list, tuple))
                    yield tuple(map(of, value)) if spread else (digest_of(b"star", of(value)),)
                except NoKey as error:  # noqa: PERF203 - the same
                    raise _of_item(node, index, error) from error.__cause__
        else:
            yield from ((digest_of(b"star", key),) for key in self.column(source))


def _read(node: SourceNode) -> Iterator[Any]:
    if node.once:
        raise NoKey(
            f"the {type(node.iterable).__name__} given to map() or items() can be read only once, "
            "and keys are made before anything runs: give list(...) of it"
        )
    return iter(node.iterable)


def _of_item(node: SourceNode, index: int, error: NoKey) -> NoKey:
    return NoKey(f"item {index} of {node.name!r}{placed(error)}")
