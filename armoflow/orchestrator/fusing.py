"""Fusion: steps of a chain, each needed by the next one only, become one task.

Nothing is lost by it: a linear chain has no parallelism, and nobody can ask for its inner values.
What is saved is a task, a result and its way through the engine for every inner step. Retries,
timeouts, crashes and errors stay those of the single step. ``fuse=False`` switches it off.
"""

from __future__ import annotations

import itertools
from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING, Any

from armoflow import config
from armoflow.codec.payload import Operation
from armoflow.graph.collection import DelayedList
from armoflow.graph.nodes import CallNode, FilterNode, MapNode, Node
from armoflow.orchestrator.arguments import pickle_call
from armoflow.orchestrator.builtins import identity
from armoflow.orchestrator.drafts import Draft
from armoflow.orchestrator.emit import Step
from armoflow.orchestrator.planned import SlotRange

if TYPE_CHECKING:
    from armoflow.orchestrator.chunks import Step as PlanStep
    from armoflow.orchestrator.plan import Planner


def chain_of_calls(planner: Planner, node: CallNode) -> list[CallNode]:
    """The calls that become one task with this one, the first one first.

    A call continues a chain if the only lazy value that it reads is that of the call before.
    """
    chain = [node]
    handed_on = 0
    while len(chain) < config.MAXIMUM_STEPS and len(node.arguments) == 1:
        handed_on += node.task.function is identity.function
        if handed_on == config.HANDED_ON_STEPS:
            break
        argument = node.arguments[0]
        before = planner.behind(argument).node
        if not isinstance(before, CallNode) or not _may_fuse(planner, before, node):
            break
        if not planner.has_one_reader(argument.node):
            break  # somebody else needs what is the same as the value before
        if planner.emitter.refers_outside((*node.args, *node.kwargs.values())):
            break  # the first call need not wait for what only this one waits for
        chain.append(before)
        node = before
    return chain[::-1]


def chain_of_items(planner: Planner, node: MapNode) -> list[MapNode | FilterNode]:
    """The operations on items that become one task a batch with this one, the first one first.

    A filter may only begin a chain: it needs values, and what comes before may be a graph still.
    """
    chain: list[MapNode | FilterNode] = [node]
    while len(chain) < config.MAXIMUM_STEPS and not (node.star or node.arguments):
        source = node.sources[0]
        if len(node.sources) > 1 or not isinstance(source, DelayedList):
            break
        before = source.node
        if not isinstance(before, (MapNode, FilterNode)) or not _may_fuse(planner, before, node):
            break
        if planner.emitter.refers_outside(node.fixed.values()):
            break
        chain.append(before)
        if isinstance(before, FilterNode):
            break
        node = before
    return chain[::-1]


def emit_calls(
    planner: Planner, chain: Sequence[CallNode]
) -> Generator[PlanStep, Any, list[SlotRange]]:
    """Emit one task for a chain of calls."""
    head, *rest = chain
    draft = planner.draft()
    yield from planner.inputs.resolve(draft, head.dependencies, head)
    arguments = pickle_call(planner.emitter, draft, head)
    steps = []
    for node in rest:
        (argument,) = node.arguments
        draft.refer_to_previous(argument)
        planner.read(argument.node)
        steps.append(Step(node.name, node.task, pickle_call(planner.emitter, draft, node)))
    last = chain[-1]
    (result,) = yield from planner.emit(
        last,
        Operation.CALL,
        draft,
        function=head.task,
        arguments=arguments,
        sizer=planner.siblings.sizer(chain),
        outputs=[planner.result(last)],
        name=head.name,
        steps=steps,
    )
    return [SlotRange(result, 0, 1)]


def item_steps(planner: Planner, draft: Draft, chain: Sequence[MapNode | FilterNode]) -> list[Step]:
    """The steps after the first one of a chain of operations on items."""
    steps = []
    for before, node in itertools.pairwise(chain):
        planner.read(before)
        arguments = planner.emitter.fixed(draft, node.fixed, node)
        steps.append(Step(node.name, node.task, arguments))
    return steps


def _may_fuse(planner: Planner, before: Node, node: Node) -> bool:
    """Whether only this node needs the one before, and both are run alike."""
    if before.outputs != 1 or node.outputs != 1 or not planner.is_private(before):
        return False
    if before.options is node.options and before.block is node.block:
        return planner.emitter.rules(node).fuse
    own, other = planner.emitter.rules(node), planner.emitter.rules(before)
    return own.fuse and own.options == other.options and own.defaults == other.defaults
