"""Calls that are made where their graph was returned: attempts, errors, and what they return."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Set
from typing import TYPE_CHECKING, Any, TypeAlias

from armoflow.codec.bare import is_a, looked, set_traceback
from armoflow.codec.item_log import ItemLog, ItemState
from armoflow.codec.payload import Payload
from armoflow.codec.pickling import SCALARS
from armoflow.errors import ArmoflowError, TaskError
from armoflow.graph.collection import DelayedList
from armoflow.graph.delayed import Delayed
from armoflow.graph.nodes import CallNode, FoldNode, MapNode, Node, ReduceNode
from armoflow.orchestrator import builtins
from armoflow.orchestrator.planning.plan_settings import PlanSettings
from armoflow.retrying import final_error
from armoflow.worker.attempts import describe
from armoflow.worker.failures import ItemFailure, UnreadableDataError
from armoflow.worker.inline_rules import CallRule, Functions
from armoflow.worker.inputs import pickle_value
from armoflow.worker.job import holds_graph, split_outputs, unstorable
from armoflow.worker.made import LAZY, Made, MadeArguments
from armoflow.worker.mark import MarkWriter

if TYPE_CHECKING:
    from armoflow.graph.arguments import Reference
    from armoflow.graph.base_task import BaseTask


_COMPLETED = ItemState.COMPLETED

_Calling: TypeAlias = "CallNode | MapNode | ReduceNode | FoldNode"


class TriedLaterError(Exception):
    """A call has failed, and is tried again after a pause that is not spent here.

    Attributes:
        spent: The attempts that it has spent.
    """

    def __init__(self, spent: int) -> None:
        super().__init__(spent)
        self.spent = spent


class InlineCaller:
    """Makes the calls of one task's graph.

    Args:
        plan: What holds for the graph's tasks.
        parent: The task itself.
        functions: The functions of this process.
        recorder: Notes what runs.
        seconds: For how long calls may be begun.
        log: Told what becomes of them.
    """

    def __init__(
        self,
        plan: PlanSettings,
        parent: Payload,
        functions: Functions,
        recorder: MarkWriter,
        seconds: float,
        *,
        log: ItemLog,
    ) -> None:
        self._plan = plan
        self._log = log
        self._versions = parent.versions
        self._functions = functions
        self._paces = functions.paces
        self._recorder = recorder
        self._seconds = seconds
        self._rules = functions.rules(plan, parent.settings, seconds)
        self._number = 0

    def may_call(self, node: Node, task: BaseTask[Any, Any]) -> bool:
        """Whether a node's calls of a task may be made here, as far as the time goes."""
        if node.block is not None or not self.rule(node).here:
            return False
        if not self._functions.may_run(task):
            return False
        pace = self.pace(task)
        return pace is None or pace <= self._seconds

    def pace(self, task: BaseTask[Any, Any]) -> float | None:
        """Seconds that a call takes; None if that is not known."""
        return self._paces.of(task.function)

    def expands(self, task: BaseTask[Any, Any]) -> bool:
        """Whether calls of a task have returned graphs."""
        return self._paces.expands(task.function)

    def rule(self, node: Node) -> CallRule:
        """What follows from a node's options."""
        return self._rules.of(node)

    def call(
        self,
        node: Node,
        task: BaseTask[Any, Any],
        load: Callable[[], MadeArguments],
        item: int | None = None,
    ) -> Any:
        """Make the attempts of a call.

        Args:
            node: What the call is of.
            task: Its task.
            load: Gets the arguments, for each attempt anew.
            item: Which item of the node it makes.

        Raises:
            ItemFailure: If the last one failed.
            TriedLaterError: If the next one is not made here.
        """
        rule = self.rule(node)
        function, recorder = self._functions.enter(task), self._recorder
        name = node.name if item is None else f"{node.name}[{item}]"
        recorder.settings = rule.settings
        attempt, spent = 0, 0.0
        while True:
            attempt += 1
            self._number += 1
            deadline = time.monotonic_ns() + rule.timeout if rule.timeout else 0
            recorder.inline(self._number, attempt, deadline, name)
            began = time.perf_counter()
            try:
                args, kwargs = load()
                value = function(*args, **kwargs)
            except BaseException as error:
                spent += time.perf_counter() - began
                lost = is_a(error, UnreadableDataError)
                used_up = lost or attempt > rule.settings.retries
                final = error if used_up else final_error(rule.retry_on, error)
                try:
                    if final is not None:
                        self._log.call(node.name, item, spent, ItemState.FAILED, attempt)
                        output = recorder.last_lines()
                        raise describe(
                            *(final, node.name, item, attempt),
                            output=output,
                            versions=self._versions,
                        ) from None
                finally:
                    del final  # its traceback holds this frame
                pause = rule.settings.draw_pause(attempt)
                # Of a collection the other items go on meanwhile: where the rest of it runs.
                if not rule.patient or (pause and item is not None):
                    raise TriedLaterError(attempt) from error
                recorder.inline(self._number, attempt, 0, name)
                time.sleep(pause)
            else:
                seconds = time.perf_counter() - began
                self._paces.note(task.function, seconds)
                self._log.call(node.name, item, spent + seconds, _COMPLETED, attempt)
                return value

    def end(self) -> None:
        """No more calls are made."""
        if self._number:
            self._recorder.inline(0, 1, 0)

    # --- what calls return ----------------------------------------------------------------------

    def keep(self, node: _Calling, value: Any, item: int | None = None) -> list[Made]:
        """What a call has returned, in a form that nobody can change: one for each output."""
        name = node.name if item is None else f"{node.name}[{item}]"
        if node.outputs == 1:
            return [self._keep_part(node, value, name, item)]
        try:
            parts = split_outputs(value, node.outputs, node.name)
        except BaseException as error:
            lazy = looked(lambda: holds_graph(value), False)
            told = wrong_outputs(node.name, node.outputs, value) if lazy else error
            set_traceback(told, None)
            failure = self.no_value(told, node, item)
            return [Made(failure=failure)] * node.outputs
        return [self._keep_part(node, part, name, item) for part in parts]

    def keep_one(self, node: _Calling, value: Any) -> Made:
        """What a step of a reduction has returned."""
        return self._keep_part(node, value, node.name, None)

    def no_value(self, error: BaseException, node: Node, item: int | None = None) -> ItemFailure:
        """What a call ends with that has returned, but nothing that can be its value."""
        self._log.fail(node.name, item)
        return describe(error, node.name, item)

    def nothing_to_call(self, error: Exception, node: Node) -> ItemFailure:
        """What a node ends with that fails before it calls anything."""
        self._log.call(node.name, None, 0.0, ItemState.FAILED, 1)
        return describe(error, node.name)

    def _keep_part(self, node: _Calling, value: Any, name: str, item: int | None) -> Made:
        if type(value) in SCALARS:
            return Made(value)
        if type(value) not in LAZY:
            try:
                return Made(cell=pickle_value(value))
            except BaseException as error:
                if not looked(lambda: holds_graph(value), False):
                    told = unstorable(error, name)
                    set_traceback(told, None)
                    return Made(failure=self.no_value(told, node, item))
        graph = as_delayed(value)
        refusal = self._refusal(graph)
        if refusal is not None:
            return Made(failure=self.no_value(refusal, node, item))
        self._paces.note_graph(node.task.function)
        return Made(graph=graph)

    def _refusal(self, graph: Delayed[Any]) -> ArmoflowError | None:
        """Why the session does not allow a graph."""
        if self._plan.limits is None:
            return None
        refusals = (self.rule(node).refusal for node in nodes_of([graph]))
        return next((error for error in refusals if error is not None), None)


def as_delayed(value: Any) -> Delayed[Any]:
    """What a call returned that holds a graph, as one lazy value."""
    if isinstance(value, Delayed):
        return value
    if isinstance(value, DelayedList):
        return value.gather()
    return Delayed(CallNode(builtins.identity, (value,), {}))


def wrong_outputs(name: str, outputs: int, value: Any) -> TaskError:
    """What a task of several outputs ends with that returned one graph for all."""
    return TaskError(
        f"the task {name!r} has {outputs} outputs, so it must return that many values; "
        f"it returned {value!r}"
    )


def nodes_of(values: Iterable[Reference], there: Set[Node] = frozenset()) -> set[Node]:
    """All nodes that some values need.

    Args:
        values: The values.
        there: Nodes that are here, with all that they need: they are left out.
    """
    stack = [value.node for value in values if value.node not in there]
    seen: set[Node] = set(stack)
    while stack:
        for upstream in stack.pop().inputs:
            if upstream not in seen and upstream not in there:
                seen.add(upstream)
                stack.append(upstream)
    return seen
