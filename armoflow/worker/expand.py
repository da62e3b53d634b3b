"""A task returned a graph: the graph becomes child tasks, and they make the task's outputs.

The planner is the client's own; only what it yields goes to the agent instead of the wire. A single
value is written to the parent's output by the child that makes it. In a packed task only some items
may have returned graphs: what is finished goes into a partial result, the graphs of the others are
planned to capture their failures, and a last child puts the slots together.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from armoflow.codec.envelope import Cell, pack_envelope
from armoflow.codec.payload import Payload
from armoflow.errors import ArmoflowError, TaskError
from armoflow.graph.collection import DelayedList
from armoflow.graph.delayed import Delayed
from armoflow.graph.nodes import CallNode, Node
from armoflow.options import DEFAULT_OPTIONS, Limits, TaskOptions, merge_options
from armoflow.orchestrator import builtins
from armoflow.orchestrator.code import CodeBook
from armoflow.orchestrator.plan import Planner, PlanSettings
from armoflow.orchestrator.planned import Constant, PlannedTask, PlanPiece, Result, SlotRange
from armoflow.protocol.transport import ResultState
from armoflow.worker.context import Context


class Expander:
    """Expands the graphs that the tasks of one process return.

    Args:
        book: The code that came with these tasks: children get it without pickling it again.
    """

    def __init__(self, book: CodeBook) -> None:
        self._book = book

    def __call__(
        self, pending: Mapping[int, Any], finished: Sequence[Sequence[Cell]], context: Context
    ) -> None:
        """Submit what makes every expected output, through the context; see ``Expand``."""
        payload = context.payload
        self._book.inherit_modules(payload.modules)
        packed = payload.settings.packed or payload.settings.capture
        planner = Planner(self._book, _settings(payload, packed))
        outputs = len(context.outputs)
        values = {item: _per_output(value, outputs, payload) for item, value in pending.items()}
        if len(pending) == 1 and all(len(cells) == 1 for cells in finished):
            (only,) = values.values()
            bound = [_existing(output, payload.name) for output in context.outputs]
            for value, result in zip(only, bound, strict=True):
                planner.bind(value, result)
            planned = _plan(planner, only, context)
            for place, result, value in zip(planned, bound, only, strict=True):
                if place.result is not result:  # an item of a batch, or a value used twice
                    _emit(planner.copy([place], value.node, result), context)
            return
        items = sorted(values)
        for output, output_id in enumerate(context.outputs):
            delayed = [values[item][output] for item in items]
            places = dict(zip(items, _plan(planner, delayed, context), strict=True))
            column = _merge(finished[output], places, payload, context)
            result = _existing(output_id, payload.name)
            _emit(planner.copy(column, delayed[0].node, result), context)


def refused(pending: Mapping[int, Any], outputs: int, payload: Payload) -> dict[int, Exception]:
    """The items whose graphs ask for what the session does not allow, and why."""
    limits, found = payload.limits, dict[int, Exception]()
    if limits is None:
        return found
    base = _settings(payload, capture=False).options
    for item, value in pending.items():
        try:
            for node in _nodes(_per_output(value, outputs, payload)):
                limits.check(node.name, merge_options(node.options, base))
        except ArmoflowError as error:  # noqa: PERF203 - one per item, not per node
            found[item] = error
    return found


def _nodes(values: Sequence[Delayed[Any]]) -> set[Node]:
    """All nodes that some values need."""
    stack = [value.node for value in values]
    seen: set[Node] = set(stack)
    while stack:
        for upstream in stack.pop().inputs:
            if upstream not in seen:
                seen.add(upstream)
                stack.append(upstream)
    return seen


class _Place:
    """A target of the plan: where one value will be."""

    def __init__(self, value: Delayed[Any]) -> None:
        self.value: Delayed[Any] | DelayedList[Any] = value
        self.piece: PlanPiece | None = None

    def place(self, column: Sequence[PlanPiece], whole: bool) -> None:
        self.piece = column[0]

    def seal(self) -> None:
        """A single value: nothing follows."""

    def fail(self, error: Exception) -> None:
        raise error


def _plan(planner: Planner, values: Sequence[Delayed[Any]], context: Context) -> list[SlotRange]:
    targets = [_Place(value) for value in values]
    _emit(planner.plan(targets), context)
    places = [target.piece for target in targets]
    return [place for place in places if isinstance(place, SlotRange)]


def _emit(entries: Iterator[PlannedTask | Constant], context: Context) -> None:
    for entry in entries:
        if isinstance(entry, Constant):
            entry.result_id = context.store(entry.name, entry.parts or ())
            entry.parts = None
        else:
            context.submit(entry)


def _per_output(value: Any, outputs: int, payload: Payload) -> Sequence[Delayed[Any]]:
    """The delayed value of each output."""
    if outputs == 1:
        return [_delayed(value)]
    if not isinstance(value, (tuple, list)) or len(value) != outputs:
        raise TaskError(
            f"the task {payload.name!r} has {outputs} outputs, so it must return that many values; "
            f"it returned {value!r}"
        )
    return [_delayed(part) for part in value]


def _delayed(value: Any) -> Delayed[Any]:
    if isinstance(value, Delayed):
        return value
    if isinstance(value, DelayedList):
        return value.gather()
    return Delayed(CallNode(builtins.identity, (value,), {}))


def _merge(
    cells: Sequence[Cell], places: Mapping[int, SlotRange], payload: Payload, context: Context
) -> list[PlanPiece]:
    """The slots of an output: finished ones in a partial result, the others in children's."""
    column: list[PlanPiece] = []
    if len(places) < len(cells):
        stored = context.store(f"partial {payload.name}", pack_envelope(cells))
        partial = _existing(stored, payload.name)
    start = 0
    for item in sorted(places):
        if item > start:
            column.append(SlotRange(partial, start, item))
        column.append(places[item])
        start = item + 1
    if start < len(cells):
        column.append(SlotRange(partial, start, len(cells)))
    return column


def _existing(result_id: str, name: str) -> Result:
    result = Result(name)
    result.id = result_id
    result.state = ResultState.CREATED
    return result


def _settings(payload: Payload, capture: bool) -> PlanSettings:
    defaults = tuple(payload.settings.defaults.items())
    return _make_settings(defaults, capture, payload.key, payload.limits)


@functools.lru_cache(maxsize=64)
def _make_settings(
    defaults: tuple[tuple[str, Any], ...], capture: bool, key: bytes, limits: Limits | None
) -> PlanSettings:
    """One for all tasks with the same: what follows from options is worked out once for them."""
    options = merge_options(TaskOptions(**dict(defaults)), DEFAULT_OPTIONS)
    return PlanSettings(options=options, capture=capture, key=key, limits=limits)
