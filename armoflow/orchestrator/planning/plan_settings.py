"""What a plan depends on besides its graph."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, NamedTuple

from armoflow import config
from armoflow.codec.payload import Pickled
from armoflow.graph.nodes import Node
from armoflow.options import DEFAULT_OPTIONS, TaskOptions
from armoflow.orchestrator.paces import Paces
from armoflow.orchestrator.pack_sizes import PACKING, Packing
from armoflow.orchestrator.planning.drafts import External
from armoflow.orchestrator.planning.rules import RuleBook
from armoflow.placement import Limits


class SubgraphSeconds(NamedTuple):
    """How long a task may take that runs a subgraph.

    Attributes:
        least: So long at least, where there are enough calls: so long a task costs the engine.
        most: So long at most: parallelism is lost meanwhile. Less than the time for which graphs
            are run in the process that has them; 0: there are no such tasks.
        wait: So long a plan waits for the first calls of a function, to know what others take.
    """

    least: float
    most: float
    wait: float


SUBGRAPH_SECONDS: Final = SubgraphSeconds(0.002, 0.75 * config.INLINE_SECONDS, 0.05)
CLUSTER_SUBGRAPH_SECONDS: Final = SubgraphSeconds(0.09, 0.75 * config.CLUSTER_INLINE_SECONDS, 0.2)


def subgraph_seconds(local: bool, inline: float | None) -> SubgraphSeconds:
    """How long a task may take that runs a subgraph.

    Args:
        local: On the embedded engine.
        inline: Seconds for which graphs are run in the process that has them; None: what is usual.

    Example:
        >>> subgraph_seconds(True, 0.01)
        SubgraphSeconds(least=0.002, most=0.0075, wait=0.05)
    """
    usual = SUBGRAPH_SECONDS if local else CLUSTER_SUBGRAPH_SECONDS
    return usual if inline is None else usual._replace(most=0.75 * inline)


@dataclass(frozen=True)
class PlanSettings:
    """What all plans of a client, or of what one task returns, have in common.

    Attributes:
        options: What holds for tasks that do not say otherwise.
        workers: How many tasks may run at once; batches leave work for all of them.
        pods: The same of each partition, where that is known.
        capture: Failures of every task become error slots (a subtree under a packed item).
        packing: What tasks of several items or calls aim at.
        subgraph_seconds: How long a task of a whole subgraph takes.
        cut: It is of what is left of graphs that tasks have returned: calls that are to do with
            its parts become one task that waits for these. Nobody is told a path through them.
        patience: Seconds to wait for what batches took; 0 where nobody will say.
        key: Seals the errors of the plan's tasks.
        limits: What the session allows tasks to ask for, if that is known.
        inline: Seconds for which graphs that tasks return are begun where they are; None: what is
            usual there.
        paces: How long functions take.
        caching: Values of tasks that say so are kept for later runs.
        fail_fast: A task ends with the first of its items that fails.
    """

    options: TaskOptions = DEFAULT_OPTIONS
    workers: int = 2
    pods: Mapping[str, int] = field(default_factory=dict)
    capture: bool = False
    packing: Packing = PACKING
    subgraph_seconds: SubgraphSeconds = SUBGRAPH_SECONDS
    cut: bool = False
    patience: float = 0.0
    key: bytes = field(default=b"", repr=False)
    limits: Limits | None = None
    inline: float | None = None
    paces: Paces = field(default_factory=Paces, repr=False, compare=False)
    caching: bool = False
    fail_fast: bool = False

    @cached_property
    def rules(self) -> RuleBook:
        """What follows from the options of nodes; worked out once for all plans."""
        return RuleBook(self.options, self.capture, self.limits, caching=self.caching)

    @property
    def probes(self) -> int:
        """How many tasks of a kind begin, until it is known how long they take."""
        return min(self.workers, config.PROBES)

    def workers_of(self, node: Node) -> int:
        """How many tasks may run at once in the partition of a node."""
        if not self.pods:
            return self.workers
        return self.pods.get(self.rules.of(node).wire.partition, self.workers)


@dataclass(frozen=True)
class Surroundings:
    """What a plan takes of where its graph was made.

    Attributes:
        external: What futures and ``put`` references inside arguments stand for.
        copy: The caller goes on meanwhile and may write to arguments: their memory is copied.
        taken: The items of containers that the caller may change meanwhile.
        pickled: Arguments of calls, taken already.
    """

    external: External | None = None
    copy: bool = False
    taken: Mapping[Node, Iterable[Any]] = field(default_factory=dict)
    pickled: dict[Node, Pickled] = field(default_factory=dict)


NO_SURROUNDINGS: Final = Surroundings()
"""A graph of constants that nobody changes."""
