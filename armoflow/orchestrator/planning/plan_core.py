"""The core of planning: who needs what, in which order, and how long a place is kept.

It knows no kind of node: a :class:`NodeKind` says of its own what they read, and plans them in
coroutines that ask for values and chunks (see ``chunks``). The core answers from an explicit stack,
so that a graph of any depth plans without recursion, counts the readers of each node, so that
nothing is kept longer than needed, and asks in one place what need not be made at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from armoflow.errors import GraphError
from armoflow.graph.collection import DelayedList
from armoflow.graph.delayed import Delayed
from armoflow.graph.nodes import CollectionNode, Node, SourceNode
from armoflow.orchestrator.constant import Constant
from armoflow.orchestrator.planned import PlannedTask, PlanPiece, Result, SlotRange
from armoflow.orchestrator.planning.chunks import (
    Chunk,
    ChunkStream,
    Cursor,
    NeedChunk,
    NeedValue,
    Planning,
)
from armoflow.orchestrator.planning.demand import Demand, reads_some
from armoflow.orchestrator.planning.known import Begun, Found, Known, Partial, Scattered

ALWAYS = 1 << 30
"""Reads of a node that is kept to the end of the plan."""


class NodeKind(Protocol):
    """How the nodes of one class are planned, in one plan."""

    def reads(self, node: Any) -> Iterable[tuple[Node, int]]:
        """What planning a node reads, and how often; asked once, before anything reads the node."""

    def plan(self, node: Any) -> Planning:
        """Plan a node: single values return their places, collections give chunks."""


class Core:
    """Plans what it is asked for, each node once.

    Args:
        make_kind: Gives the kind of a class of nodes, for this plan; and that of collections of
            which some items exist already.
        known: The values that exist already.

    Attributes:
        stuck: The nodes that it was at when an error ended a plan, each for the one before it.
        on_forget: Called with each node that nobody needs any more.
        on_made: Each is called with what was planned: a node, the position of the first of these
            items (0 for single values), and where they will be, by output.
        on_combined: Each is called with what a reduction will make of some of its items.
        partials: Gives what a reduction has made already, of some of its items each.
        demand: What of the graph is to be made; None: all of it.
    """

    def __init__(self, make_kind: Callable[[type[Node | Begun]], NodeKind], known: Known) -> None:
        self.stuck: list[Node] = []
        self.on_forget: Callable[[Node], None] = _nothing
        self.on_made: list[Callable[[Node, int, Sequence[Sequence[PlanPiece]]], None]] = []
        self.on_combined: list[Callable[[Node, Partial], None]] = []
        self.partials: Callable[[Node], Sequence[Partial]] = _no_partials
        self.demand: Demand | None = None
        self._make_kind = make_kind
        self._kinds: dict[type[Node | Begun], NodeKind] = {}
        self._known = known
        self._open: set[Node] = set()
        self._streams: dict[Node, ChunkStream] = {}
        self._values: dict[Node, list[SlotRange]] = {}
        self._failed: dict[Node, BaseException] = {}
        self._readers: dict[Node, int] = {}
        self._bound: dict[tuple[Node, int], Result] = {}
        self._is_partial = False

    def close(self) -> None:
        """Whatever was kept for readers that did not come is let go, and its data can be freed.

        So are the user's iterators.
        """
        for stream in self._streams.values():
            stream.generator.close()
        for kept in (self._values, self._streams, self._bound, self._readers, self._kinds):
            kept.clear()
        self.demand = None

    def release(self) -> None:
        """Nothing more is planned: whoever makes kinds, or is told, is not held any more."""
        self._kinds.clear()
        self.on_forget = _nothing
        self._make_kind = _no_kind

    # --- counting readers -----------------------------------------------------------------------

    def count(
        self, node: Node, reads: int = 1, visit: Callable[[Node], None] | None = None
    ) -> None:
        """Count how often each node will be read.

        Args:
            node: It, and what it needs.
            reads: How often it is read.
            visit: Called once with each node that was not counted before.
        """
        stack = [(node, reads)]
        while stack:
            node, reads = stack.pop()
            before = self._readers.get(node)
            if before is not None:
                self._readers[node] = before + reads
                continue
            self._readers[node] = reads
            if visit is not None:
                visit(node)
            self._is_partial = self._is_partial or reads_some(node)
            found = None
            if not isinstance(node, CollectionNode):
                found = self._known.find(node)
            elif self.begun(node) is None and self._known.find_scattered(node):
                self._is_partial = True
            if found is None:
                stack.extend(self._kind(node).reads(node))
            else:
                stack.extend((value.node, 1) for value in found if isinstance(value, Delayed))

    def find_demand(
        self, nodes: Iterable[Node], held: Callable[[Node], Iterable[Any] | None]
    ) -> Iterable[Node]:
        """Find out what is to be made, before anything is planned; see :class:`Demand`.

        Args:
            nodes: All of these is asked for.
            held: Gives the items of a local iterable where these were taken out of it.

        Returns:
            The nodes that somebody needs; none if that is each, and all of it.
        """
        if not self._is_partial and self.partials is _no_partials:
            return ()
        self.demand = Demand(self._known, self.partials, held)
        return self.demand.add(nodes)

    def count_late(self, node: Node) -> Iterable[Node]:
        """Count what the values in an item of an iterator need, of which others may read some.

        Where less was needed so far, and that is on its way, it is planned a second time.

        Returns:
            The nodes of which more is needed than before.
        """
        if node not in self._readers:
            self.count(node, ALWAYS)
        grown = () if self.demand is None else self.demand.add([node])
        for stream in [self._streams[grew] for grew in grown if grew in self._streams]:
            if not isinstance(stream.node, SourceNode):
                self._streams[stream.node] = self._new_stream(stream.node)
        return grown

    def counted(self, node: Node) -> bool:
        """Whether somebody was counted who will read all of a node."""
        if self.demand is not None and not self.demand.is_whole(node):
            return False
        return node in self._readers

    def has_one_reader(self, node: Node) -> bool:
        """Whether one reader needs a node's value, and nobody else."""
        return self._readers.get(node) == 1

    def is_private(self, node: Node) -> bool:
        """Whether one reader needs a node's value, nobody else, and it is not planned yet."""
        return self._readers.get(node) == 1 and not self.is_planned(node)

    def read(self, node: Node) -> None:
        """One reader of a node has read it; after the last it is let go."""
        self._readers[node] -= 1
        if self._readers[node] <= 0:
            self._values.pop(node, None)
            self.on_forget(node)

    # --- what exists ----------------------------------------------------------------------------

    def is_known(self, node: Node) -> bool:
        """Whether a node's value, or some of its items, exist already."""
        if isinstance(node, CollectionNode):
            return self.begun(node) is not None or bool(self._known.find_scattered(node))
        return self._known.find(node) is not None

    def begun(self, node: CollectionNode) -> Begun | None:
        """What exists of a collection, and what is left of it."""
        return self._known.find_items(node)

    def passed_over(self, node: CollectionNode) -> Scattered:
        """Items of a collection that need not be made, between others that are to be."""
        return () if self.demand is None else self.demand.passed_over(node)

    def spent(self, node: Node) -> int:
        """Attempts that a call, or the first item of a collection, has spent already."""
        return self._known.spent(node)

    def place(self, value: Delayed[Any] | DelayedList[Any]) -> SlotRange | None:
        """Where a value is that exists already."""
        found = self._known.find(value.node)
        place = None if found is None else found[value.output]
        return place if isinstance(place, SlotRange) else None

    def made(self, value: Delayed[Any] | DelayedList[Any]) -> SlotRange | None:
        """Where a value will be that was planned for itself."""
        places = self._values.get(value.node)
        return None if places is None or isinstance(value, DelayedList) else places[value.output]

    def take(self, value: Delayed[Any] | DelayedList[Any]) -> SlotRange | None:
        """The same, and one reader of it has read it: most values are planned before others ask."""
        place = self.made(value)
        if place is not None:
            self.read(value.node)
        return place

    def behind(self, value: Delayed[Any] | DelayedList[Any]) -> Delayed[Any] | DelayedList[Any]:
        """The lazy value that a value is known to be the same as, or the value itself."""
        found = self._known.find(value.node)
        same = value if found is None else found[value.output]
        return value if isinstance(same, SlotRange) else same

    def is_planned(self, node: Node) -> bool:
        """Whether a node was planned, or has to be planned for itself, or need not be."""
        return (
            node in self._values
            or node in self._streams
            or node in self._failed
            or (node, 0) in self._bound
            or self.is_known(node)
        )

    def settle(self, places: Mapping[Node, list[SlotRange]]) -> None:
        """Nodes were planned together with others: this is where their values will be."""
        self._values.update(places)
        for tell in self.on_made:
            for node, made in places.items():
                tell(node, 0, [[place] for place in made])

    def combined(self, node: Node, partial: Partial) -> None:
        """A reduction was planned as far as this."""
        for tell in self.on_combined:
            tell(node, partial)

    def bind(self, value: Delayed[Any], result: Result) -> None:
        """Let the task that makes a value write it to this result, where that is possible."""
        self._bound[value.node, value.output] = result

    def result(self, node: Node, output: int = 0) -> Result:
        """A new result for an output of a node, or the one that was bound to it."""
        bound = self._bound.get((node, output))
        return bound if bound is not None else Result(node.name)

    # --- collections ----------------------------------------------------------------------------

    def open(self, node: CollectionNode) -> Cursor:
        """A cursor at a collection's first chunk; as many may be opened as readers were counted."""
        stream = self._streams.get(node)
        if stream is None or stream.passed:
            stream = self._streams[node] = self._new_stream(node)
        return stream.open()

    def _new_stream(self, node: CollectionNode) -> ChunkStream:
        return ChunkStream(node, self._kind(node).plan(node), self._readers.get(node, 1))

    def hint(self, node: CollectionNode) -> int:
        """How many items the reader wants for whom a collection is being planned."""
        return self._streams[node].hint

    # --- the stack ------------------------------------------------------------------------------

    def run(self, planning: Planning) -> Iterator[PlannedTask | Constant]:
        """Carry a coroutine out, and all that it asks for; yields what they emit."""
        stack = [_StackEntry(planning)]
        answer: Any = None
        try:
            while stack:
                entry = stack[-1]
                try:
                    step = entry.planning.send(answer)
                except StopIteration as stop:
                    stack.pop()
                    answer = self._finish(entry, stop.value)
                    continue
                answer = None
                if isinstance(step, NeedValue):
                    answer = self._value(step.node, stack)
                elif isinstance(step, NeedChunk):
                    answer = self._chunk(step, stack)
                elif isinstance(step, Chunk):
                    stack.pop()
                    if self.on_made:
                        self._tell_chunk(entry, step)
                    answer = entry.give(step)
                else:
                    yield step
        except (GeneratorExit, KeyboardInterrupt):
            raise
        except BaseException as error:  # an iterable of the user's may raise anything
            self.stuck = [entry.subject for entry in stack if entry.subject is not None]
            for entry in stack:
                self._fail(entry, error)
            raise

    def _value(self, node: Node, stack: list[_StackEntry]) -> list[SlotRange] | None:
        failed = self._failed.get(node)
        if failed is not None:
            raise failed
        places = self._values.get(node)
        if places is None:
            if node in self._open:
                raise _needs_itself(node)
            self._open.add(node)
            found = self._known.find(node)
            planning = self._kind(node).plan(node) if found is None else _look_up(found)
            stack.append(_StackEntry(planning, node=node))
        else:
            self.read(node)
        return places

    def _chunk(self, step: NeedChunk, stack: list[_StackEntry]) -> Chunk | None:
        stream = step.cursor.stream
        chunk = step.cursor.advance()
        if chunk is None and not stream.ended:
            if stream.error is not None:
                raise stream.error
            if stream.running:
                raise _needs_itself(stream.node)
            stream.running = True
            stream.hint = step.hint
            stack.append(_StackEntry(stream.generator, cursor=step.cursor))
        return chunk

    def _finish(self, entry: _StackEntry, value: Any) -> Any:
        if entry.cursor is not None:
            entry.cursor.stream.ended = True
            entry.cursor.stream.running = False
            return None
        if entry.node is not None:
            self._open.discard(entry.node)
            self._values[entry.node] = value
            for tell in self.on_made:
                tell(entry.node, 0, [[place] for place in value])
            self.read(entry.node)
        return value

    def _tell_chunk(self, entry: _StackEntry, chunk: Chunk) -> None:
        if entry.cursor is not None:
            stream = entry.cursor.stream
            for tell in self.on_made:
                tell(stream.node, stream.length, chunk.columns)

    def _fail(self, entry: _StackEntry, error: BaseException) -> None:
        """Whoever else reads what failed gets the same error, not a short collection."""
        if entry.cursor is not None:
            entry.cursor.stream.error = error
            entry.cursor.stream.running = False
        if entry.node is not None:
            self._open.discard(entry.node)
            self._failed[entry.node] = error

    def _kind(self, node: Node) -> NodeKind:
        key: type[Node | Begun] = type(node)
        if isinstance(node, CollectionNode) and self.begun(node) is not None:
            key = Begun
        kind = self._kinds.get(key)
        if kind is None:
            kind = self._kinds[key] = self._make_kind(key)
        return kind


def _needs_itself(node: Node) -> GraphError:
    return GraphError(f"{node.name!r} needs its own value: a task returned what led to it")


def _look_up(found: Found) -> Planning:
    """The places of a value that exists already, or is the same as others."""
    places = []
    for value in found:
        if isinstance(value, Delayed):
            made = yield NeedValue(value.node)
            places.append(made[value.output])
        else:
            places.append(value)
    return places


def _nothing(node: Node) -> None:
    return None


def _no_kind(node_type: type[Node | Begun]) -> NodeKind:
    raise RuntimeError(f"{node_type.__name__} is to be planned after the end of the plan")


def _no_partials(node: Node) -> Sequence[Partial]:
    return ()


class _StackEntry:
    """One entry of the stack: a coroutine, and whom it works for."""

    __slots__ = ("cursor", "node", "planning")

    def __init__(
        self, planning: Planning, node: Node | None = None, cursor: Cursor | None = None
    ) -> None:
        self.planning = planning
        self.node = node
        self.cursor = cursor

    @property
    def subject(self) -> Node | None:
        """What is planned."""
        return self.node if self.cursor is None else self.cursor.stream.node

    def give(self, chunk: Chunk) -> Chunk | None:
        """Add a chunk to the stream; returns the one that the asking cursor gets."""
        if self.cursor is None:
            raise TypeError("only collections give chunks")
        self.cursor.stream.append(chunk)
        self.cursor.stream.running = False
        return self.cursor.advance()
