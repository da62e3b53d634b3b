"""A returned graph is begun in the process that returned it: small graphs need no tasks at all.

Calls are run depth first, on a stack of their own, until the seconds that are granted are over;
what is left is planned as child tasks, for which what was made here exists already. To the user a
call that runs here is as one that has a task: it has its own name, attempts, timeout and error, and
gets arguments that nobody else holds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from armoflow import config
from armoflow.codec.envelope import SlotKind, pack_envelope
from armoflow.codec.payload import Payload
from armoflow.errors import ArmoflowError, EnvelopeError, TaskError
from armoflow.graph.collection import DelayedList
from armoflow.graph.delayed import Delayed
from armoflow.graph.nodes import CallNode, Node
from armoflow.orchestrator import builtins
from armoflow.orchestrator.planned import Result, SlotRange
from armoflow.protocol.transport import ResultState
from armoflow.worker.attempts import describe
from armoflow.worker.failures import ItemFailure, MissingDataError
from armoflow.worker.inline_rules import CallRule, Functions
from armoflow.worker.inputs import pickle_value
from armoflow.worker.job import holds_graph, split_outputs, unstorable
from armoflow.worker.made import Arguments, Made
from armoflow.worker.mark import Recorder, weight
from armoflow.worker.operations import SCALARS

if TYPE_CHECKING:
    from armoflow.orchestrator.planning.known import Found
    from armoflow.orchestrator.planning.settings import PlanSettings
    from armoflow.worker.context import Context


class _Frame:
    """A call whose inputs are looked at one after the other; without a node, several graphs."""

    __slots__ = ("node", "position", "references")

    def __init__(self, node: CallNode | None, references: Sequence[Any]) -> None:
        self.node = node
        self.references = references
        self.position = 0


class Inline:
    """The graphs that one task has returned, run here as far as the time goes.

    Args:
        payload: The task's.
        plan: How what is left is planned.
        functions: The functions of this process.
        recorder: Notes what runs.
        seconds: How long calls may be begun.
    """

    def __init__(
        self,
        payload: Payload,
        plan: PlanSettings,
        functions: Functions,
        recorder: Recorder,
        seconds: float,
    ) -> None:
        self._parent = payload
        self._plan = plan
        self._functions = functions
        self._paces = functions.paces
        self._recorder = recorder
        self._seconds = seconds
        self._end = 0.0
        self._over = False
        self._made: dict[Node, Sequence[Made]] = {}
        self._left: set[Node] = set()
        self._rules: dict[int, CallRule] = {}
        self._partials: list[tuple[Result, list[Made]]] = []
        self._room = 0
        self._number = 0

    # --- running --------------------------------------------------------------------------------

    def run(self, values: Sequence[Delayed[Any]]) -> None:
        """Run calls that these values need, until all are here or the time is over."""
        if self._seconds <= 0:
            return
        self._end = time.perf_counter() + self._seconds
        try:
            self._run([_Frame(None, values)])
        finally:
            if self._number:
                self._recorder.inline(0, 1, 0)

    def _run(self, stack: list[_Frame]) -> None:
        made, left = self._made, self._left
        while stack:
            frame = stack[-1]
            node = self._next(frame)
            if node is None:
                stack.pop()
                if frame.node is None:
                    continue
                graphs = self._finish(frame.node, stack)
                if graphs:
                    stack.append(_Frame(None, graphs))
                continue
            if frame.node is None and frame.position == len(frame.references):
                stack.pop()  # so that a recursion takes no room
            if self._may_run(node):
                stack.append(_Frame(node, node.arguments))  # type: ignore[arg-type]
            elif node not in made:
                left.add(node)

    def _next(self, frame: _Frame) -> Node | None:
        """The next input of a call that was not looked at; none after one that failed."""
        references, made, left = frame.references, self._made, self._left
        while frame.position < len(references):
            if frame.node is not None and frame.position:
                before = self._reach(references[frame.position - 1])
                if before is not None and before.failure is not None:
                    return None
            node: Node = references[frame.position].node
            frame.position += 1
            if node not in made and node not in left:
                return node
        return None

    def _may_run(self, node: Node) -> bool:
        if self._over or type(node) is not CallNode or node.block is not None:
            return False
        if not self._rule(node).here or any(
            type(reference) is DelayedList for reference in node.arguments
        ):
            return False
        try:
            self._functions.of(node.task)
        except Exception:  # the plan comes to it, and says why
            return False
        pace = self._paces.of(node.task.function)
        return pace is None or pace <= self._seconds

    def _rule(self, node: Node) -> CallRule:
        rule = self._rules.get(id(node.options))
        if rule is None:
            rule = CallRule(node, self._plan, self._parent.settings, self._seconds)
            self._rules[id(node.options)] = rule
        return rule

    def _finish(self, node: CallNode, stack: Sequence[_Frame]) -> list[Delayed[Any]] | None:
        """All inputs of a call were looked at: run it, if it can be; returns its graphs."""
        for reference in node.arguments:
            held = self._reach(reference)  # type: ignore[arg-type]  # see _may_run
            if held is None or held.graph is not None:
                self._left.add(node)
                return None
            if held.failure is not None:
                record = held.failure.record.via(node.name)
                failure = ItemFailure(record, SlotKind.SKIPPED, placed=True)
                self._made[node] = [Made(failure=failure)] * node.outputs
                return None
        self._over = self._over or time.perf_counter() > self._end
        known = self._paces.of(node.task.function) is not None
        if self._over or not (known or self._is_calm(stack)):
            self._left.add(node)
            return None
        try:
            load = Arguments(node, self._reach)
        except Exception:  # an argument cannot be pickled: the plan comes to it, and says which
            self._left.add(node)
            return None
        outputs = self._call(node, load)
        self._made[node] = outputs
        return [output.graph for output in outputs if output.graph is not None]

    def _is_calm(self, stack: Sequence[_Frame]) -> bool:
        """Whether nothing but what is known to be quick would wait for a call of unknown length."""
        return not self._left and all(
            self._is_quick(reference.node)
            for frame in stack
            for reference in frame.references[frame.position :]
        )

    def _is_quick(self, node: Node) -> bool:
        if node in self._made:
            return True
        return self._may_run(node) and self._paces.of(node.task.function) is not None  # type: ignore[attr-defined]

    def _call(self, node: CallNode, load: Callable[[], Any]) -> Sequence[Made]:
        """Make the attempts of a call."""
        rule = self._rule(node)
        function, recorder = self._functions.of(node.task), self._recorder
        self._functions.enter(node.task.function)
        attempt = 0
        while True:
            attempt += 1
            self._number += 1
            deadline = time.monotonic_ns() + rule.timeout if rule.timeout else 0
            recorder.inline(self._number, attempt, deadline)
            began = time.perf_counter()
            try:
                args, kwargs = load()
                value = function(*args, **kwargs)
            except BaseException as error:
                lost = isinstance(error, (MissingDataError, EnvelopeError))
                if lost or attempt > rule.settings.retries:
                    failure = describe(error, node.name, None, attempt)
                    return [Made(failure=failure)] * node.outputs
                recorder.inline(self._number, attempt, 0)
                time.sleep(rule.settings.pause_after(attempt))
            else:
                self._paces.note(node.task.function, time.perf_counter() - began)
                return self._keep(node, value)

    # --- what calls return ----------------------------------------------------------------------

    def _keep(self, node: CallNode, value: Any) -> Sequence[Made]:
        """What a call has returned, in a form that nobody can change."""
        if node.outputs == 1:
            return [self._keep_part(node, value)]
        try:
            parts = split_outputs(value, node.outputs, node.name)
        except Exception:
            if holds_graph(value):
                error = wrong_outputs(node.name, node.outputs, value)
            failure = describe(error.with_traceback(None), node.name)
            return [Made(failure=failure)] * node.outputs
        return [self._keep_part(node, part) for part in parts]

    def _keep_part(self, node: CallNode, value: Any) -> Made:
        if value.__class__ in SCALARS:
            return Made(value)
        try:
            return Made(cell=pickle_value(value))
        except Exception as error:
            if not holds_graph(value):
                told = unstorable(error, node.name).with_traceback(None)
                return Made(failure=describe(told, node.name))
        graph = as_delayed(value)
        refusal = self._refusal(graph) or self._circle(node, graph)
        if refusal is not None:
            return Made(failure=describe(refusal, node.name))
        return Made(graph=graph)

    def _refusal(self, graph: Delayed[Any]) -> ArmoflowError | None:
        """Why the session does not allow a graph."""
        if self._plan.limits is None:
            return None
        refusals = (self._rule(node).refusal for node in nodes_of([graph]))
        return next((error for error in refusals if error is not None), None)

    def _circle(self, node: CallNode, graph: Delayed[Any]) -> ArmoflowError | None:
        """Why a call cannot have a graph's value: it is that of the call itself."""
        held = self._reach(graph)
        last = graph if held is None else held.graph
        if last is None or last.node is not node:
            return None
        return TaskError(f"task {node.name!r} returned a graph that needs its own value")

    # --- for what is left -----------------------------------------------------------------------

    def _reach(self, reference: Delayed[Any]) -> Made | None:
        """What a value has come to: made, or the graph that still makes it; None: not looked at."""
        outputs = self._made.get(reference.node)
        if outputs is None:
            return None
        made = outputs[reference.output]
        passed = []
        while made.graph is not None:
            after = made.after
            if after is None:
                outputs = self._made.get(made.graph.node)
                if outputs is None:
                    break
                after = outputs[made.graph.output]
            passed.append(made)
            made = after
        for one in passed:
            one.after = made  # a recursion is not followed again level by level
        return made

    def end(self, value: Delayed[Any]) -> Made | Delayed[Any]:
        """What a value has come to, or the lazy value that it still is."""
        made = self._reach(value)
        if made is None:
            return value
        return made if made.graph is None else made.graph

    def blame(self, nodes: Sequence[Node], error: Exception) -> bool:
        """Let the call fail whose graph could not be planned.

        Args:
            nodes: What was being planned, each for the one before it.
            error: Why it could not.

        Returns:
            Whether there is such a call among them.
        """
        owner = next((node for node in reversed(nodes) if node in self._made), None)
        if owner is None:
            return False
        made = self._made[owner]
        while True:  # the last one of those that are the same as one another
            graph = next(output.graph for output in made if output.graph is not None)
            following = self._made.get(graph.node)
            if following is None:
                break
            owner, made = graph.node, following
        failure = describe(error, owner.name)
        for output in made:
            if output.graph is not None:
                output.graph, output.failure = None, failure
        return True

    def find(self, node: Node) -> Found | None:
        """See :class:`~armoflow.orchestrator.known.Known`."""
        outputs = self._made.get(node)
        if outputs is None:
            return None
        ends = [self.end(Delayed(node, output)) for output in range(len(outputs))]
        return [self._place(one) if isinstance(one, Made) else one for one in ends]

    def _place(self, made: Made) -> SlotRange:
        """Where a child task will find a value: small ones lie together."""
        if made.place is None:
            length = weight(made.cell)
            if length > self._room or not self._partials:
                result = Result(f"partial {self._parent.name}")
                result.state = ResultState.CREATED
                self._partials.append((result, []))
                self._room = config.INLINE_DATA_LIMIT
            self._room -= length
            result, column = self._partials[-1]
            made.place = SlotRange(result, len(column), len(column) + 1)
            column.append(made)
        return made.place

    def store(self, context: Context) -> None:
        """Store what child tasks need of what was made here."""
        for result, column in self._partials:
            cells = [made.to_cell(context.slot) for made in column]
            result.id = context.store(result.name, pack_envelope(cells))


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


def nodes_of(values: Sequence[Delayed[Any]]) -> set[Node]:
    """All nodes that some values need."""
    stack = [value.node for value in values]
    seen: set[Node] = set(stack)
    while stack:
        for upstream in stack.pop().inputs:
            if upstream not in seen:
                seen.add(upstream)
                stack.append(upstream)
    return seen
