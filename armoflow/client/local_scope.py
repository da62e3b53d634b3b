"""How the debug mode evaluates each kind of node."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from armoflow.client.local_arguments import GivenArguments, SharedArguments, copied
from armoflow.client.local_calls import NOTHING_SHARED, LocalCalls
from armoflow.client.local_machine import (
    ABSENT,
    END,
    Evaluation,
    LocalAttempts,
    LocalCursor,
    LocalFailure,
    LocalRules,
    LocalStream,
    fail,
    first_failure,
    row,
)
from armoflow.errors import GraphError
from armoflow.graph.arguments import Reference, contains_lazy
from armoflow.graph.collection import DelayedList
from armoflow.graph.delayed import Delayed
from armoflow.graph.graph import Graph
from armoflow.graph.nodes import (
    MISSING,
    CallNode,
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
    uneven,
)
from armoflow.graph.stepwise import IterateNode
from armoflow.options import TaskOptions, check_skipping
from armoflow.tracing import Labels


class Scope:
    """One graph being run: the one asked for, or one that a task returned.

    Args:
        values: What is asked for: lazy values, or containers holding some.
        rules: How its tasks are run.
        defaults: Options of the tasks that say nothing.
        eager: The first call that fails ends all.
        trace: That of the task which returned them.
    """

    def __init__(
        self,
        values: Sequence[Any],
        rules: LocalRules,
        defaults: TaskOptions,
        *,
        eager: bool = False,
        trace: Labels = (),
    ) -> None:
        graph = Graph(*values)
        self.targets = graph.targets
        self._rules = rules
        self._calls = LocalCalls(
            rules,
            defaults,
            lambda value, inner, trace: Scope([value], rules, inner, eager=eager, trace=trace),
            eager=eager,
            trace=trace,
        )
        self._values: dict[Node, Any] = {}
        self._streams: dict[Node, LocalStream] = {}
        # Values are forgotten after their last use, and collections that are read once are never
        # held. Uses that cannot be counted keep them: those by position or by the items of a
        # source; and what an unread iterator's items will use is not known at all.
        self._uses = Counter(target.node for target in graph.targets)
        self._kept: set[Node] = set()
        self._keeps_all = False
        for node in graph:
            check_skipping(node.options, defaults)
            self._uses.update(node.inputs)
            if isinstance(node, (ItemNode, SourceNode)):
                self._kept.update(node.inputs)
            if isinstance(node, SourceNode) and not node.settled:
                self._keeps_all = True

    def target(self, reference: Reference) -> Evaluation:
        """A value, or the list of a collection's slots."""
        if isinstance(reference, DelayedList):
            return self._slots(reference)
        return self.value(reference)

    def read(self, source: Source) -> LocalCursor:
        """Start reading the items of a source."""
        if isinstance(source, Delayed):
            return LocalCursor(LocalStream(self._elements(source)))
        if isinstance(source, SourceNode):
            return LocalCursor(self._stream(source))
        return LocalCursor(
            self._stream(source.node), source.output if source.node.outputs > 1 else None
        )

    def value(self, reference: Reference) -> Evaluation:
        """The value of a reference, or its failure."""
        if isinstance(reference, DelayedList):
            slots = yield self._slots(reference)
            return first_failure(slots) or slots
        node = reference.node
        if node in self._values:
            value = self._values[node]
        else:
            value = self._values[node] = yield _EVALUATIONS[type(node)](self, node)
        self._uses[node] -= 1
        if self._uses[node] <= 0 and not self._keeps_all and node not in self._kept:
            del self._values[node]
        return (
            value if node.outputs == 1 or type(value) is LocalFailure else value[reference.output]
        )

    def _stream(self, node: CollectionNode) -> LocalStream:
        stream = self._streams.get(node)
        if stream is None:
            buffered = self._keeps_all or node in self._kept or self._uses[node] > 1
            stream = LocalStream(_EVALUATIONS[type(node)](self, node), buffered=buffered)
            self._streams[node] = stream
        return stream

    def _slots(self, collection: Source) -> Evaluation:
        """All slots that are not absent."""
        cursor = self.read(collection)
        slots = []
        while (slot := (yield cursor)) is not END:
            if slot is not ABSENT:
                slots.append(slot)
        return slots

    def _resolve(self, references: Sequence[Reference]) -> Evaluation:
        """The values of references by their ids, or the first failure; all of them are run."""
        values = {}
        for reference in references:
            values[id(reference)] = yield self.value(reference)
        return first_failure(values.values()) or values

    def _call(self, node: CallNode) -> Evaluation:
        values = yield self._resolve(node.arguments)
        if type(values) is LocalFailure:
            return values.skipping(node, node.name)

        def arguments() -> GivenArguments:
            args, kwargs = self._rules.insert((node.args, node.kwargs), values)
            return args, kwargs

        attempts = self._calls.attempts(node)
        return (yield self._calls.run(node, node.name, node.task.function, attempts, arguments))

    def _item(self, node: ItemNode) -> Evaluation:
        cursor = self.read(node.source)
        buffer = cursor.stream.buffer or []
        cursor.position = max(0, min(node.index, len(buffer) - 1))
        slot: Any = None
        while cursor.position <= node.index:
            following = yield cursor
            if following is END:
                break  # early: the last slot is the failure that ended it
            slot = following
        return slot

    def _gather(self, node: GatherNode) -> Evaluation:
        slots = yield self._slots(node.source)
        failure = first_failure(slots)
        return slots if failure is None else failure.skipping(node, node.name)

    def _reduce(self, node: ReduceNode) -> Evaluation:
        # levels[n] holds combinations of fan_in ** n items, waiting for neighbours to the right.
        levels: list[list[Any]] = []
        attempts = self._calls.attempts(node)
        cursor = LocalCursor(LocalStream(self._combined_items(node)))
        while (slot := (yield cursor)) is not END:
            for level in itertools.count():
                if level == len(levels):
                    levels.append([])
                levels[level].append(slot)
                if len(levels[level]) < node.fan_in:
                    break
                slot = yield self._combine(node, levels[level], attempts)
                levels[level] = []
        result: Any = END
        for waiting in levels:
            entries = waiting if result is END else [*waiting, result]
            if entries:
                result = yield self._combine(node, entries, attempts)
        return _combined(node, result)

    def _fold(self, node: FoldNode) -> Evaluation:
        attempts = self._calls.attempts(node)
        cursor = LocalCursor(LocalStream(self._combined_items(node)))
        result = yield cursor
        while (slot := (yield cursor)) is not END:
            # After a failure the items still run: others may need them.
            if type(result) is not LocalFailure:
                result = yield self._combine(node, [result, slot], attempts)
        return _combined(node, result)

    def _combined_items(self, node: ReduceNode | FoldNode) -> Evaluation:
        """Stream: the initial value, then the items that are there."""
        if node.initial is not MISSING:
            values = yield self._resolve(node.arguments)
            yield (copied(self._calls.insert(node.initial, values, node, node.name)),)
        cursor = self.read(node.source)
        while (slot := (yield cursor)) is not END:
            if slot is not ABSENT:
                yield (copied(slot),)

    def _combine(
        self, node: ReduceNode | FoldNode, entries: list[Any], attempts: LocalAttempts
    ) -> Evaluation:
        result = entries[0]
        if len(entries) == 1:
            return result
        failure = first_failure(entries)
        if failure is not None:
            # A reduction is one step, however many calls it takes.
            return failure if failure.node is node else failure.skipping(node, node.name)
        for entry in entries[1:]:
            arguments = _given((result, entry))
            result = yield self._calls.run(node, node.name, node.task.function, attempts, arguments)
            if type(result) is LocalFailure:
                break
        return result

    def _source(self, node: SourceNode) -> Evaluation:
        """Stream: local items, with the values of the lazy ones."""
        iterator = node.open()
        count = 0
        while True:
            try:
                item = next(iterator)
            except StopIteration:
                break
            except Exception as error:
                yield (fail(error, node, node.name),)
                return
            references = Graph(item).targets if contains_lazy(item) else []
            values = yield self._resolve(references)
            yield (self._calls.insert(item, values, node, ""),)
            count += 1
        if node.length is not None and count != node.length:
            message = f"a {node.name} gave {count} items, its len() said {node.length}"
            yield (fail(GraphError(message), node, node.name),)

    def _elements(self, delayed: Delayed[Any]) -> Evaluation:
        """Stream: the items of a value."""
        value = yield self.value(delayed)
        if type(value) is LocalFailure:
            yield (value,)
            return
        try:
            iterator = iter(value)
        except TypeError as error:
            yield (fail(error, delayed.node, delayed.node.name),)
            return
        for element in iterator:
            yield (element,)

    def _map(self, node: MapNode) -> Evaluation:
        """Stream: each item's call."""
        fixed = yield self._fixed(node)
        cursors = [self.read(source) for source in node.sources]
        attempts = self._calls.attempts(node)
        for index in itertools.count():
            slots = yield row(cursors)
            if slots is None:
                self._tell_changes(node, fixed)
                return
            if slots[0] is ABSENT:
                yield (ABSENT,)
                continue
            name = node.item_name(index)
            failure = first_failure((fixed, *slots))
            if failure is not None:
                yield (failure.skipping(node, name),)
                continue
            arguments = _given(slots, fixed.own, star=node.star)
            call = node.task.function
            yield (
                (yield self._calls.run(node, name, call, attempts, arguments, shared=fixed.shared)),
            )

    def _filter(self, node: FilterNode) -> Evaluation:
        """Stream: the items, or absent slots for those dropped."""
        fixed = yield self._fixed(node)
        cursor = self.read(node.source)
        attempts = self._calls.attempts(node)
        for index in itertools.count():
            slot = yield cursor
            if slot is END:
                self._tell_changes(node, fixed)
                return
            if slot is ABSENT:
                yield (ABSENT,)
                continue
            name = node.item_name(index)
            failure = first_failure((fixed, slot))
            if failure is not None:
                yield (failure.skipping(node, name),)
                continue
            arguments, call = _given((slot,), fixed.own), node.task.function
            kept = yield self._calls.run(node, name, call, attempts, arguments, shared=fixed.shared)
            yield (_keep(node, name, kept, slot),)

    def _zip(self, node: ZipNode) -> Evaluation:
        """Stream: tuples."""
        cursors = [self.read(source) for source in node.sources]
        for length in itertools.count() if cursors else ():
            slots = yield row(cursors, whole=node.strict)
            if slots is None:
                return
            if any(slot is END for slot in slots):
                yield (fail(uneven(length), node, node.name),)
                return
            yield (ABSENT if slots[0] is ABSENT else first_failure(slots) or slots,)

    def _slice(self, node: SliceNode) -> Evaluation:
        """Stream: the chosen items."""
        positions = node.positions
        cursor = self.read(node.source)
        slots: list[Any] = []
        slot: Any = None
        while positions and len(slots) <= max(positions[0], positions[-1]):
            slot = yield cursor
            if slot is END:
                break
            slots.append(slot)
        for position in positions:
            if position < len(slots):
                yield (slots[position],)
        if slot is END:
            yield (slots[-1],)  # early: the last slot is the failure that ended it

    def _iterate(self, node: IterateNode) -> Evaluation:
        """Stream: the cells after the last step."""
        fixed = yield self._fixed(node)
        cells = yield self._slots(node.source)
        attempts = self._calls.attempts(node)
        for _ in range(node.steps):
            before, cells = cells, []
            for position in range(len(before)):
                places = node.places(position, len(before))
                slots = [None if place is None else before[place] for place in places]
                name = node.item_name(position)
                failure = first_failure((fixed, *slots))
                if failure is not None:
                    failure.root.skipped += 1
                    cells.append(LocalFailure(failure.root, node, name, failure))
                    continue
                arguments, call = _given(slots, fixed.own), node.task.function
                cell = yield self._calls.run(
                    node, name, call, attempts, arguments, shared=fixed.shared
                )
                cells.append(cell)
        self._tell_changes(node, fixed)
        for cell in cells:
            yield (cell,)

    def _fixed(self, node: MapNode | FilterNode | IterateNode) -> Evaluation:
        """The arguments that are the same for all items, or why there are none."""
        values = yield self._resolve(node.arguments)
        fixed = self._calls.insert(node.fixed, values, node, node.name)
        return fixed if type(fixed) is LocalFailure else SharedArguments(fixed)

    def _tell_changes(
        self, node: MapNode | FilterNode | IterateNode, fixed: SharedArguments | LocalFailure
    ) -> None:
        """Tell which of these have changed, of those that all items share."""
        if isinstance(fixed, SharedArguments):
            changes = self._calls.changes
            changes.tell(node.name, node.task.function, fixed.changes(), shared=True)


_EVALUATIONS: dict[type[Node], Callable[[Scope, Any], Evaluation]] = {
    CallNode: Scope._call,
    ItemNode: Scope._item,
    GatherNode: Scope._gather,
    ReduceNode: Scope._reduce,
    FoldNode: Scope._fold,
    SourceNode: Scope._source,
    MapNode: Scope._map,
    FilterNode: Scope._filter,
    ZipNode: Scope._zip,
    SliceNode: Scope._slice,
    IterateNode: Scope._iterate,
}


def _given(
    args: Sequence[Any], kwargs: Mapping[str, Any] = NOTHING_SHARED, *, star: bool = False
) -> Callable[[], GivenArguments]:
    return lambda: (args[0] if star else args, kwargs)


def _keep(node: FilterNode, name: str, kept: Any, slot: Any) -> Any:
    if type(kept) is LocalFailure or kept is ABSENT:
        return kept
    try:
        return slot if kept else ABSENT
    except Exception as error:  # an array's truth, for example
        return fail(error, node, name)


def _combined(node: ReduceNode | FoldNode, result: Any) -> Any:
    if result is END:
        message = f"no items to combine and no initial value, in {node.name!r}"
        return fail(TypeError(message), node, node.name)
    return result.reaching(node, node.name) if type(result) is LocalFailure else result
