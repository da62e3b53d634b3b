"""Fusion: steps of a chain, each needed by the next one only, become one task.

Nothing is lost by it: a linear chain has no parallelism, and nobody can ask for its inner values.
What is saved is a task, a result and its way through the engine for every inner step. Retries,
timeouts, crashes and errors stay those of the single step. ``fuse=False`` switches it off.
"""

from __future__ import annotations

from armoflow import config
from armoflow.graph.collection import DelayedList
from armoflow.graph.nodes import CallNode, FilterNode, MapNode, Node
from armoflow.orchestrator.builtins import identity
from armoflow.orchestrator.planning.call_arguments import CallArguments
from armoflow.orchestrator.planning.plan_core import Core
from armoflow.orchestrator.planning.rules import RuleBook


class Fusion:
    """Finds the chains of one plan.

    Args:
        core: Says who needs what.
        rules: What follows from options.
        arguments: Says what refers to other graphs.
    """

    def __init__(self, core: Core, rules: RuleBook, arguments: CallArguments) -> None:
        self._core = core
        self._rules = rules
        self._arguments = arguments

    def of_calls(self, node: CallNode) -> list[CallNode]:
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
            before = self._core.behind(argument).node
            if not isinstance(before, CallNode) or not self.may_fuse(before, node):
                break
            if not self._core.has_one_reader(argument.node):
                break  # somebody else needs what is the same as the value before
            if self._arguments.refer_outside((*node.args, *node.kwargs.values())):
                break  # the first call need not wait for what only this one waits for
            chain.append(before)
            node = before
        return chain[::-1]

    def of_items(self, node: MapNode) -> list[MapNode | FilterNode]:
        """The operations on items that are one task a batch with this one, the first one first.

        A filter may only begin a chain: it needs values, and what comes before may be a graph.
        """
        chain: list[MapNode | FilterNode] = [node]
        while len(chain) < config.MAXIMUM_STEPS and not (node.star or node.arguments):
            source = node.sources[0]
            if len(node.sources) > 1 or not isinstance(source, DelayedList):
                break
            before = source.node
            if not isinstance(before, (MapNode, FilterNode)) or not self.may_fuse(before, node):
                break
            if self._arguments.refer_outside(node.fixed.values()):
                break
            chain.append(before)
            if isinstance(before, FilterNode):
                break
            node = before
        return chain[::-1]

    def may_fuse(self, before: Node, node: Node) -> bool:
        """Whether only this node needs the one before, and both are run alike."""
        if before.outputs != 1 or node.outputs != 1 or not self._core.is_private(before):
            return False
        own = self._rules.of(node)
        if before.options is node.options and before.block is node.block:
            return own.fuse and not own.cached
        other = self._rules.of(before)
        alike = own.options == other.options and own.defaults == other.defaults
        return own.fuse and not other.cached and alike
