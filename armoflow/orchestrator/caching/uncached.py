"""Calls that no cache is asked for."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable

from armoflow.graph.nodes import (
    CallNode,
    FilterNode,
    FoldNode,
    MapNode,
    Node,
    ReduceNode,
    source_node,
)
from armoflow.graph.stepwise import IterateNode
from armoflow.options import TaskOptions, inherited_options, merge_options
from armoflow.orchestrator.caching.account import Account
from armoflow.orchestrator.planning import dynamic
from armoflow.orchestrator.planning.demand import Demand
from armoflow.orchestrator.planning.item_ranges import first_of

KEPT = (CallNode, MapNode, FilterNode, ReduceNode, FoldNode)
"""Nodes whose values may be kept."""

CALLING = (*KEPT, IterateNode)
"""Nodes that call a task."""


NOTHING_SAID = "nothing says cache=True"
"""Why the calls of most graphs are not looked for."""


def calls_of(node: Node) -> int:
    """How many calls a node makes, as far as that is known; one, if it is not."""
    if isinstance(node, IterateNode):
        return (node.length or 1) * node.steps
    if not isinstance(node, (MapNode, FilterNode)):
        return 1
    lengths = (getattr(source_node(source), "length", None) for source in dynamic.sources_of(node))
    known = [length for length in lengths if length is not None]
    return min(known, default=1)


def needed_calls(demand: Demand, node: Node) -> int:
    """How many calls of a node are to be made, as far as that is known."""
    calls = calls_of(node)
    if isinstance(node, (MapNode, FilterNode)):
        return sum(map(len, first_of(demand.missing(node), calls)))
    return calls if demand.is_needed(node) else 0


def after_replaced(nodes: Iterable[Node], base: TaskOptions) -> set[Node]:
    """The nodes that may read, or return, what stands in the place of a failure.

    Nobody knows whether they did, so their values are not kept: the failure may be over by then.

    Args:
        nodes: A graph's.
        base: What holds where a task says nothing.
    """
    readers: defaultdict[Node, list[Node]] = defaultdict(list)
    pending: list[Node] = []
    found: set[Node] = set()
    for node in nodes:
        for below in node.inputs:
            readers[below].append(node)
        if not isinstance(node, CALLING):
            continue
        said = node.options.on_failure or base.on_failure
        returning = inherited_options(node.block, base).replaces  # in a graph that it returns
        if returning:
            found.add(node)
        if returning or (said is not None and said.replaces):
            pending.append(node)
    while pending:
        for reader in readers[pending.pop()]:
            if reader not in found:
                found.add(reader)
                pending.append(reader)
    return found


def why_uncached(node: Node, base: TaskOptions, *, unsure: bool = False) -> str:
    """Why a node's calls are not looked for.

    Args:
        node: It.
        base: What holds where its task says nothing.
        unsure: Its values may be made of what stands for a failure.
    """
    if not isinstance(node, KEPT):
        return "cells of iterate() are not kept"
    options = merge_options(node.options, base)
    if options.cache is None:
        return NOTHING_SAID
    if not options.cache:
        return "it says cache=False"
    if options.replaces:
        return "it says on_failure=, and what stands for a failure is not kept"
    if unsure:
        return "what it needs, or returns, says on_failure=: it may be made of what stands for one"
    return "its items are known only when it runs"


def account_uncached(
    nodes: Iterable[Node], why: Callable[[Node], str], to_run: Callable[[Node], int] = calls_of
) -> Account:
    """What is said of a graph for which no cache is asked."""
    account = Account(time.time())
    for node in nodes:
        if isinstance(node, CALLING):
            note_uncached(account, node, why(node), to_run(node))
    return account


def note_uncached(account: Account, node: Node, why: str, to_run: int) -> None:
    """Say of a node's calls why they are not looked for, of those that run."""
    unneeded = calls_of(node) - to_run
    if to_run:
        account.uncached[node.name, why] += to_run
    if unneeded:
        account.unneeded[node.name] += unneeded
