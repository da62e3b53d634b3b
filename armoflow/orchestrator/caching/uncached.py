"""Calls that no cache is asked for."""

from __future__ import annotations

import time
from collections.abc import Iterable

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
from armoflow.orchestrator.caching.account import Account
from armoflow.orchestrator.planning import dynamic

KEPT = (CallNode, MapNode, FilterNode, ReduceNode, FoldNode)
"""Nodes whose values may be kept."""

CALLING = (*KEPT, IterateNode)
"""Nodes that call a task."""


def calls_of(node: Node) -> int:
    """How many calls a node makes, as far as that is known; one, if it is not."""
    if isinstance(node, IterateNode):
        return (node.length or 1) * node.steps
    if not isinstance(node, (MapNode, FilterNode)):
        return 1
    lengths = (getattr(source_node(source), "length", None) for source in dynamic.sources_of(node))
    known = [length for length in lengths if length is not None]
    return min(known, default=1)


def account_uncached(nodes: Iterable[Node], why: str) -> Account:
    """What is said of a graph for which no cache is asked."""
    account = Account(time.time())
    for node in nodes:
        if isinstance(node, CALLING):
            account.uncached[node.name, why] += calls_of(node)
    return account
