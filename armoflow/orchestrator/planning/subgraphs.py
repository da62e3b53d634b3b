"""Subgraphs: a call and all that only it needs become one task, if that is quick.

``add(add(f(1), f(2)), add(f(3), f(4)))`` is seven calls; as seven tasks it costs the engine more
than the calls themselves. So once it is known how long they take, a tree of calls travels as one
task, and the process that takes it runs it as it runs the graphs that tasks return: depth first,
for as long as it is given, and what is left then becomes tasks of its own. Errors, retries and
timeouts stay those of each call. Parallelism is lost for so long at most; ``fuse=False`` and
``batch_size=1`` keep a call out.

Where the graph that a task has returned was cut, what is left to do with its parts is one task,
too, which waits for all of them: as far as that takes no longer than a task costs.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from armoflow import config
from armoflow.errors import SerializationError
from armoflow.graph.base_task import BaseTask
from armoflow.graph.delayed import Delayed
from armoflow.graph.nodes import CallNode, Node
from armoflow.options import TaskOptions
from armoflow.orchestrator.pack_sizes import TRUST
from armoflow.orchestrator.planned import Result, SlotRange
from armoflow.orchestrator.planning.call_arguments import CallArguments
from armoflow.orchestrator.planning.drafts import Draft
from armoflow.orchestrator.planning.emitter import Emitter, FusedStep
from armoflow.orchestrator.planning.fusing import Fusion
from armoflow.orchestrator.planning.plan_core import Core

if TYPE_CHECKING:
    from armoflow.graph.arguments import Reference

_UNFIT = math.inf
"""What a call weighs that has to be a task of its own."""

_MOST_WAITED_FOR = 100
"""Results that a task of several calls waits for: all of them are in memory while it runs."""


class Subgraphs:
    """Finds the trees of calls of one plan that become one task each.

    Args:
        core: Says who needs what.
        emitter: Knows the plan's settings, and which failures become error slots.
        arguments: Pickles their arguments.
        fusion: Says what may run together.
    """

    def __init__(
        self, core: Core, emitter: Emitter, arguments: CallArguments, fusion: Fusion
    ) -> None:
        self._core = core
        self._emitter = emitter
        self._arguments = arguments
        self._fusion = fusion
        self._weights: dict[CallNode, float] = {}
        # By the ids of a task and options, which are held so that ids stay their own.
        self._alone: dict[tuple[int, int], tuple[BaseTask[Any, Any], TaskOptions, float]] = {}
        self._apart: set[CallNode] = set()
        self._heaviest = 0.0
        self._unknown: Any = None

    def clear(self) -> None:
        """The plan is at its end."""
        self._weights.clear()
        self._alone.clear()
        self._apart.clear()

    def of(self, node: CallNode) -> list[CallNode]:
        """The calls that become one task with this one, each after those that it reads.

        Returns:
            None of them if the call is to have a task of its own.
        """
        if not self._emitter.settings.subgraph_seconds.most:
            return []
        weight = self._weigh(node)
        while weight is None and self._emitter.waited(self._unknown):
            weight = self._weigh(node)
        if weight is None or weight == _UNFIT:
            return []
        self._heaviest = max(self._heaviest, weight)
        calls = self._calls(node) if weight <= self._limit() else []
        return calls if self._trusts(calls) else []

    def waiting(self, root: CallNode) -> tuple[list[CallNode], list[Reference]]:
        """The calls that become one task with this one, which waits for what they need besides.

        Returns:
            These calls, each after those that it reads, and what they wait for; none of them if
            the call is to have a task of its own.
        """
        settings = self._emitter.settings
        least, most, _ = settings.subgraph_seconds
        own = self._own(root) if settings.cut and most and root not in self._apart else None
        left = min(least, most) - (_UNFIT if own is None else own)
        if left <= 0:
            return [], []
        calls, queue = [root], deque([root])
        waits: list[Reference] = []
        while queue:
            node = queue.popleft()
            for argument in node.arguments:
                if self._exists(argument):
                    continue
                inner = self._inner_of(argument, node)
                many = inner is not None and len(waits) + len(inner.arguments) > _MOST_WAITED_FOR
                whole = None if inner is None or many else self._weigh(inner)
                if inner is None or whole is None or left < whole <= self._limit():
                    waits.append(argument)  # it is a task of its own
                elif whole <= left:
                    left -= whole
                    calls.extend(reversed(self._calls(inner)))
                elif (own := self._own(inner)) is not None and own <= left:
                    left -= own
                    calls.append(inner)
                    queue.append(inner)
                else:
                    waits.append(argument)
        calls.reverse()
        if len(calls) > 1 and self._trusts(calls) and self._may_wait(calls, waits):
            return calls, waits
        return [], []

    def draft(self, calls: Sequence[CallNode]) -> tuple[Draft, list[FusedStep]] | None:
        """What one task of these calls needs.

        Returns:
            Nothing if an argument cannot be pickled, waits for a result, or is large: then each
            of them is planned as if it stood alone, and fails alone.
        """
        found = self._try(calls, ())
        if found is None:
            self._weights.update(dict.fromkeys(calls, _UNFIT))
        return found

    def steps(self, draft: Draft, calls: Sequence[CallNode]) -> list[FusedStep]:
        """What a task of these calls runs.

        Args:
            draft: The task: it knows already what they wait for.
            calls: The calls, each after those that it reads.

        Raises:
            SerializationError: If an argument cannot be pickled.
        """
        numbers: dict[Node, int] = {node: number for number, node in enumerate(calls)}
        steps = []
        for node in calls:
            for argument in node.arguments:
                place = self._core.place(argument)
                if place is not None and isinstance(argument, Delayed):
                    draft.refer_to_slot(argument, place)
                elif (number := numbers.get(self._core.behind(argument).node)) is not None:
                    draft.refer_to_call(argument, number)
            steps.append(FusedStep(node.name, node.task, self._arguments.of_call(draft, node)))
        return steps

    def read(self, calls: Sequence[CallNode]) -> None:
        """These are planned: each was read by one that comes after it."""
        inner = set[Node](calls[:-1])
        for node in calls:
            for argument in node.arguments:
                same = self._core.behind(argument)
                if same.node in inner:
                    self._core.read(argument.node)
                    if same is not argument:
                        self._core.read(same.node)

    def _may_wait(self, calls: Sequence[CallNode], waits: Sequence[Reference]) -> bool:
        """Whether the arguments of all these calls can be pickled, and are small."""
        if self._try(calls, waits) is not None:
            return True
        self._apart.update(calls)
        return False

    def _try(
        self, calls: Sequence[CallNode], waits: Sequence[Reference]
    ) -> tuple[Draft, list[FusedStep]] | None:
        """A draft of these calls; nothing if it cannot be, or waits for anything but that."""
        draft = self._arguments.draft()
        for argument in waits:
            draft.refer_to_slot(argument, SlotRange(Result(), 0, 1))
        try:
            steps = self.steps(draft, calls)
        except SerializationError:
            return None
        there = set(draft.inputs[: len(waits)])
        for node in calls:
            places = map(self._core.place, node.arguments)
            there.update(place.result for place in places if place is not None)
        fits = there.issuperset(draft.inputs) and draft.size <= config.BATCH_BYTES
        return (draft, steps) if fits else None

    def _limit(self) -> float:
        """Seconds that a task may take: all workers shall have some, and each is worth a task."""
        settings = self._emitter.settings
        least, most, _ = settings.subgraph_seconds
        share = self._heaviest / (settings.workers * settings.packing.packs)
        return min(max(share, least), most)

    def _trusts(self, calls: Sequence[CallNode]) -> bool:
        """Whether enough calls of each function were measured for so many to run together."""
        paces = self._emitter.settings.paces
        for task, count in Counter(node.task for node in calls).items():
            pace = paces.find(task.function)
            if pace is None or count > TRUST * pace.calls:
                return False
        return True

    def _calls(self, root: CallNode) -> list[CallNode]:
        calls, stack = [], [root]
        while stack:
            node = stack.pop()
            calls.append(node)
            stack.extend(
                inner
                for argument in node.arguments
                if (inner := self._inner_of(argument, node)) is not None
            )
        return calls[::-1]

    # --- how long they take ---------------------------------------------------------------------

    def _weigh(self, root: CallNode) -> float | None:
        """Seconds that a call and all that it needs take; None if that is not known yet."""
        weights = self._weights
        if root in weights:
            return weights[root]
        own = self._own(root)
        if own is None or own == _UNFIT:
            return own
        stack: list[_Weighing] = [_Weighing(root, own, self._inner)]
        while True:
            top = stack[-1]
            inner = next(top.inner, None)
            if inner is None or top.weight == _UNFIT:
                stack.pop()
                weights[top.node] = top.weight
                if not stack:
                    return top.weight
                stack[-1].weight += top.weight
            elif inner is _OTHER:
                top.weight = _UNFIT
            elif inner in weights:
                top.weight += weights[inner]
            elif (own := self._own(inner)) is None:
                return None
            else:
                stack.append(_Weighing(inner, own, self._inner))

    def _inner(self, node: CallNode) -> Iterator[CallNode | None]:
        """The calls that only this one reads; ``_OTHER`` for what it has to wait for."""
        for argument in node.arguments:
            if not self._exists(argument):
                yield self._inner_of(argument, node) or _OTHER

    def _exists(self, argument: Reference) -> bool:
        return isinstance(argument, Delayed) and self._core.place(argument) is not None

    def _inner_of(self, argument: Reference, node: CallNode) -> CallNode | None:
        """The call that makes an argument, if only this one reads it and both are run alike."""
        same = self._core.behind(argument)
        inner = same.node
        if not (isinstance(inner, CallNode) and isinstance(argument, Delayed)):
            return None
        if not self._fusion.may_fuse(inner, node):
            return None
        return inner if same is argument or self._core.has_one_reader(argument.node) else None

    def _own(self, node: CallNode) -> float | None:
        """Seconds that a call takes by itself, with what it costs to make it."""
        if (
            node.outputs != 1
            or node.block is not None
            or node in self._emitter.tolerant
            or self._core.spent(node)
            or self._arguments.refer_outside(node.args)
            or (node.kwargs and self._arguments.refer_outside(node.kwargs.values()))
        ):
            return _UNFIT
        alike = id(node.task), id(node.options)
        known = self._alone.get(alike)
        if known is not None:
            return known[2]
        weight = self._of_all_alike(node)
        if weight is not None:
            self._alone[alike] = node.task, node.options, weight
        return weight

    def _of_all_alike(self, node: CallNode) -> float | None:
        """What holds of all calls of a task with the same options."""
        settings = self._emitter.settings
        rules = settings.rules.of(node)
        if not rules.fuse or rules.cached or rules.replaces or rules.batch_size == 1:
            return _UNFIT
        function = node.task.function
        pace = settings.paces.of(function)
        if pace is None:
            self._unknown = function
            return None if settings.patience else _UNFIT
        return _UNFIT if settings.paces.expands(function) else pace + config.INLINE_CALL_SECONDS


_OTHER: Any = object()


class _Weighing:
    """A call whose inputs are being weighed."""

    __slots__ = ("inner", "node", "weight")

    def __init__(
        self,
        node: CallNode,
        weight: float,
        inner: Callable[[CallNode], Iterator[CallNode | None]],
    ) -> None:
        self.node = node
        self.weight = weight
        self.inner = inner(node)
