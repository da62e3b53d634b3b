"""Sibling calls: calls of one function that stand side by side share a task, if they are quick.

``compute(*[f(x) for x in xs])`` and ``total(*[f(x) for x in xs])`` are as many calls as a map has
items, and cost the engine as much each. So once a call of ``f`` was measured, those that are left
are packed as a map's items are; errors, retries and values stay per call. In the rest of a graph
that a task has returned the process that ran the task knows what they take, or they go alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from armoflow.codec.payload import Operation, Pickled, PickledItems
from armoflow.errors import SerializationError
from armoflow.graph.base_task import BaseTask
from armoflow.graph.delayed import Delayed
from armoflow.graph.nodes import CallNode
from armoflow.orchestrator.paces import FunctionPace
from armoflow.orchestrator.pack_sizes import MOST, PackSizer
from armoflow.orchestrator.planned import Result, SlotRange
from armoflow.orchestrator.planning.call_arguments import CallArguments
from armoflow.orchestrator.planning.chunks import Planning
from armoflow.orchestrator.planning.drafts import Draft
from armoflow.orchestrator.planning.emitter import Emitter, FusedStep
from armoflow.orchestrator.planning.fusing import Fusion
from armoflow.orchestrator.planning.plan_core import Core

CallShape = tuple[tuple[BaseTask[Any, Any], int, int], ...]
"""The functions of a call and of the calls fused with it, the first one first, each with the ids of
its options and of the block that it was called in."""


_NOTHING: frozenset[Result] = frozenset()


class _Row:
    """Values that were found to be siblings: up to ``end``, so that each is looked at once."""

    __slots__ = ("_awaited", "_sizer", "end", "values")

    def __init__(
        self,
        values: Sequence[Any],
        end: int,
        sizer: PackSizer | None = None,
        awaited: frozenset[Result] | None = None,
    ) -> None:
        self.values = values
        self.end = end
        self._sizer = sizer
        self._awaited = awaited

    def of(self, sizer: PackSizer | None, awaited: frozenset[Result] | None) -> bool:
        """Whether a call belongs to it."""
        return sizer is self._sizer and awaited == self._awaited


class Siblings:
    """Finds the calls of one plan that may share a task.

    Args:
        core: Says what is planned already.
        emitter: Makes their tasks.
        arguments: Pickles their arguments.
        fusion: Finds the calls before each that belong to it.
    """

    def __init__(
        self, core: Core, emitter: Emitter, arguments: CallArguments, fusion: Fusion
    ) -> None:
        self._core = core
        self._emitter = emitter
        self._arguments = arguments
        self._fusion = fusion
        self._sizers: dict[CallShape, PackSizer] = {}
        self._row = _Row((), 0)

    def sizer(self, chain: Sequence[CallNode]) -> PackSizer | None:
        """Who wants to know how long this call, with those fused with it, takes."""
        head, settings = chain[0], self._emitter.settings
        most = settings.rules.of(chain[-1]).batch_size
        if most == 1 or self._core.spent(head) or self._awaited(head) is None:
            return None
        known = self._known(chain)
        if known is None and not settings.patience:
            return None  # nobody will say
        if known is not None and known.large:
            return None
        if self._arguments.refer_outside((*head.args, *head.kwargs.values())):
            return None  # no call waits for what only another one waits for
        if not all(_only_value(node) for node in chain[1:]):
            return None
        shape = tuple((node.task, id(node.options), id(node.block)) for node in chain)
        sizer = self._sizers.get(shape)
        if sizer is None:
            sizer = PackSizer(settings.workers_of(chain[-1]), settings.packing, most or MOST)
            self._sizers[shape] = sizer
            if known is not None:
                sizer.measured(known.calls, known.calls * known.seconds)
        return sizer

    def _awaited(self, head: CallNode) -> frozenset[Result] | None:
        """The results that a call waits for; None if some of them are not planned yet.

        Calls that wait for the same ones may share a task: none waits for what only another needs.
        """
        if not head.arguments:
            return _NOTHING
        awaited = []
        for argument in head.arguments:
            if self._core.place(argument) is None:
                place = self._core.made(argument)
                if place is None:
                    return None
                awaited.append(place.result)
        return frozenset(awaited)

    def _known(self, chain: Sequence[CallNode]) -> FunctionPace | None:
        """What the calls of a chain take, if that is known; those that return graphs stay alone."""
        paces = self._emitter.settings.paces
        found = [paces.find(node.task.function) for node in chain]
        known = [pace for pace in found if pace is not None and not pace.expands]
        if len(known) < len(chain):
            return None
        seconds = sum(pace.seconds for pace in known)
        return FunctionPace(seconds, min(pace.calls for pace in known), large=known[-1].large)

    def clear(self) -> None:
        """The plan is at its end: nobody need measure any more."""
        for sizer in self._sizers.values():
            sizer.finish()
        self._sizers.clear()
        self._row = _Row((), 0)

    def group(self, values: Sequence[Any], start: int) -> list[list[CallNode]]:
        """The chains of calls that are to share a task, of the values from ``start`` on.

        Returns:
            One chain for each value; none if the first of them is to have a task of its own.
        """
        first = self._chain(values[start])
        sizer = None if first is None else self.sizer(first)
        if first is None or sizer is None:
            return []
        if not sizer.known:
            self._emitter.waited(first[-1].task.function)
        if not sizer.known:
            return []
        row, awaited = self._row, self._awaited(first[0])
        if row.values is not values or not row.of(sizer, awaited) or row.end <= start:
            row = self._row = _Row(values, start + 1, sizer, awaited)
        limit = min(len(values), start + 1 + sizer.look_ahead)
        wanted = self._emitter.wanted
        while row.end < limit:
            chain = self._chain(values[row.end])
            if chain is None or not row.of(self.sizer(chain), self._awaited(chain[0])):
                break
            if (chain[-1] in wanted) is not (first[-1] in wanted):
                break
            row.end += 1
        stop = start + sizer.next(row.end - start)
        chains = {first[-1]: first}
        for value in values[start + 1 : stop]:
            chain = self._chain(value)
            if chain is not None:  # it is asked for twice, and planned already
                chains[chain[-1]] = chain
        return list(chains.values()) if len(chains) > 1 else []

    def plan(self, chains: Sequence[Sequence[CallNode]]) -> Planning:
        """Plan one task for sibling calls.

        They may not share a task after all: an argument cannot be pickled, or a future is inside
        one. Then nothing is planned here, and all that are left are planned alone, and fail alone.
        """
        draft = self._arguments.draft()
        first = chains[0]
        head, last = first[0], first[-1]
        sizer = self.sizer(first)
        pickles = self._pickle(draft, chains)
        if pickles is None:
            if sizer is not None:
                sizer.refuse()
            return
        for chain in chains:
            for node in chain[:-1]:
                self._core.read(node)
            for argument in chain[0].arguments:
                if self._core.place(argument) is None:
                    self._core.read(argument.node)
        (result,) = yield from self._emitter.emit(
            last,
            Operation.MAP,
            draft,
            function=head.task,
            columns=[[PickledItems(pickles)]],
            count=len(chains),
            calls=True,
            sizer=sizer,
            outputs=[self._core.result(last)],
            name=head.name,
            steps=[FusedStep(node.name, node.task, None) for node in first[1:]],
        )
        self._core.settle(
            {chain[-1]: [SlotRange(result, slot, slot + 1)] for slot, chain in enumerate(chains)}
        )

    def _pickle(self, draft: Draft, chains: Sequence[Sequence[CallNode]]) -> list[Pickled] | None:
        """The arguments of each call; None if one has none, or waits for another result."""
        there: set[Result] = set()
        for chain in chains:
            for argument in chain[0].arguments:
                place = self._core.place(argument) or self._core.made(argument)
                assert place is not None and isinstance(argument, Delayed)
                draft.refer_to_slot(argument, place)
                there.add(place.result)
        try:
            pickles = [self._arguments.of_call(draft, chain[0]) for chain in chains]
        except SerializationError:
            return None
        return pickles if there.issuperset(draft.inputs) else None

    def _chain(self, value: Any) -> list[CallNode] | None:
        if type(value) is not Delayed:
            return None
        node = value.node
        if not isinstance(node, CallNode) or node.outputs > 1 or self._core.is_planned(node):
            return None
        return self._fusion.of_calls(node)


def _only_value(node: CallNode) -> bool:
    """Whether a call's only argument is the value of the call before."""
    return len(node.args) == 1 and not node.kwargs and isinstance(node.args[0], Delayed)
