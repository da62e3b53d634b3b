"""Operations on items, what maps and filters have in common: a task per batch."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

from armoflow.codec.payload import Operation
from armoflow.codec.positions import position_of
from armoflow.graph.collection import DelayedList
from armoflow.graph.nodes import FilterNode, MapNode, Node, Source, ZipNode
from armoflow.orchestrator.planning.chunks import Planning, chunk_of
from armoflow.orchestrator.planning.drafts import Draft
from armoflow.orchestrator.planning.emitter import FusedStep
from armoflow.orchestrator.planning.kinds.base import ReadsOnce
from armoflow.orchestrator.planning.kinds.batches import BatchCutter
from armoflow.orchestrator.planning.known import KnownItems
from armoflow.orchestrator.planning.tolerance import tolerated


class ItemOperations(ReadsOnce):
    """Plans operations on items."""

    def reads(self, node: MapNode | FilterNode) -> Iterable[tuple[Node, int]]:
        """What it reads must leave error slots where a batch mixes several tasks' items."""
        size = self.context.settings.rules.of(node).batch_size
        self.context.emitter.tolerant.update(tolerated(node, size))
        return super().reads(node)

    def run_chain(self, chain: Sequence[MapNode | FilterNode]) -> Planning:
        """A task per batch, whose steps are the operations; its outputs hold a slot per item."""
        node = chain[-1]
        head = chain[0]
        known = self.core.passed_over(node)
        if known and sum(run.length for run in known) == node.length:  # none is to be made
            for run in known:
                yield chunk_of(run)
            return
        draft = self.context.arguments.draft()
        yield from self.resolver.resolve_fixed(draft, head)
        arguments = self.context.arguments.fixed(draft, head.fixed, head)
        steps = self._steps(draft, chain)
        filters = isinstance(head, FilterNode)
        sources = (head.source,) if isinstance(head, FilterNode) else head.sources
        star, unzip = not isinstance(head, FilterNode) and head.star, _is_zip(sources)
        batches = BatchCutter(self.context, head, [*map(self.resolver.reader, sources)], known)
        spent = self.core.spent(head)
        while (batch := (yield from batches.next())) is not None:
            if isinstance(batch, KnownItems):
                yield chunk_of(batch)
                continue
            own = self.context.arguments.draft(draft)
            columns = batch.new.columns
            if filters or (unzip and not star):
                columns = [(yield from self.resolver.single_of(batch.new, sources[0]))]
            yield from self.resolver.resolve_items(own, columns, head)
            outputs = yield from self.context.emitter.emit(
                node,
                Operation.FILTER if filters else Operation.MAP,
                own,
                function=head.task,
                arguments=arguments,
                columns=[own.column(column, head.name, batch.positions) for column in columns],
                positions=batch.positions,
                count=batch.new.length,
                star=star and not unzip,
                collection=True,
                sizer=batches.sizer,
                outputs=[self.core.result(node, output) for output in range(node.outputs)],
                name=head.name,
                steps=steps,
                spent=spent if spent and position_of(batch.positions, 0) == head.first else 0,
            )
            yield batch.chunk(outputs)

    def _steps(self, draft: Draft, chain: Sequence[MapNode | FilterNode]) -> list[FusedStep]:
        """The steps after the first one of a chain of operations on items."""
        steps = []
        for before, node in itertools.pairwise(chain):
            self.core.read(before)
            arguments = self.context.arguments.fixed(draft, node.fixed, node)
            steps.append(FusedStep(node.name, node.task, arguments))
        return steps


def _is_zip(sources: Sequence[Source]) -> bool:
    source = sources[0]
    return (
        len(sources) == 1 and isinstance(source, DelayedList) and isinstance(source.node, ZipNode)
    )
