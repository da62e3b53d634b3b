"""Collections and values that need no call, where their graph was returned.

Not begun here: iterators without end, or of more items than one looks through in a moment; and
collections over a value that only a task makes, where a call reads them as a list. The plan
describes such a collection to a task of its own, which builds it anew: what was made here could not
be found there. What combines or gathers one is begun, as that task.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from armoflow import config
from armoflow.codec.pickling import SCALARS
from armoflow.graph.arguments import contains_lazy
from armoflow.graph.delayed import Delayed
from armoflow.graph.nodes import (
    CallNode,
    GatherNode,
    ItemNode,
    Node,
    SliceNode,
    SourceNode,
    ZipNode,
)
from armoflow.orchestrator.planning import dynamic
from armoflow.worker.inline_calls import as_delayed
from armoflow.worker.inline_iterators import Taken
from armoflow.worker.inline_steps import Here, InputSteps, references, skipped
from armoflow.worker.inputs import pickle_value
from armoflow.worker.made import Made, Row


def run_source(here: Here, node: SourceNode) -> InputSteps:
    """Local items; those that hold lazy values are put together by a call."""
    items = _items_of(here, node)
    if items is None:
        return
    entries = [as_delayed(item) if contains_lazy(item) else item for item in items]
    yield [item for item in entries if type(item) is Delayed]
    row: Row = []
    for item in entries:
        if type(item) in SCALARS:
            row.append(Made(item))
        elif type(item) is Delayed:
            made = here.reach(item)
            if made is None:
                return
            row.append(made)
        else:
            try:
                row.append(Made(cell=pickle_value(item)))
            except Exception:  # the plan comes to it, and says which it is
                return
    here.set_rows(node, [row])


def _items_of(here: Here, node: SourceNode) -> Sequence[Any] | None:
    """The items of a local iterable, unless they are too many."""
    if node.length is not None and not node.once:
        if node.length > config.INLINE_ITEMS:
            return None
        try:
            return list(node.open())
        except BaseException:  # the plan opens it, and fails with it
            return None
    if node not in here.taken:
        here.taken[node] = Taken(node)
    return here.taken[node].all


def run_zip(here: Here, node: ZipNode) -> InputSteps:
    """Tuples; no call is needed."""
    sources = references(node.sources)
    yield sources
    columns = [here.row(source) for source in sources]
    if None in columns:
        return
    if node.strict and len({len(column or ()) for column in columns}) > 1:
        return  # the plan comes to it, and says so
    row: Row = []
    for entry in zip(*(column or () for column in columns), strict=False):
        parts = [here.last(part) for part in entry if part is not None]
        if any(part.graph is not None for part in parts):
            return
        # Of a filtered collection, which is zipped alone, an item may be absent.
        row.append(Made.together(parts, tuple) if len(parts) == len(entry) else None)
    here.set_rows(node, [row])


def run_slice(here: Here, node: SliceNode) -> InputSteps:
    """Some items; no call is needed."""
    (source,) = references([node.source])
    yield [source]
    row = here.row(source)
    if row is not None:
        here.set_rows(node, [[row[position] for position in node.positions]])


def run_item(here: Here, node: ItemNode) -> InputSteps:
    """One item; no call is needed."""
    if dynamic.is_dynamic(node):
        yield from run_dynamic(here, node)
        return
    (source,) = references([node.source])
    yield [source]
    row = here.row(source)
    made = None if row is None else row[node.index]
    if made is not None:
        here.set_value(node, made)


def run_gather(here: Here, node: GatherNode) -> InputSteps:
    """A list; no call is needed."""
    if dynamic.is_dynamic(node):
        yield from run_dynamic(here, node)
        return
    (source,) = references([node.source])
    yield [source]
    made = here.reach(source)
    if made is None:
        return
    if made.failure is not None:
        made = Made(failure=skipped(made.failure, node.name))
    here.set_value(node, made)


def run_elsewhere(_here: Here, _node: Node) -> InputSteps:
    """Nothing: it is left to the plan."""
    yield from ()


def run_dynamic(here: Here, node: Node) -> InputSteps:
    """What is made of a collection over a value that only a task makes: see ``dynamic``."""
    try:
        call = CallNode(dynamic.expand, (dynamic.describe(node),), {})
    except Exception:  # the plan comes to it, and says so
        return
    call.name, call.options, call.block = node.name, node.options, None
    here.set_value(node, Made(graph=Delayed(call)))
    yield [Delayed(call)]
