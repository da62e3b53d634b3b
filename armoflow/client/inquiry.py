"""What is asked of graphs without running them: what the cache has of them, what they will take."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from armoflow.errors import BudgetError, ClientClosedError, GraphError
from armoflow.estimate import Estimate
from armoflow.explanation import Explanation
from armoflow.graph.graph import Graph
from armoflow.graph.nodes import Node, SourceNode
from armoflow.index import Index, Measured
from armoflow.orchestrator.caching.account import Account
from armoflow.orchestrator.caching.explaining import explain
from armoflow.orchestrator.caching.uncached import calls_of
from armoflow.orchestrator.estimating import Estimator
from armoflow.orchestrator.planning.plan_settings import PlanSettings


class Inquiry(NamedTuple):
    """What was found when a graph was looked up.

    Attributes:
        account: What the cache had of it.
        kept: Where that was; None: no cache was asked.
        to_run: How many calls of a node are to run.
    """

    account: Account
    kept: Index | None = None
    to_run: Callable[[Node], int] = calls_of

    def explain(self) -> Explanation:
        """Why some is taken from the cache, and some is not.

        Raises:
            ClientClosedError: If the index went with its client.
        """
        if self.kept is None or not self.kept.closed:
            return explain(self.account, self.kept)
        if self.kept.path is None:
            raise ClientClosedError(
                "the cache went with this client's private engine: ask before it is closed"
            )
        index = Index(self.kept.path)
        try:
            return explain(self.account, index)
        finally:
            index.close()

    def estimate(self, values: Sequence[Any], settings: PlanSettings) -> Estimate:
        """What the graph of some values takes."""
        earlier = (lambda task: Measured()) if self.kept is None else self.kept.measured
        return Estimator(settings, self.to_run, earlier).estimate(Graph(*values).nodes)


def refuse_iterators(values: Sequence[Any], asked: str) -> None:
    """Refuse what would be consumed by being looked at.

    Raises:
        GraphError: If a graph reads an iterator; names it.
    """
    for node in Graph(*values):
        if isinstance(node, SourceNode) and node.once:
            raise GraphError(
                f"{asked} looks at a graph and runs nothing, and {node.name!r} is a "
                f"{type(node.iterable).__name__}, which can be read only once: give map() or "
                "items() a list, list(...) of it"
            )


def keep_to_budget(estimate: Estimate, budget: float) -> None:
    """Refuse a graph that takes more.

    Raises:
        BudgetError: If it does; says what it takes.
    """
    if estimate.seconds > budget:
        raise BudgetError(
            f"this graph is expected to take {estimate.seconds:,.3g} s of work, and the client's "
            f"budget is {budget:,.3g} s: raise it, or make the graph smaller\n{estimate}",
            estimate,
        )
