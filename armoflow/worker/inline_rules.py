"""Which calls of a returned graph may run in the process that returned it, and what to call."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from armoflow.codec.payload import Settings
from armoflow.errors import ArmoflowError
from armoflow.graph.base_task import BaseTask
from armoflow.graph.nodes import Node
from armoflow.options import merge_options
from armoflow.orchestrator import builtins
from armoflow.orchestrator.paces import Paces
from armoflow.orchestrator.planning import dynamic
from armoflow.orchestrator.planning.rules import Rules, longest
from armoflow.worker.function_cache import prepare
from armoflow.worker.reach import Reach

if TYPE_CHECKING:
    from armoflow.orchestrator.codebook import CodeBook
    from armoflow.orchestrator.planning.plan_settings import PlanSettings

_KEPT = 1024

_KEPT_RULES = 8
"""Kinds of graphs whose rules are kept."""


class Functions:
    """The tasks that have run in this process as part of a graph.

    Args:
        book: Says whether a function can be pickled: what could not travel does not run here.
        paces: What their calls take.
        enter: Told which function runs, and how far it reaches.
    """

    def __init__(
        self, book: CodeBook, paces: Paces, enter: Callable[[Callable[..., Any], Reach], None]
    ) -> None:
        self.paces = paces
        self._enter = enter
        self._book = book
        self._known: dict[int, tuple[BaseTask[Any, Any], Callable[..., Any], Reach]] = {}
        self._rules: deque[CallRules] = deque(maxlen=_KEPT_RULES)
        for own in (builtins.identity, dynamic.expand):
            paces.note(own.function, 0.0)

    def may_run(self, task: BaseTask[Any, Any]) -> bool:
        """Whether a task could run at all, here or as a child task."""
        try:
            self._find(task)
        except Exception:  # the plan comes to it, and says why
            return False
        return True

    def enter(self, task: BaseTask[Any, Any]) -> Callable[..., Any]:
        """What to call for a task, which runs now.

        Raises:
            ArmoflowError: If it could not run as a child task either.
        """
        _, call, reach = self._find(task)
        self._enter(task.function, reach)
        return call

    def rules(self, plan: PlanSettings, parent: Settings, seconds: float) -> CallRules:
        """The rules of calls in graphs that are planned like this: the same for all such graphs."""
        for known in self._rules:
            if known.serve(plan, parent, seconds):
                return known
        rules = CallRules(plan, parent, seconds)
        self._rules.appendleft(rules)
        return rules

    def _find(
        self, task: BaseTask[Any, Any]
    ) -> tuple[BaseTask[Any, Any], Callable[..., Any], Reach]:
        known = self._known.get(id(task))
        if known is None:
            call = prepare(task.function, task.name)
            self._book.function(task.function)
            if len(self._known) >= _KEPT:
                self._known.clear()
            # Held, so that its id stays its own.
            known = self._known[id(task)] = task, call, Reach(task.function)
        return known


class CallRules:
    """The rules of calls in the graphs of tasks that are run and planned alike.

    Args:
        plan: What holds for the graph's tasks.
        parent: The settings of the task that returned it.
        seconds: For how long calls may be begun.
    """

    def __init__(self, plan: PlanSettings, parent: Settings, seconds: float) -> None:
        self._alike = plan, parent, seconds
        self._rules: dict[int, CallRule] = {}

    def serve(self, plan: PlanSettings, parent: Settings, seconds: float) -> bool:
        """Whether they hold for such graphs, too."""
        own_plan, own_parent, own_seconds = self._alike
        alike = plan is own_plan and seconds == own_seconds
        return alike and (parent is own_parent or parent == own_parent)

    def of(self, node: Node) -> CallRule:
        """What follows from a node's options."""
        rule = self._rules.get(id(node.options))
        if rule is None:
            rule = CallRule(node, *self._alike)
            if len(self._rules) >= _KEPT:
                self._rules.clear()
            if rule.refusal is None:  # that one has the node's name
                self._rules[id(node.options)] = rule
        return rule


class CallRule:
    """What follows from the options of a call.

    Attributes:
        settings: How it is tried.
        here: Whether such calls may run here.
        patient: Whether all their pauses may be spent here.
        retry_on: What is tried again.
        refusal: Why the session does not allow them.
    """

    __slots__ = ("here", "options", "patient", "refusal", "retry_on", "settings", "timeout")

    def __init__(self, node: Node, plan: PlanSettings, parent: Settings, seconds: float) -> None:
        self.options = node.options  # held, so that its id stays its own
        self.refusal: ArmoflowError | None = None
        limits = plan.limits
        if limits is not None:
            try:
                limits.check(node.name, merge_options(node.options, plan.options))
            except ArmoflowError as error:
                self.refusal, limits = error, None
        rules = Rules(
            *(node.options, None, plan.options, plan.capture), name=node.name, limits=limits
        )
        self.settings = own = rules.single
        self.timeout = math.ceil(own.timeout * 1e9) if own.timeout else 0
        self.patient = own.pauses <= seconds
        self.retry_on = rules.options.retry_on
        self.here = (
            rules.fuse
            and not rules.replaces
            and (own.partition, own.priority) == (parent.partition, parent.priority)
            and own.max_retries == parent.max_retries
            and (own.cpus, own.memory) == (parent.cpus, parent.memory)
            and (own.gpus or 0) == (parent.gpus or 0)
            and own.limits == parent.limits
            and (own.env, own.requirements) == (parent.env, parent.requirements)
            # The parent's own time must suffice for all.
            and (parent.timeout is None or longest(own) <= longest(parent))
        )
