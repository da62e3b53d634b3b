"""A graph that the debug mode runs: its values, who reads them, when they are forgotten."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from armoflow.client.local_calls import LocalCalls
from armoflow.client.local_machine import (
    ABSENT,
    END,
    Evaluation,
    LocalCursor,
    LocalFailure,
    LocalRules,
    LocalStream,
    fail,
    first_failure,
)
from armoflow.graph.arguments import Reference
from armoflow.graph.collection import DelayedList
from armoflow.graph.delayed import Delayed
from armoflow.graph.graph import Graph
from armoflow.graph.nodes import (
    CollectionNode,
    ItemNode,
    Node,
    Source,
    SourceNode,
)
from armoflow.options import TaskOptions, check_skipping
from armoflow.tracing import Labels


class Scope:
    """One graph being run: the one asked for, or one that a task returned.

    Args:
        values: What is asked for: lazy values, or containers holding some.
        rules: How its tasks are run.
        defaults: Options of the tasks that say nothing.
        kinds: How each kind of node is evaluated.
        eager: The first call that fails ends all.
        trace: That of the task which returned them.
    """

    def __init__(
        self,
        values: Sequence[Any],
        rules: LocalRules,
        defaults: TaskOptions,
        kinds: Mapping[type[Node], Callable[[Scope, Any], Evaluation]],
        *,
        eager: bool = False,
        trace: Labels = (),
    ) -> None:
        graph = Graph(*values)
        self.targets = graph.targets
        self.rules = rules
        self._kinds = kinds
        self.calls = LocalCalls(
            rules,
            defaults,
            lambda value, inner, trace: Scope(
                [value], rules, inner, kinds, eager=eager, trace=trace
            ),
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
            return self.slots(reference)
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
            slots = yield self.slots(reference)
            return first_failure(slots) or slots
        node = reference.node
        if node in self._values:
            value = self._values[node]
        else:
            value = self._values[node] = yield self._kinds[type(node)](self, node)
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
            stream = LocalStream(self._kinds[type(node)](self, node), buffered=buffered)
            self._streams[node] = stream
        return stream

    def slots(self, collection: Source) -> Evaluation:
        """All slots that are not absent."""
        cursor = self.read(collection)
        slots = []
        while (slot := (yield cursor)) is not END:
            if slot is not ABSENT:
                slots.append(slot)
        return slots

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

    def resolve(self, references: Sequence[Reference]) -> Evaluation:
        """The values of references by their ids, or the first failure; all of them are run."""
        values = {}
        for reference in references:
            values[id(reference)] = yield self.value(reference)
        return first_failure(values.values()) or values
