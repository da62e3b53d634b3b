"""Looks at graphs before anything of them runs: are they right, cached, within the budget?"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from armoflow.client.block_settings import BlockSettings
from armoflow.client.cache_access import CacheAccess
from armoflow.client.inquiry import Inquiry, keep_to_budget, refuse_iterators
from armoflow.client.loop import LoopThread
from armoflow.client.validate import Survey
from armoflow.estimate import Estimate
from armoflow.graph.graph import Graph
from armoflow.graph.nodes import Node
from armoflow.orchestrator.caching.hits import CachedPlan
from armoflow.orchestrator.caching.uncached import account_uncached, needed_calls, why_uncached
from armoflow.orchestrator.constant import Constant
from armoflow.orchestrator.planning.demand import demand_of
from armoflow.orchestrator.planning.plan_settings import PlanSettings

if TYPE_CHECKING:
    from armoflow.client.client import Client
    from armoflow.orchestrator.orchestrator import Orchestrator
    from armoflow.orchestrator.planning.planner import Planner

logger = logging.getLogger(__name__)

T = TypeVar("T")


class Surveyor:
    """Looks the graphs of one client over.

    Args:
        client: The client.
        loop: Its loop.
        orchestrator: Makes planners.
        settings: What holds where graphs are asked for.
        cache: The client's cache.
        read: Reads the data of what was put.
        budget: Seconds of work that a graph may take; None: any.
    """

    def __init__(
        self,
        client: Client,
        loop: LoopThread,
        orchestrator: Orchestrator,
        *,
        settings: BlockSettings,
        cache: CacheAccess,
        read: Callable[[Constant], Any],
        budget: float | None,
    ) -> None:
        self._client = client
        self._loop = loop
        self._orchestrator = orchestrator
        self._settings = settings
        self._cache = cache
        self._read = read
        self.budget = budget
        self._inquiry = Inquiry(account_uncached((), str))

    def survey(self, values: Sequence[Any], settings: PlanSettings) -> tuple[Planner, Survey]:
        """A planner that knows what the values need, and what was seen on the way."""
        survey, planner = self._look_over(values, settings)
        inquiry = Inquiry(account_uncached((), str))
        found = self._find(values, settings, verify=survey.once) if survey.cached else None
        survey.cached = found is not None
        if found is not None:
            cached, inquiry = found
            planner = self._orchestrator.planner(settings, cached)
            survey = self._new_survey(settings)
            planner.want(values, survey.visit)
            survey.cached = True
            survey.inquiry = self._inquiry = inquiry
        if self.budget is not None:
            refuse_iterators(values, "Client(budget=...)")
            to_run = cached.to_run if survey.cached else _needed_calls(values)
            estimate = inquiry._replace(to_run=to_run).estimate(values, settings)
            keep_to_budget(estimate, self.budget)
        return planner, survey

    def _look_over(self, values: Sequence[Any], settings: PlanSettings) -> tuple[Survey, Planner]:
        """Check the values, before anything of them is looked up or sent."""
        survey, planner = self._new_survey(settings), self._orchestrator.planner(settings)
        planner.want(values, survey.visit)
        return survey, planner

    def _new_survey(self, settings: PlanSettings) -> Survey:
        assert settings.limits is not None
        return Survey(self._client, settings.options, settings.limits)

    def _find(
        self, values: Sequence[Any], settings: PlanSettings, *, verify: bool
    ) -> tuple[CachedPlan, Inquiry] | None:
        """What the cache has; None if nobody can say."""
        from armoflow.client.caching import unless_unusable

        return unless_unusable(lambda: self._look_up(values, settings, verify=verify))

    def _look_up(
        self,
        values: Sequence[Any],
        settings: PlanSettings,
        *,
        forget: bool = True,
        verify: bool = False,
    ) -> tuple[CachedPlan, Inquiry]:
        """What the cache has of some values."""
        from armoflow.client.caching import reference_keys

        orchestrator, cache = self._orchestrator, self._cache.open()
        cached = CachedPlan(
            cache,
            settings.options,
            reference_keys(self._client, self._read),
            self._ask,
            orchestrator.pipeline.put,
        )
        self._ask(orchestrator.session())  # what is known is imported into it
        self._ask(cache.keeper.settle())
        nodes = (value.node for value in values)
        account = cached.look_up(nodes, forget=forget, verify=verify)
        return cached, Inquiry(account, cache.index)

    def _ask(self, work: Coroutine[Any, Any, T]) -> T:
        """Wait for some work with the engine, as long as there is one."""
        return self._loop.call(self._orchestrator.while_there(work))

    def inquire(self, values: Sequence[Any], asked: str) -> Inquiry:
        """Look some values up, and run nothing."""
        refuse_iterators(values, asked)
        settings = self._settings.here()
        survey, _ = self._look_over(values, settings)
        if not survey.cached:
            why = functools.partial(why_uncached, base=settings.options)
            to_run = _needed_calls(values)
            return Inquiry(account_uncached(Graph(*values), why, to_run), to_run=to_run)
        cached, inquiry = self._look_up(values, settings, forget=False)
        return inquiry._replace(to_run=cached.to_run)

    def inquired(self) -> Inquiry:
        """What was found of what was asked for last."""
        return self._inquiry

    def estimate(self, values: Sequence[Any], inquiry: Inquiry) -> Estimate:
        """What some values will take, of which that was found."""
        return inquiry.estimate(values, self._settings.here())

    def keep_named_to_budget(self, value: Any, name: str) -> None:
        """Refuse a named run that takes more than the budget."""
        if self.budget is not None:
            inquiry = self.inquire([value], f"submit(name={name!r})")
            keep_to_budget(self.estimate([value], inquiry), self.budget)

    @staticmethod
    def tell_of_backups(value: Any, name: str) -> None:
        """Say of which tasks of a named run stragglers would be run a second time elsewhere."""
        graph = Graph(value)
        needed = {below for node in graph for below in node.inputs}
        asked = dict.fromkeys(node.name for node in graph if node.options.backup and node in needed)
        if asked:
            logger.warning(
                "%s: backup=True has no effect in the named run %r on what other tasks of it need: "
                "they are with the engine already, and a straggler is not run a second time",
                *(", ".join(map(repr, asked)), name),
            )


def _needed_calls(values: Sequence[Any]) -> Callable[[Node], int]:
    """How many calls of a node are to be made, where nothing is known of any."""
    return functools.partial(needed_calls, demand_of(value.node for value in values))
