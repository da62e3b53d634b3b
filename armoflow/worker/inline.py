"""A returned graph is begun in the process that returned it: small graphs need no tasks at all.

Calls are run depth first, on a stack of their own, until the seconds that are granted are over;
what is left is planned as child tasks, for which what was made here exists already. To the user a
call that runs here is as one that has a task: it has its own name, attempts, timeout and error, and
gets arguments that nobody else holds. Operations on collections are run item by item (see
``inline_items``), and may be cut between two of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from armoflow import config
from armoflow.codec.item_log import ItemLog
from armoflow.codec.payload import Payload
from armoflow.errors import TaskError
from armoflow.graph.collection import DelayedList
from armoflow.graph.delayed import Delayed
from armoflow.graph.nodes import (
    CallNode,
    CollectionNode,
    FilterNode,
    FoldNode,
    GatherNode,
    ItemNode,
    MapNode,
    Node,
    ReduceNode,
    SliceNode,
    SourceNode,
    ZipNode,
)
from armoflow.graph.stepwise import IterateNode
from armoflow.orchestrator.planned import SlotRange
from armoflow.orchestrator.planning.known import Begun, Found
from armoflow.worker.failures import ItemFailure
from armoflow.worker.inline_calls import InlineCaller, TriedLaterError, nodes_of
from armoflow.worker.inline_items import run_filter, run_map
from armoflow.worker.inline_iterators import Taken
from armoflow.worker.inline_reductions import run_reduction
from armoflow.worker.inline_rules import Functions
from armoflow.worker.inline_sources import (
    run_elsewhere,
    run_gather,
    run_item,
    run_slice,
    run_source,
    run_zip,
)
from armoflow.worker.inline_steps import InputSteps, Unfinished, skipped
from armoflow.worker.inline_time import InlineTime
from armoflow.worker.made import ArgumentLoader, Made, Row
from armoflow.worker.mark import MarkWriter
from armoflow.worker.originals import Originals
from armoflow.worker.partials import Partials

if TYPE_CHECKING:
    from armoflow.graph.arguments import Reference
    from armoflow.graph.base_task import BaseTask
    from armoflow.orchestrator.planning.plan_settings import PlanSettings


_KINDS: dict[type[Node], Callable[[Any, Any], InputSteps]] = {
    SourceNode: run_source,
    MapNode: run_map,
    FilterNode: run_filter,
    ZipNode: run_zip,
    SliceNode: run_slice,
    ItemNode: run_item,
    GatherNode: run_gather,
    ReduceNode: run_reduction,
    FoldNode: run_reduction,
    IterateNode: run_elsewhere,
}
"""What runs each kind of node but calls."""


class _NodeFrame:
    """A node whose inputs are looked at one after the other; without a node, several graphs."""

    __slots__ = ("node", "position", "references", "steps")

    def __init__(
        self,
        node: Node | None,
        references: Sequence[Any],
        steps: Iterator[Sequence[Any]] | None = None,
    ) -> None:
        self.node = node
        self.references = references
        self.position = 0
        self.steps = steps


class Inline:
    """The graphs that one task has returned, run here as far as the time goes.

    Args:
        payload: The task's.
        plan: How what is left is planned.
        functions: The functions of this process.
        recorder: Notes what runs.
        time: How long calls may be begun.
        log: Told what becomes of them.

    Attributes:
        caller: Makes the calls.
        taken: Of iterators that were read, what a plan finds in their place.
        originals: The large memory that its calls take.
    """

    def __init__(
        self,
        payload: Payload,
        plan: PlanSettings,
        functions: Functions,
        recorder: MarkWriter,
        time: InlineTime,
        *,
        log: ItemLog,
    ) -> None:
        self.caller = InlineCaller(plan, payload, functions, recorder, time.seconds, log=log)
        self.taken: dict[Node, Taken] = {}
        self.originals = Originals()
        self._time = time
        self._stack: list[_NodeFrame] = []
        self._made: dict[Node, Sequence[Made]] = {}
        self._rows: dict[Node, Sequence[Row]] = {}
        self._begun: dict[Node, Unfinished] = {}
        self._open: set[Node] = set()
        self._left: set[Node] = set()
        self._spent: dict[Node, int] = {}
        self._partials = Partials(payload.name)
        self.store = self._partials.store

    # --- running --------------------------------------------------------------------------------

    def run(self, values: Sequence[Delayed[Any]]) -> None:
        """Run what these values need, until all are here or the time is over."""
        if self._time.seconds <= 0:
            return
        self._time.begin()
        self._stack = [_NodeFrame(None, values)]
        try:
            self._run()
        finally:
            self.caller.end()

    def _run(self) -> None:
        stack, left = self._stack, self._left
        while stack:
            frame = stack[-1]
            node = self._next(frame)
            if node is None:
                self._leave(frame)
                continue
            if frame.node is None and frame.position == len(frame.references):
                stack.pop()  # so that a recursion takes no room
            if type(node) is CallNode:
                if self.caller.may_call(node, node.task) and not self._time.over:
                    stack.append(_NodeFrame(node, node.arguments))
                else:
                    left.add(node)
            elif self._time.over or node in self._open:  # a node in its own graph: the plan says so
                left.add(node)
            else:
                self._open.add(node)
                stack.append(_NodeFrame(node, (), _KINDS[type(node)](self, node)))

    def _next(self, frame: _NodeFrame) -> Node | None:
        """The next input that was not looked at; of a call, none after one that failed."""
        references, made, left = frame.references, self._made, self._left
        while frame.position < len(references):
            if frame.steps is None and frame.node is not None and frame.position:
                before = self.reach(references[frame.position - 1])
                if before is not None and before.failure is not None:
                    return None
            node: Node = references[frame.position].node
            frame.position += 1
            if node not in made and node not in left and node not in self._rows:
                return node
        return None

    def _leave(self, frame: _NodeFrame) -> None:
        """All inputs of a node were looked at: it is run, if it can be."""
        node, stack = frame.node, self._stack
        if frame.steps is not None:
            assert node is not None
            following = next(frame.steps, None)
            if following is not None:
                frame.references, frame.position = following, 0
                return
            self._open.discard(node)
            if node not in self._made and node not in self._rows:
                self._left.add(node)
        stack.pop()
        if frame.steps is None and node is not None:
            assert isinstance(node, CallNode)
            graphs = self._finish(node)
            if graphs:
                stack.append(_NodeFrame(None, graphs))

    def _finish(self, node: CallNode) -> list[Delayed[Any]] | None:
        """All inputs of a call were looked at: run it, if it can be; returns its graphs."""
        for reference in node.arguments:
            held = self.reach(reference)
            if held is None or held.graph is not None:
                self._left.add(node)
                return None
            if held.failure is not None:
                self._made[node] = [Made(failure=skipped(held.failure, node.name))] * node.outputs
                return None
        if not self.may_begin(node.task):
            self._left.add(node)
            return None
        try:
            load = ArgumentLoader(
                *(node.name, node.args, node.kwargs, node.arguments),
                self.reach,
                originals=self.originals,
            )
        except Exception:  # an argument cannot be pickled: the plan comes to it, and says which
            self._left.add(node)
            return None
        try:
            outputs = self._call(node, load)
        except TriedLaterError as later:
            self._spent[node] = later.spent
            self._left.add(node)
            return None
        self._made[node] = outputs
        return [output.graph for output in outputs if output.graph is not None]

    def _call(self, node: CallNode, load: ArgumentLoader) -> list[Made]:
        try:
            value = self.caller.call(node, node.task, load)
        except ItemFailure as failure:
            return [Made(failure=failure)] * node.outputs
        outputs = self.caller.keep(node, value)
        for output in outputs:
            if output.graph is not None and self._is_circle(node, output.graph):
                text = f"task {node.name!r} returned a graph that needs its own value"
                output.graph, output.failure = None, self.caller.no_value(TaskError(text), node)
        return outputs

    def _is_circle(self, node: CallNode, graph: Delayed[Any]) -> bool:
        """Whether a call cannot have a graph's value: it is that of the call itself."""
        held = self.reach(graph)
        last = graph if held is None else held.graph
        return last is not None and last.node is node

    # --- what may run ---------------------------------------------------------------------------

    def may_begin(self, task: BaseTask[Any, Any], calls: int = 1) -> bool:
        """Whether calls of a task may be begun now.

        Args:
            task: The task.
            calls: How many there are that could run at once.
        """
        time, pace = self._time, self.caller.pace(task)
        left = time.left()
        if not time.over and pace is not None and self._shares(pace, calls):
            time.stop()
            left = 0.0
        if time.over:
            # Its inputs are here: what ends soon, and gives a value, needs no task any more.
            fits = pace is not None and pace * calls <= left + time.overtime
            return fits and not self.caller.expands(task)
        if pace is None:
            return calls == 1 and self._is_calm()
        return pace <= time.seconds if calls == 1 else pace * calls <= left

    def _shares(self, pace: float, calls: int) -> bool:
        """Whether another process is free to take a part of these calls, or what is behind them."""
        if pace * calls < config.INLINE_SHARED or not self._time.hands_are_free:
            return False
        return calls > 1 or bool(self._left) or any(map(self._is_long, self._waiting()))

    def _is_calm(self) -> bool:
        """Whether nothing but what is known to be quick would wait for a call of unknown length."""
        return not self._left and all(map(self._is_quick, self._waiting()))

    def _waiting(self) -> set[Node]:
        """What would wait for a call that is begun now."""
        waiting = (
            reference for frame in self._stack for reference in frame.references[frame.position :]
        )
        return nodes_of(waiting, self._made.keys() | self._rows.keys())

    def _is_long(self, node: Node) -> bool:
        """Whether it is worth a task of its own, as far as that is known."""
        task = getattr(node, "task", None)
        if task is None:
            return False
        pace, calls = self.caller.pace(task), getattr(node, "length", 1)
        if pace is None or calls is None or self.caller.expands(task):
            return True
        return pace * calls >= config.INLINE_SHARED

    def _is_quick(self, node: Node) -> bool:
        task = getattr(node, "task", None)
        if task is None:  # it only puts others together
            return True
        pace, calls = self.caller.pace(task), getattr(node, "length", 1)
        if pace is None or calls is None or not self.caller.may_call(node, task):
            return False
        return pace * calls <= self._time.seconds

    # --- for the kinds of nodes -----------------------------------------------------------------

    def row(self, source: Reference) -> Row | None:
        """The items of a collection, if all of them were made."""
        rows = self._rows.get(source.node)
        return None if rows is None else rows[source.output]

    def set_rows(self, node: Node, rows: Sequence[Row]) -> None:
        """All items of a collection were made: a row for each output."""
        self._rows[node] = rows

    def set_begun(
        self, node: Node, rows: Sequence[Row], rest: CollectionNode, spent: int = 0
    ) -> None:
        """The first items of a collection were made; the others are another collection.

        Args:
            node: The collection.
            rows: The items, for each output.
            rest: The others.
            spent: Attempts that the first one of these has spent.
        """
        self._begun[node] = Unfinished(rows, rest)
        self._spent[rest] = spent

    def spent(self, node: Node) -> int:
        """See :class:`~armoflow.orchestrator.planning.known.Known`."""
        return self._spent.get(node, 0)

    def set_value(self, node: Node, made: Made) -> None:
        """A node's only value was made."""
        self._made[node] = [made]

    # --- for what is left -----------------------------------------------------------------------

    def reach(self, reference: Reference) -> Made | None:
        """What a value has come to: made, or the graph that still makes it; None: not looked at."""
        if type(reference) is DelayedList:
            return self._reach_list(reference)
        outputs = self._made.get(reference.node)
        if outputs is None:
            return None
        return self.last(outputs[reference.output])

    def last(self, made: Made) -> Made:
        """What a value has come to that may have been a graph."""
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

    def _reach_list(self, reference: DelayedList[Any]) -> Made | None:
        """The list of a collection's values, if all of them were made."""
        row = self.row(reference)
        if row is None:
            return None
        parts = [self.last(made) for made in row if made is not None]
        return Made.together(parts, list) if all(part.graph is None for part in parts) else None

    def end(self, value: Delayed[Any]) -> Made | Delayed[Any]:
        """What a value has come to, or the lazy value that it still is."""
        made = self.reach(value)
        if made is None:
            return value
        return made if made.graph is None else made.graph

    def find(self, node: Node) -> Found | None:
        """See :class:`~armoflow.orchestrator.planning.known.Known`."""
        outputs = self._made.get(node)
        return None if outputs is None else [self._found(made) for made in outputs]

    def find_scattered(self, node: CollectionNode) -> None:
        """What was run are always the first items."""

    def find_items(self, node: CollectionNode) -> Begun | None:
        """See :class:`~armoflow.orchestrator.planning.known.Known`."""
        begun = self._begun.get(node)
        if begun is None and node in self._rows and isinstance(node, (MapNode, FilterNode)):
            begun = Unfinished(self._rows[node], None)
        if begun is None:
            return None
        return Begun([[*map(self._found, row)] for row in begun.rows], begun.rest)

    def _found(self, made: Made | None) -> SlotRange | Delayed[Any]:
        one = None if made is None else self.last(made)
        return one.graph if one is not None and one.graph is not None else self._partials.place(one)

    @property
    def captures(self) -> bool:
        """Whether an item of a collection is still a graph: where that fails, others go on."""
        rows = [*self._rows.values(), *(begun.rows for begun in self._begun.values())]
        items = (made for columns in rows for row in columns for made in row)
        return any(made is not None and self.last(made).graph is not None for made in items)

    def blame(self, nodes: Sequence[Node], error: BaseException) -> bool:
        """Let the call fail whose graph could not be planned.

        Args:
            nodes: What was being planned, each for the one before it.
            error: Why it could not.

        Returns:
            Whether there is such a call among them.
        """
        for node, needed in reversed([*zip(nodes, [*nodes[1:], None], strict=False)]):
            if node in self._made:
                self._blame_call(node, error)
                return True
            if self._blame_items(node, needed, error):
                return True
        return False

    def _blame_call(self, owner: Node, error: BaseException) -> None:
        made = self._made[owner]
        while True:  # the last one of those that are the same as one another
            graph = next(output.graph for output in made if output.graph is not None)
            following = self._made.get(graph.node)
            if following is None:
                break
            owner, made = graph.node, following
        failure = self.caller.no_value(error, owner)
        for output in made:
            if output.graph is not None:
                output.graph, output.failure = None, failure

    def _blame_items(self, node: Node, needed: Node | None, error: BaseException) -> bool:
        """Let the items of a collection fail that are the same as a node; whether there are any."""
        begun = self._begun.get(node)
        rows = self._rows.get(node, ()) if begun is None else begun.rows
        found = False
        for row in rows:
            for index, item in enumerate(row):
                made = None if item is None else self.last(item)
                if made is not None and made.graph is not None and made.graph.node is needed:
                    position = getattr(node, "first", 0) + index
                    made.graph, made.failure = None, self.caller.no_value(error, node, position)
                    found = True
        return found
