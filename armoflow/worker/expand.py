"""A task returned a graph: the graph becomes child tasks, and they make the task's outputs.

What is small and quick is run here first (see ``inline``). What is left is planned by the client's
own planner; only what that yields goes to the agent instead of the wire. A single value is written
to the parent's output by the child that makes it. In a packed task only some items may have
returned graphs: what is finished goes into a partial result, the graphs of the others are planned
to capture their failures, and a last child puts the slots together.
"""

from __future__ import annotations

import functools
import logging
import pickle
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from armoflow.codec.envelope import Cell, pack_envelope
from armoflow.codec.payload import Operation, Payload
from armoflow.errors import ArmoflowError
from armoflow.graph.collection import DelayedList
from armoflow.graph.delayed import Delayed
from armoflow.options import DEFAULT_OPTIONS, TaskOptions, merge_options
from armoflow.orchestrator.codebook import CodeBook
from armoflow.orchestrator.constant import Constant
from armoflow.orchestrator.paces import Paces
from armoflow.orchestrator.pack_sizes import CLUSTER_PACKING, PACKING
from armoflow.orchestrator.planned import PlannedTask, PlanPiece, Result, SlotRange
from armoflow.orchestrator.planning.plan_settings import (
    PlanSettings,
    Surroundings,
    subgraph_seconds,
)
from armoflow.orchestrator.planning.planner import Planner
from armoflow.worker.expansion_context import ExpansionContext
from armoflow.worker.failures import ItemFailure
from armoflow.worker.inline import Inline
from armoflow.worker.inline_calls import as_delayed, nodes_of, wrong_outputs
from armoflow.worker.inline_rules import Functions
from armoflow.worker.inline_time import InlineTime
from armoflow.worker.made import Made
from armoflow.worker.mark import HANDS, MarkWriter
from armoflow.worker.reach import Reach

logger = logging.getLogger(__name__)

_KEPT_SETTINGS = 64


class Expander:
    """Expands the graphs that the tasks of one process return.

    Args:
        book: The code that came with these tasks: children get it without pickling it again.
        enter: Told which function runs, and how far it reaches.
        paces: How long functions take here.
        recorder: Notes what runs.
    """

    def __init__(
        self,
        book: CodeBook,
        enter: Callable[[Callable[..., Any], Reach], None],
        paces: Paces,
        recorder: MarkWriter,
    ) -> None:
        self._book = book
        self._recorder = recorder
        self._functions = Functions(book, paces, enter)
        self._settings: dict[Any, PlanSettings] = {}

    def __call__(
        self,
        pending: Mapping[int, Any],
        finished: Sequence[Sequence[Cell]],
        context: ExpansionContext,
    ) -> None:
        """Make every expected output, or submit what does, through the context; see ``Expand``."""
        payload, count = context.payload, len(context.outputs)
        self._book.inherit(payload)
        packed = payload.settings.packed or payload.settings.capture
        settings = self._plan_settings(payload, packed, context)
        values = {item: _per_output(value, count, payload) for item, value in pending.items()}
        functions, recorder = self._functions, self._recorder
        time_here = InlineTime(context.seconds, lambda: recorder.words[HANDS])
        inline = Inline(payload, settings, functions, recorder, time_here, log=context.log)
        began = time.perf_counter()
        inline.run([value for item in sorted(values) for value in values[item]])
        if payload.operation is Operation.GRAPH:
            context.ran = time.perf_counter() - began
        while True:
            ends = {item: [inline.end(value) for value in values[item]] for item in sorted(values)}
            if not packed:
                _fail(next(iter(ends.values())))
            if inline.captures and not settings.capture:
                settings = replace(settings, capture=True)
            planner = Planner(self._book, settings, inline)
            planner.surroundings = Surroundings(taken=inline.taken)
            try:
                if len(pending) == 1 and all(len(cells) == 1 for cells in finished):
                    _make_each(ends.popitem()[1], planner, context)
                else:
                    _make_columns(ends, finished, planner, context)
                break
            except BaseException as error:
                # A call that ran here returned what cannot be planned: it fails, and no other one.
                if not inline.blame(planner.stuck, error):
                    raise
                context.forget()
            finally:
                planner.release()
        inline.store(context)

    def _plan_settings(
        self, payload: Payload, capture: bool, context: ExpansionContext
    ) -> PlanSettings:
        """One for all tasks with the same: what follows from options is worked out once."""
        defaults = tuple(payload.settings.defaults.items())
        local, apart = context.local, context.seconds <= 0
        key = (defaults, capture, payload.key, payload.limits, payload.inline, local, apart)
        settings = self._settings.get(key)
        if settings is None:
            if len(self._settings) >= _KEPT_SETTINGS:
                self._settings.clear()
            settings = self._settings[key] = PlanSettings(
                options=_options(defaults),
                capture=capture,
                key=payload.key,
                limits=payload.limits,
                inline=payload.inline,
                cut=True,
                paces=self._functions.paces,
                packing=PACKING if local else CLUSTER_PACKING,
                # What has cost a process before must not be one task again.
                subgraph_seconds=subgraph_seconds(local, 0.0 if apart else payload.inline),
            )
        return settings


def _fail(ends: Sequence[Made | Delayed[Any]]) -> None:
    """Fail, if that is what all outputs come to; where each has its own failure, it holds that.

    Raises:
        ItemFailure: Why none of them has a value.
    """
    failures = {one.failure if isinstance(one, Made) else None for one in ends}
    failure = failures.pop()
    if failure is not None and not failures:
        raise failure


def _make_each(
    ends: Sequence[Made | Delayed[Any]], planner: Planner, context: ExpansionContext
) -> None:
    """The outputs of one call: each is written here, or by the child that makes its value."""
    left: list[Delayed[Any]] = []
    bound: list[Result] = []
    for one, output in zip(ends, context.outputs, strict=True):
        if isinstance(one, Made):
            failed = one.failure
            if failed is not None and context.payload.operation is not Operation.GRAPH:
                # As it is told where a whole task fails.
                record = failed.record.via(context.payload.name)
                one = Made(failure=ItemFailure(record, failed.kind))  # noqa: PLW2901
            context.write(output, [one.to_cell(context.slot)])
        else:
            result = Result.existing(output, context.payload.name)
            planner.bind(one, result)
            left.append(one)
            bound.append(result)
    planned = _plan(planner, left, context)
    for place, result, value in zip(planned, bound, left, strict=True):
        if place.result is not result:  # an item of a batch, or a value used twice
            _emit(planner.copy([place], value.node, result), context)


def _make_columns(
    ends: Mapping[int, Sequence[Made | Delayed[Any]]],
    finished: Sequence[Sequence[Cell]],
    planner: Planner,
    context: ExpansionContext,
) -> None:
    """The outputs of a task of several items: a last child puts each one's slots together."""
    for output, output_id in enumerate(context.outputs):
        cells, left = list(finished[output]), dict[int, Delayed[Any]]()
        for item, row in ends.items():
            one = row[output]
            if isinstance(one, Made):
                cells[item] = one.to_cell(context.slot)
            else:
                left[item] = one
        if not left:
            context.write(output_id, cells)
            continue
        delayed = list(left.values())
        places = dict(zip(left, _plan(planner, delayed, context), strict=True))
        column = _merge(cells, places, context.payload, context)
        result = Result.existing(output_id, context.payload.name)
        _emit(planner.copy(column, delayed[0].node, result), context)


def refused(pending: Mapping[int, Any], outputs: int, payload: Payload) -> dict[int, Exception]:
    """The items whose graphs ask for what the session does not allow, and why."""
    limits, found = payload.limits, dict[int, Exception]()
    if limits is None:
        return found
    base = _options(tuple(payload.settings.defaults.items()))
    for item, value in pending.items():
        try:
            for node in nodes_of(_per_output(value, outputs, payload)):
                limits.check(node.name, merge_options(node.options, base))
        except ArmoflowError as error:  # noqa: PERF203 - one per item, not per node
            found[item] = error
    return found


class _ValueTarget:
    """A target of the plan: where one value will be."""

    def __init__(self, value: Delayed[Any]) -> None:
        self.value: Delayed[Any] | DelayedList[Any] = value
        self.piece: PlanPiece | None = None

    def place(self, column: Sequence[PlanPiece], whole: bool) -> None:
        self.piece = column[0]

    def seal(self) -> None:
        """A single value: nothing follows."""

    def fail(self, error: BaseException) -> None:
        raise error


def _plan(
    planner: Planner, values: Sequence[Delayed[Any]], context: ExpansionContext
) -> list[SlotRange]:
    targets = [_ValueTarget(value) for value in values]
    _emit(planner.plan(targets), context)
    places = [target.piece for target in targets]
    return [place for place in places if isinstance(place, SlotRange)]


def _emit(entries: Iterator[PlannedTask | Constant], context: ExpansionContext) -> None:
    inherited = context.payload.settings.defaults.get("backup")  # of the client: where it can be
    for entry in entries:
        if isinstance(entry, Constant):
            entry.result_id = context.store(entry.name, entry.parts or ())
            entry.parts = None
        else:
            if entry.backup and not inherited:
                _tell_of_backup(entry.name, context.payload.name)
            context.submit(entry)


@functools.lru_cache(_KEPT_SETTINGS)
def _tell_of_backup(name: str, parent: str) -> None:
    """Say it once that nobody looks for stragglers of a task."""
    logger.warning(
        "task %r says backup=True, and is in a graph that task %r has returned: a straggler there "
        "is not run a second time",
        *(name, parent),
    )


def _per_output(value: Any, outputs: int, payload: Payload) -> Sequence[Delayed[Any]]:
    """The delayed value of each output."""
    if outputs == 1:
        return [as_delayed(value)]
    if not isinstance(value, (tuple, list)) or len(value) != outputs:
        raise wrong_outputs(payload.name, outputs, value)
    return [as_delayed(part) for part in value]


def _merge(
    cells: Sequence[Cell],
    places: Mapping[int, SlotRange],
    payload: Payload,
    context: ExpansionContext,
) -> list[PlanPiece]:
    """The slots of an output: finished ones in a partial result, the others in children's."""
    column: list[PlanPiece] = []
    if len(places) < len(cells):
        stored = context.store(f"partial {payload.name}", pack_envelope(cells))
        partial = Result.existing(stored, payload.name)
    start = 0
    for item in sorted(places):
        if item > start:
            column.append(SlotRange(partial, start, item))
        column.append(places[item])
        start = item + 1
    if start < len(cells):
        column.append(SlotRange(partial, start, len(cells)))
    return column


def _options(defaults: tuple[tuple[str, Any], ...]) -> TaskOptions:
    """What holds for the tasks of a graph that say nothing."""
    values = {
        name: pickle.loads(value) if isinstance(value, bytes) else value for name, value in defaults
    }
    return merge_options(TaskOptions(**values), DEFAULT_OPTIONS)
