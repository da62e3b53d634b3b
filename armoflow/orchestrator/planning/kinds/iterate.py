"""Cells that change step by step: planned by rule, a task for some cells of a step."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from typing import Any

from armoflow.codec.payload import Operation
from armoflow.graph.nodes import Node, source_node
from armoflow.graph.stepwise import IterateNode
from armoflow.orchestrator.planned import LocalItems, PlanPiece, SlotRange
from armoflow.orchestrator.planning.chunks import Chunk, Planning, PlanStep, join, select
from armoflow.orchestrator.planning.drafts import Draft
from armoflow.orchestrator.planning.kinds.base import ReadsOnce
from armoflow.orchestrator.planning.tolerance import makers


class IterateKind(ReadsOnce):
    """Plans steps over cells."""

    def reads(self, node: IterateNode) -> Iterable[tuple[Node, int]]:
        """A task takes cells of several others: one that failed must not end its neighbours."""
        tolerant = self.context.emitter.tolerant
        tolerant.add(node)
        tolerant.update(makers(source_node(node.source)))
        return super().reads(node)

    def plan(self, node: IterateNode) -> Planning:
        """The steps one after the other; the cells of the last one are the collection's items."""
        draft = self.context.arguments.draft()
        yield from self.resolver.resolve_fixed(draft, node)
        cells = yield from self.resolver.evaluate((yield from self._drain(node)), node)
        count = sum(piece.length for piece in cells)
        steps = _Steps(self, node, draft, count)
        for number in range(node.steps if count else 0):
            cells = yield from steps.plan(number, cells)
        yield Chunk([cells], count)

    def _drain(self, node: IterateNode) -> Generator[PlanStep, Any, list[PlanPiece]]:
        reader = self.resolver.reader(node.source)
        cells: list[PlanPiece] = []
        while (chunk := (yield from reader.chunk(node.length or 1))) is not None:
            cells.extend((yield from self.resolver.single_of(chunk, node.source)))
        return cells


class _Steps:
    """The steps of one plan."""

    def __init__(self, kind: IterateKind, node: IterateNode, draft: Draft, count: int) -> None:
        context = kind.context
        self._context = context
        self._node = node
        self._draft = draft
        self._count = count
        self._arguments = context.arguments.fixed(draft, node.fixed, node)
        self._sizer = context.sizer(node, count * node.steps, measured=True)
        # Each step waits for the one before: all workers shall have a part of each.
        self._most = -(-count // context.settings.workers_of(node))

    def plan(
        self, number: int, cells: Sequence[PlanPiece]
    ) -> Generator[PlanStep, Any, list[PlanPiece]]:
        """The tasks of one step; returns where its cells will be."""
        made: list[PlanPiece] = []
        start = 0
        while start < self._count:
            size = self._sizer.next(number * self._count + start)
            size = min(size if self._sizer.fixed else min(size, self._most), self._count - start)
            made.append((yield from self._task(cells, start, size, last=number + 1)))
            start += size
        return made

    def _task(
        self, cells: Sequence[PlanPiece], start: int, size: int, *, last: int
    ) -> Generator[PlanStep, Any, SlotRange]:
        node, context = self._node, self._context
        draft = context.arguments.draft(self._draft)
        columns = [
            draft.column(column, node.name, start) for column in self._columns(cells, start, size)
        ]
        final = last == node.steps
        outputs = yield from context.emitter.emit(
            node,
            Operation.MAP,
            draft,
            function=node.task,
            arguments=self._arguments,
            columns=columns,
            positions=start,
            count=size,
            collection=True,
            sizer=self._sizer,
            outputs=[context.core.result(node)] if final else None,
        )
        return SlotRange(outputs[0], 0, size)

    def _columns(
        self, cells: Sequence[PlanPiece], start: int, size: int
    ) -> Iterable[list[PlanPiece]]:
        """What the calls for some cells get, neighbour by neighbour."""
        rows = [self._node.places(start + offset, self._count) for offset in range(size)]
        for places in zip(*rows, strict=True):
            there = [place for place in places if place is not None]
            column = select(cells, there)
            ahead = next((n for n, place in enumerate(places) if place is not None), len(places))
            behind = len(places) - ahead - len(there)
            whole: list[PlanPiece] = []
            for piece in (LocalItems([None] * ahead), *column, LocalItems([None] * behind)):
                if piece.length:
                    join(whole, piece)
            yield whole
