"""Calls: a call is one task, together with the calls before it that only it needs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from armoflow.codec.payload import Operation
from armoflow.graph.nodes import CallNode, Node
from armoflow.orchestrator.planned import SlotRange
from armoflow.orchestrator.planning.chunks import Planning
from armoflow.orchestrator.planning.drafts import Draft
from armoflow.orchestrator.planning.emitter import FusedStep
from armoflow.orchestrator.planning.kinds.base import ReadsOnce


class CallKind(ReadsOnce):
    """Plans calls."""

    def reads(self, node: CallNode) -> Iterable[tuple[Node, int]]:
        """The nodes of its arguments, once for each."""
        self.context.arguments.survey(node)
        return [(argument.node, 1) for argument in node.arguments]

    def plan(self, node: CallNode) -> Planning:
        """One task, of several steps where a chain ends here, or a quick subgraph does."""
        chain = self.context.fusion.of_calls(node)
        if len(chain[0].arguments) > 1:  # else there is no more to it than the chain
            calls = self.context.subgraphs.of(node)
            needs = self.context.subgraphs.draft(calls) if calls else None
            if needs is not None:
                return (yield from self._subgraph(calls, *needs))
            calls, waits = self.context.subgraphs.waiting(node)
            if len(calls) > len(chain):
                draft = self.context.arguments.draft()
                yield from self.resolver.resolve(draft, waits, node)
                steps = self.context.subgraphs.steps(draft, calls)
                return (yield from self._subgraph(calls, draft, steps))
        if len(chain) > 1:
            return (yield from self._chain(chain))
        return (yield from self.context.call(node, node.task, node.args, node.kwargs))

    def _chain(self, chain: Sequence[CallNode]) -> Planning:
        head, *rest = chain
        arguments = self.context.arguments
        draft = arguments.draft()
        yield from self.resolver.resolve(draft, head.dependencies, head)
        first = arguments.of_call(draft, head)
        steps = []
        for node in rest:
            (argument,) = node.arguments
            draft.refer_to_previous(argument)
            self.core.read(argument.node)
            steps.append(FusedStep(node.name, node.task, arguments.of_call(draft, node)))
        last = chain[-1]
        (result,) = yield from self.context.emitter.emit(
            last,
            Operation.CALL,
            draft,
            function=head.task,
            arguments=first,
            sizer=self.context.siblings.sizer(chain),
            outputs=[self.core.result(last)],
            name=head.name,
            steps=steps,
            spent=self.core.spent(head),
        )
        return [SlotRange(result, 0, 1)]

    def _subgraph(
        self, calls: Sequence[CallNode], draft: Draft, steps: Sequence[FusedStep]
    ) -> Planning:
        root = calls[-1]
        self.context.subgraphs.read(calls)
        (result,) = yield from self.context.emitter.emit(
            root,
            Operation.GRAPH,
            draft,
            function=calls[0].task,
            outputs=[self.core.result(root)],
            steps=steps,
        )
        return [SlotRange(result, 0, 1)]
