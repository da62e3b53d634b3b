"""The keys of a graph's nodes, made of their inputs' keys: all of them before anything runs.

An item of a map has the key of the call that it is: the same whether it was called alone or as one
of a million, and whatever tasks they travel in. A whole collection has a key of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from armoflow.cache.call_keys import Arguments
from armoflow.cache.collection_keys import Columns, output_key, rule_of, sources_of
from armoflow.cache.environment_key import make_environment
from armoflow.cache.key_parts import KeyParts
from armoflow.cache.told import tell, tell_shared
from armoflow.cache.walk import NoKey, digest_of, is_plain, text_digest
from armoflow.errors import UnkeyableError
from armoflow.graph.collection import DelayedList
from armoflow.graph.delayed import Delayed
from armoflow.graph.nodes import (
    MISSING,
    CallNode,
    CollectionNode,
    FilterNode,
    FoldNode,
    ItemNode,
    MapNode,
    Node,
    ReduceNode,
    SliceNode,
    Source,
    SourceNode,
    source_node,
)
from armoflow.graph.stepwise import IterateNode
from armoflow.policies import CachePolicy


class NodeKey(NamedTuple):
    """What a node's value is known by.

    Attributes:
        digest: The key: 32 bytes. Of a node of several outputs, of all of them together.
        policy: What it was made by.
    """

    digest: bytes
    policy: CachePolicy


class Keys:
    """Makes the keys of one graph: each node's once.

    What is known of values and code is remembered, so it is for one plan: what changes while it is
    used is not seen.

    Args:
        policy_of: Says what holds for a node, from all the options that do.
        environment: What keys say of where code runs; see :func:`make_environment`.
        references: What references of some types stand for: a digest of their content. They may
            raise :class:`UnkeyableError`.

    Example:
        >>> from armoflow.graph.task import task
        >>> from armoflow.policies import make_policy
        >>> double = task(lambda number: 2 * number, name="double")
        >>> keys = Keys(lambda node: make_policy(True))
        >>> single = keys.of(double(2).node)
        >>> single.digest == list(keys.items(double.map([1, 2, 3]).node))[1]
        True
    """

    def __init__(
        self,
        policy_of: Callable[[Node], CachePolicy],
        *,
        environment: Mapping[str, str] | None = None,
        references: Mapping[type, Callable[[Any], bytes]] | None = None,
    ) -> None:
        rules: dict[type, Callable[[Any], bytes]] = {
            Delayed: self._delayed,
            DelayedList: self._delayed_list,
            **(references or {}),
        }
        environment = make_environment() if environment is None else environment
        self._arguments = Arguments(policy_of, environment, rules)
        self._columns = Columns(self._arguments)
        self._digests: dict[Node, bytes] = {}

    def of(self, node: Node) -> NodeKey | None:
        """The key of a node, of a collection as a whole; None if its values are not kept.

        Raises:
            UnkeyableError: If something that it needs has no key; names the task and the argument.
        """
        policy = self._arguments.policy_of(node)
        if not policy.enabled:
            return None
        self._prepare(node, whole=True)
        return None if self.replaces(node) else NodeKey(self._digests[node], policy)

    def replaces(self, node: Node) -> bool:
        """Whether a node calls a task whose code says ``on_failure=`` of what it may return.

        Nobody knows then whether its value was made without a failure; it is not kept.
        """
        code = self._arguments.called(node).code if hasattr(node, "task") else None
        return code is not None and code.replaces

    def items(self, node: CollectionNode) -> Iterator[bytes] | None:
        """The keys of the items of a map, or of the calls of a filter's task; in order.

        An item of a map has the key of the call that it is. Those of slots that may be absent have
        one, too. None if the items are known only when the graph runs, are no calls, or not kept.

        Raises:
            UnkeyableError: As :meth:`of`, at once or when the item comes.
        """
        if not isinstance(node, (MapNode, FilterNode)):
            return None
        self._prepare(node, whole=False)
        unknown = self._columns.is_dynamic(node) or self.replaces(node)
        return None if unknown else self._items(node)

    def _items(self, node: MapNode | FilterNode) -> Iterator[bytes]:
        try:
            if isinstance(node, FilterNode):
                yield from self._columns.calls(node)
            else:
                yield from self._columns.rows(node)
        except NoKey as error:
            raise _unkeyable(node, error) from error.__cause__

    def parts(self, node: Node, index: int | None = None) -> KeyParts:
        """What a key was made of, to be kept beside the value and told by.

        Args:
            node: A node that calls a task.
            index: Of a map or filter, the item whose key it is; None: of the whole.
        """
        self._prepare(node, whole=index is None)
        return tell(node, index, self._arguments, self._columns, self._source)

    def shared_parts(self, node: Node) -> KeyParts:
        """What the keys of all calls of a node have in common, whichever item they are of.

        Of what is read item by item, only the name is told: the digest is empty.
        """
        if not isinstance(node, (MapNode, FilterNode)):
            return self.parts(node)
        self._prepare(node, whole=False)
        return tell_shared(node, self._arguments)

    # --- in order ---------------------------------------------------------------------------------

    def _prepare(self, node: Node, *, whole: bool) -> None:
        """Make the digests of all that a node needs, then its own; or get its items ready."""
        todo = [(node, whole)]
        while todo:  # a loop, because a chain may be longer than Python's stack
            node, whole = todo[-1]
            missing = []
            if not self._is_done(node, whole):
                missing = [need for need in _needs(node, whole) if not self._is_done(*need)]
            if missing:
                todo.extend(reversed(missing))
                continue
            todo.pop()
            reader = todo[-1][0] if todo and isinstance(node, SourceNode) else node
            try:
                self._finish(node, whole)
            except NoKey as error:
                raise _unkeyable(reader, error) from error.__cause__

    def _is_done(self, node: Node, whole: bool) -> bool:
        return node in self._digests if whole else self._columns.is_open(node)

    def _finish(self, node: Node, whole: bool) -> None:
        if self._is_done(node, whole):
            return
        if whole:
            self._digests[node] = self._make(node)
        else:
            self._columns.open(node)

    # --- as a whole -------------------------------------------------------------------------------

    def _make(self, node: Node) -> bytes:
        if isinstance(node, CallNode):
            called = self._arguments.called(node)
            return called.key(self._arguments.of(called, node.args, node.kwargs))
        if isinstance(node, ItemNode):
            return self._columns.at(node.source, node.index)
        if isinstance(node, SourceNode):
            return self._of_source(node)
        kind = type(node).__name__.encode()
        return digest_of(kind, b"\0", *self._operation(node))

    def _operation(self, node: Any) -> Iterator[bytes]:
        """What a collection operation is, and what it reads."""
        sources = map(self._source, sources_of(node))
        if isinstance(node, SliceNode):
            yield text_digest("slice", *map(str, (node.start, node.stop, node.step)))
        elif isinstance(node, (ReduceNode, FoldNode)):
            called = self._arguments.called(node)
            fan_in = node.fan_in if isinstance(node, ReduceNode) else 0
            yield called.head
            yield text_digest("fan_in", str(fan_in))
            if "inputs" not in called.policy.keyed:
                return
            if node.initial is not MISSING:
                yield self._arguments.one("initial", node.initial)
        elif isinstance(node, IterateNode):
            called = self._arguments.called(node)
            yield rule_of(node)
            yield called.key(self._arguments.of(called, (), node.fixed))
        elif isinstance(node, (MapNode, FilterNode)):
            called = self._arguments.called(node)
            yield text_digest("star", str(isinstance(node, MapNode) and node.star))
            yield called.key(self._arguments.of(called, (), node.fixed))
        yield from sources

    def _of_source(self, node: SourceNode) -> bytes:
        value: Any = node.iterable
        if type(value) is tuple:
            value = list(value)
        if is_plain(value) if type(value) is list else _says_all(value):
            return digest_of(b"source", self._arguments.values.of(value))
        return digest_of(b"items", *self._columns.rows(node))

    def _source(self, source: Source) -> bytes:
        if isinstance(source, SourceNode):
            return self._digests[source]
        return output_key(self._digests[source.node], source.node, source.output)

    def _delayed(self, value: Delayed[Any]) -> bytes:
        return self._source(value)

    def _delayed_list(self, value: DelayedList[Any]) -> bytes:
        """It arrives as a list, as what gather() gives."""
        return digest_of(b"GatherNode\0", self._source(value))


def _says_all(iterable: Any) -> bool:
    """Whether an iterable's own key says what all its items are."""
    return type(iterable) in (range, str, bytes) or type(iterable).__name__ == "ndarray"


def _needs(node: Node, whole: bool) -> Iterator[tuple[Node, bool]]:
    """The nodes that must be ready before one, and whether as a whole or item by item."""
    by_item = isinstance(node, ItemNode) or not whole
    for source in sources_of(node):
        below = source_node(source)
        yield below, not (by_item and isinstance(below, CollectionNode))
    if isinstance(node, SourceNode):
        yield from ((reference.node, True) for reference in node.dependencies)
    elif not isinstance(node, (ItemNode, SliceNode)):  # there it is the source again
        yield from ((reference.node, True) for reference in node.arguments)


def _unkeyable(node: Node, error: NoKey) -> UnkeyableError:
    return UnkeyableError(f"task {node.name!r}: {error.reason}")
