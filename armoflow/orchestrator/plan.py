"""The plan: a lazy graph becomes a stream of tasks, depth first, so that the first runs at once.

:class:`Planner` walks from the targets down to what they need and emits a task as soon as the
places of its inputs are known. Collections are planned chunk by chunk (see ``chunks``), so a
million items need neither a million nodes nor a finished plan before the first result.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from armoflow import config
from armoflow.codec.payload import Operation
from armoflow.errors import GraphError
from armoflow.graph.arguments import find_dependencies
from armoflow.graph.collection import DelayedList
from armoflow.graph.delayed import Delayed
from armoflow.graph.nodes import (
    CallNode,
    CollectionNode,
    ItemNode,
    Node,
    Source,
    SourceNode,
    ZipNode,
)
from armoflow.graph.task import BaseTask
from armoflow.options import DEFAULT_OPTIONS, Limits, TaskOptions
from armoflow.orchestrator import dynamic
from armoflow.orchestrator.arguments import pickle_arguments
from armoflow.orchestrator.chunks import (
    Chunk,
    Cursor,
    ItemIndex,
    NeedChunk,
    NeedValue,
    Planning,
    Reader,
    Stream,
    select,
)
from armoflow.orchestrator.code import CodeBook
from armoflow.orchestrator.collections import STREAMS
from armoflow.orchestrator.drafts import External
from armoflow.orchestrator.emit import Emitter, KnownRules
from armoflow.orchestrator.inputs import ALWAYS, Inputs, node_of
from armoflow.orchestrator.known import NOTHING, Found, Known
from armoflow.orchestrator.packing import Siblings, emit_siblings
from armoflow.orchestrator.planned import (
    Constant,
    LocalItems,
    PlannedTask,
    PlanPiece,
    Result,
    SlotRange,
)
from armoflow.orchestrator.reduction import VALUES
from armoflow.orchestrator.siblings import makers, tolerated
from armoflow.orchestrator.sizes import AdaptiveSizer, BatchSizer, FixedSizer


class Target(Protocol):
    """Who asked for a value or a collection: told where it will be."""

    value: Delayed[Any] | DelayedList[Any]

    def place(self, column: Sequence[PlanPiece], whole: bool) -> None:
        """Some items (``whole``: the one value) will be here, in order."""

    def seal(self) -> None:
        """That was all."""

    def fail(self, error: Exception) -> None:
        """It cannot be planned: an iterator raised, an argument cannot be pickled."""


@dataclass(frozen=True)
class PlanSettings:
    """What a plan depends on besides its graph.

    Attributes:
        options: What holds for tasks that do not say otherwise.
        workers: How many tasks may run at once; batches leave work for all of them.
        capture: Failures of every task become error slots (a subtree under a packed item).
        batch_seconds: How long a batch should take.
        patience: Seconds to wait for what batches took; 0 where nobody will say.
        rules: What followed from tasks' options in earlier plans.
        limits: What the session allows tasks to ask for, if that is known.
        external: What futures and ``put`` references inside arguments stand for.
        copy: The caller goes on meanwhile and may write to arguments: their memory is copied.
        taken: The items of containers that the caller may change meanwhile.
        key: Seals the errors of the plan's tasks.
        inline: Seconds for which graphs that tasks return are begun where they are; None: what is
            usual there.
    """

    options: TaskOptions = DEFAULT_OPTIONS
    workers: int = 2
    capture: bool = False
    batch_seconds: float = 0.05
    patience: float = 0.0
    external: External | None = None
    copy: bool = False
    taken: Mapping[Node, Iterable[Any]] = field(default_factory=dict, repr=False)
    key: bytes = field(default=b"", repr=False)
    limits: Limits | None = None
    inline: float | None = None
    rules: KnownRules = field(default_factory=dict, repr=False)


class Planner:
    """Plans graphs for one client, or for one task that returned a graph.

    Args:
        book: The code that was sent already.
        settings: Defaults and sizes.
        known: The values that exist already.

    Attributes:
        stuck: The nodes that it was at when an error ended a plan, each for the one before it.
    """

    def __init__(self, book: CodeBook, settings: PlanSettings, known: Known = NOTHING) -> None:
        self.settings = settings
        self._known = known
        self.stuck: list[Node] = []
        self._open: set[Node] = set()
        self.emitter = Emitter(
            book,
            settings.options,
            settings.capture,
            external=settings.external,
            copy=settings.copy,
            owner=self,
            key=settings.key,
            limits=settings.limits,
            inline=settings.inline,
            rules=settings.rules,
        )
        self.emit = self.emitter.emit
        self.draft = self.emitter.draft
        self.inputs = Inputs(self, self.emitter)
        self.siblings = Siblings(self)
        self._streams: dict[Node, Stream] = {}
        self._values: dict[Node, list[SlotRange]] = {}
        self._failed: dict[Node, Exception] = {}
        self._readers: dict[Node, int] = {}
        self._indexes: dict[Node, ItemIndex] = {}
        self._bound: dict[tuple[Node, int], Result] = {}
        self._sizers: list[BatchSizer] = []

    def bind(self, value: Delayed[Any], result: Result) -> None:
        """Let the task that makes a value write it to this result, where that is possible."""
        self._bound[value.node, value.output] = result

    def plan(self, targets: Sequence[Target]) -> Generator[PlannedTask | Constant, None, None]:
        """Plan the targets one after the other.

        Yields:
            Tasks, each after those that make its inputs, and constants, each before the tasks
            that use it.
        """
        for target in targets:
            self.count(target.value.node)
            self.emitter.wanted.add(target.value.node)
            if isinstance(target.value.node, ItemNode):
                self.emitter.wanted.add(target.value.node.source.node)
        try:
            values = [target.value for target in targets]
            for number, target in enumerate(targets):
                try:
                    group = self.siblings.group(values, number)
                    if group:
                        yield from self._run(self.plan_siblings(group))
                    yield from self._run(self._target(target))
                except Exception as error:  # noqa: PERF203 - one per target, not per task
                    target.fail(error)
        finally:
            # Whatever was kept for readers that did not come is let go, and its data can be freed;
            # so are the user's iterators.
            for stream in self._streams.values():
                stream.generator.close()
            for sizer in self._sizers:
                sizer.finish()
            self._sizers.clear()
            for kept in (self._values, self._indexes, self._streams, self._bound, self._readers):
                kept.clear()
            self.inputs.clear()
            self.siblings.clear()
            self.emitter.clear()

    def copy(
        self, pieces: Sequence[PlanPiece], node: Node, result: Result
    ) -> Iterator[PlannedTask | Constant]:
        """Plan one more task, that copies slots into an existing result."""
        return self._run(self.inputs.gather(pieces, node, result))

    # --- counting readers -----------------------------------------------------------------------

    def count(self, node: Node, reads: int = 1) -> None:
        """Count how often each node will be read, so that nothing is kept longer than needed."""
        stack = [(node, reads)]
        while stack:
            node, reads = stack.pop()
            first = node not in self._readers
            self._readers[node] = self._readers.get(node, 0) + reads
            if not first:
                continue
            found = self._known.find(node)
            if found is not None:
                stack.extend((value.node, 1) for value in found if isinstance(value, Delayed))
                continue
            if isinstance(node, CollectionNode):
                size = self.emitter.rules(node).batch_size
                self.emitter.tolerant.update(tolerated(node, size))
            if isinstance(node, ItemNode):
                # All items of a collection share one reader of it.
                if node.source.node not in self._indexes:
                    self._indexes[node.source.node] = ItemIndex()
                    stack.append((node.source.node, 1))
            elif isinstance(node, SourceNode):
                # Several items may hold the same delayed value: kept to the end.
                stack.extend((upstream, ALWAYS) for upstream in node.inputs)
            else:
                stack.extend((upstream, 1) for upstream in node.inputs)

    # --- the stack ------------------------------------------------------------------------------

    def _run(self, planning: Planning) -> Iterator[PlannedTask | Constant]:
        stack = [_Frame(planning)]
        answer: Any = None
        try:
            while stack:
                frame = stack[-1]
                try:
                    step = frame.planning.send(answer)
                except StopIteration as stop:
                    stack.pop()
                    answer = self._finish(frame, stop.value)
                    continue
                answer = None
                if isinstance(step, NeedValue):
                    answer = self._value(step.node, stack)
                elif isinstance(step, NeedChunk):
                    answer = self._chunk(step, stack)
                elif isinstance(step, Chunk):
                    stack.pop()
                    answer = frame.give(step)
                else:
                    yield step
        except Exception as error:
            self.stuck = [frame.node for frame in stack if frame.node is not None]
            for frame in stack:
                self._fail(frame, error)
            raise

    def _value(self, node: Node, stack: list[_Frame]) -> list[SlotRange] | None:
        failed = self._failed.get(node)
        if failed is not None:
            raise failed
        if node not in self._readers:
            self.count(node, ALWAYS)  # an item of an iterator held it
            self.emitter.tolerant.update(makers(node))
        places = self._values.get(node)
        if places is None:
            if node in self._open:
                raise GraphError(
                    f"{node.name!r} needs its own value: a task returned what led to it"
                )
            self._open.add(node)
            found = self._known.find(node)
            planning = VALUES[type(node)](self, node) if found is None else _look_up(found)
            stack.append(_Frame(planning, node=node))
        else:
            self.read(node)
        return places

    def _chunk(self, step: NeedChunk, stack: list[_Frame]) -> Chunk | None:
        stream = step.cursor.stream
        chunk = step.cursor.advance()
        if chunk is None and not stream.ended:
            if stream.error is not None:
                raise stream.error
            stream.hint = step.hint
            stack.append(_Frame(stream.generator, cursor=step.cursor))
        return chunk

    def _finish(self, frame: _Frame, value: Any) -> Any:
        if frame.cursor is not None:
            frame.cursor.stream.ended = True
            return None
        if frame.node is not None:
            self._open.discard(frame.node)
            self._values[frame.node] = value
            self.read(frame.node)
        return value

    def _fail(self, frame: _Frame, error: Exception) -> None:
        """Whoever else reads what failed gets the same error, not a short collection."""
        if frame.cursor is not None:
            frame.cursor.stream.error = error
        if frame.node is not None:
            self._open.discard(frame.node)
            self._failed[frame.node] = error

    def counted(self, node: Node) -> bool:
        """Whether somebody was counted who will read a node."""
        return node in self._readers

    def is_known(self, node: Node) -> bool:
        """Whether a node's value exists already."""
        return self._known.find(node) is not None

    def behind(self, value: Delayed[Any] | DelayedList[Any]) -> Delayed[Any] | DelayedList[Any]:
        """The lazy value that a value is known to be the same as, or the value itself."""
        found = self._known.find(value.node)
        same = value if found is None else found[value.output]
        return value if isinstance(same, SlotRange) else same

    def is_planned(self, node: Node) -> bool:
        """Whether a node was planned, or has to be planned for itself, or need not be."""
        return (
            self.is_known(node)
            or node in self._values
            or node in self._streams
            or node in self._failed
            or (node, 0) in self._bound
        )

    def is_private(self, node: Node) -> bool:
        """Whether one reader needs a node's value, nobody else, and it is not planned yet."""
        return self.has_one_reader(node) and not self.is_planned(node)

    def has_one_reader(self, node: Node) -> bool:
        """Whether one reader needs a node's value, and nobody else."""
        return self._readers.get(node) == 1 and node not in self.emitter.wanted

    def read(self, node: Node) -> None:
        """One reader of a node has read it; after the last it is let go."""
        self._readers[node] -= 1
        if self._readers[node] <= 0:
            self._values.pop(node, None)
            self.inputs.forget(node)

    # --- reading --------------------------------------------------------------------------------

    def reader(self, source: Source) -> Reader:
        """A reader of one output of a collection, or of all columns of a zip."""
        node = node_of(source)
        if not isinstance(node, CollectionNode):
            raise TypeError(f"{source!r} is known only when the graph runs")
        if isinstance(node, ZipNode):
            return Reader(self._cursor(node), None)
        output = 0 if isinstance(source, SourceNode) else source.output
        return Reader(self._cursor(node), [output])

    def _cursor(self, node: CollectionNode) -> Cursor:
        stream = self._streams.get(node)
        if stream is None:
            readers = self._readers.get(node, 1)
            stream = Stream(node, STREAMS[type(node)](self, node), readers)
            self._streams[node] = stream
        return stream.open()

    def stream(self, node: CollectionNode) -> Stream:
        """The stream of a collection that is being planned."""
        return self._streams[node]

    def call(
        self,
        node: Node,
        function: BaseTask[Any, Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Planning:
        """One task that calls a function."""
        draft = self.draft()
        if isinstance(node, CallNode):
            dependencies: Sequence[Any] = node.dependencies
        else:
            dependencies = find_dependencies((args, kwargs))
        yield from self.inputs.resolve(draft, dependencies, node)
        outputs = yield from self.emit(
            node,
            Operation.CALL,
            draft,
            function=function,
            arguments=pickle_arguments(self.emitter, draft, function, args, kwargs),
            sizer=self.siblings.sizer([node]) if isinstance(node, CallNode) else None,
            outputs=[self.result(node, output) for output in range(function.outputs)],
        )
        return [SlotRange(result, 0, 1) for result in outputs]

    def plan_siblings(self, group: Sequence[Sequence[CallNode]]) -> Planning:
        """Plan sibling calls as one task."""
        self._values.update((yield from emit_siblings(self, group)))

    def item(self, node: ItemNode) -> Planning:
        """One item of a collection: a slot of the task that runs it."""
        source = node.source
        index = self._indexes[source.node]
        if index.reader is None:
            index.reader = Reader(self._cursor(source.node), None)
        while index.length <= node.index:
            chunk = yield from index.reader.chunk(node.index - index.length + 1)
            if chunk is None:
                raise IndexError(f"{source!r} has {index.length} items: no item {node.index}")
            index.add(chunk)
        chunk, offset = index.find(node.index)
        if isinstance(source.node, ZipNode):
            selected = Chunk([select(column, [offset]) for column in chunk.columns], 1)
            column = yield from self.inputs.single(selected, source.node)
        else:
            column = select(chunk.columns[source.output], [offset])
        if isinstance(column[0], LocalItems):
            return [(yield from self.inputs.gather(column, node))]
        return column

    def result(self, node: Node, output: int = 0) -> Result:
        """A new result for an output of a node, or the one that was bound to it."""
        bound = self._bound.get((node, output))
        return bound if bound is not None else Result(node.name)

    def sizer(self, node: Node, length: int | None, *, measured: bool) -> BatchSizer:
        """How many items of a node each of its tasks takes; ``measured`` if it is told of them."""
        size = self.emitter.rules(node).batch_size
        if size is not None:
            return FixedSizer(size)
        settings = self.settings
        patience = settings.patience if measured else 0.0
        sizer = AdaptiveSizer(settings.workers, length, settings.batch_seconds, patience)
        self._sizers.append(sizer)
        return sizer

    # --- targets --------------------------------------------------------------------------------

    def _target(self, target: Target) -> Planning:
        value = target.value
        if isinstance(value, DelayedList) and not dynamic.is_dynamic(value.node):
            reader = self.reader(value)
            while (chunk := (yield from reader.chunk(config.MAXIMUM_INPUTS))) is not None:
                column = yield from self.inputs.single(chunk, value.node)
                target.place((yield from self.inputs.evaluate(column, value.node)), False)
        else:
            output = 0 if isinstance(value, DelayedList) else value.output
            places = yield NeedValue(self.inputs.gathered(value))
            target.place([places[output]], True)
        target.seal()


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


class _Frame:
    """One entry of the planner's stack: a coroutine, and whom it works for."""

    __slots__ = ("cursor", "node", "planning")

    def __init__(
        self, planning: Planning, node: Node | None = None, cursor: Cursor | None = None
    ) -> None:
        self.planning = planning
        self.node = node
        self.cursor = cursor

    def give(self, chunk: Chunk) -> Chunk | None:
        """Add a chunk to the stream; returns the one that the asking cursor gets."""
        if self.cursor is None:
            raise TypeError("only collections give chunks")
        self.cursor.stream.append(chunk)
        return self.cursor.advance()
