"""Maps and filters where their graph was returned, item by item.

What could run side by side elsewhere is begun only if all of it is expected to fit into the time
that is left; if it does not, after all, the rest is an operation on the rest. What is large, and
what is not known to be small, is left to the plan: it has batches for it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

from armoflow import config
from armoflow.graph.arguments import contains_lazy
from armoflow.graph.nodes import FilterNode, MapNode
from armoflow.orchestrator.planning import dynamic
from armoflow.worker.failures import ItemFailure
from armoflow.worker.inline_calls import TriedLaterError
from armoflow.worker.inline_steps import Here, InputSteps, name_of, references, rest_of, skipped
from armoflow.worker.job import no_truth
from armoflow.worker.made import ArgumentLoader, Made, MadeArguments, Row


def run_map(here: Here, node: MapNode) -> InputSteps:
    """A call for each item."""
    if not _may_map(here, node):
        return
    sources = references(node.sources)
    yield [*sources, *node.arguments]
    columns = [here.row(source) for source in sources]
    fixed = _fixed(here, node)
    if fixed is None or None in columns:
        return
    entries = list(zip(*(column or () for column in columns), strict=False))
    if isinstance(fixed, ItemFailure):
        here.set_rows(node, [[Made(failure=fixed) for _ in entries]] * node.outputs)
        return
    if not here.may_begin(node.task, len(entries)):
        return
    rows: list[Row] = [[] for _ in range(node.outputs)]

    def arguments(parts: Sequence[Made]) -> MadeArguments:
        values = [
            part.read(source.node.name, node.name)
            for source, part in zip(sources, parts, strict=True)
        ]
        return (values[0] if node.star else values), fixed()[1]

    for index, entry in enumerate(entries):
        parts = [here.last(part) for part in entry if part is not None]
        waits = any(part.graph is not None for part in parts)
        if waits or (index and not here.may_begin(node.task)):
            if index:
                here.set_begun(node, rows, _rest_of_map(here, node, index))
            return
        if len(parts) < len(entry):
            for row in rows:
                row.append(None)
            continue
        try:
            made = _mapped(here, node, index, parts, functools.partial(arguments, parts))
        except TriedLaterError as later:
            here.set_begun(node, rows, _rest_of_map(here, node, index), later.spent)
            return
        for row, one in zip(rows, made, strict=True):
            row.append(one)
        graphs = [one.graph for one in made if one.graph is not None]
        if graphs:
            yield graphs
    here.set_rows(node, rows)


def _may_map(here: Here, node: MapNode | FilterNode) -> bool:
    """Whether it is worth while to look at what a collection is made of."""
    if not here.caller.may_call(node, node.task) or dynamic.is_dynamic(node):
        return False
    if node.length is None:
        return True
    return node.length <= config.INLINE_ITEMS and (
        node.length <= 1 or here.may_begin(node.task, node.length)
    )


def _mapped(
    here: Here, node: MapNode, index: int, parts: Sequence[Made], load: Callable[[], MadeArguments]
) -> list[Made]:
    """What becomes of an item."""
    failure = next((part.failure for part in parts if part.failure is not None), None)
    if failure is not None:
        return [Made(failure=skipped(failure, node.item_name(index)))] * node.outputs
    position = node.first + index
    try:
        value = here.caller.call(node, node.task, load, position)
    except ItemFailure as raised:
        return [Made(failure=raised)] * node.outputs
    return here.caller.keep(node, value, position)


def _rest_of_map(here: Here, node: MapNode, start: int) -> MapNode:
    sources = tuple(rest_of(here, source, start) for source in node.sources)
    rest = MapNode(node.task, sources, node.fixed, star=node.star, first=node.first + start)
    rest.run_as(node)
    return rest


def run_filter(here: Here, node: FilterNode) -> InputSteps:
    """A call for each item, which says whether it stays."""
    if not _may_map(here, node):
        return
    (source,) = references([node.source])
    yield [source, *node.arguments]
    column, fixed = here.row(source), _fixed(here, node)
    if fixed is None or column is None:
        return
    if isinstance(fixed, ItemFailure):
        here.set_rows(node, [[Made(failure=fixed) for _ in column]])
        return
    if not here.may_begin(node.task, len(column)):
        return
    row: Row = []
    for index, entry in enumerate(column):
        part = None if entry is None else here.last(entry)
        waits = part is not None and part.graph is not None
        if waits or (index and not here.may_begin(node.task)):
            if index:
                here.set_begun(node, [row], _rest_of_filter(here, node, index))
            return
        try:
            row.append(None if part is None else _decided(here, node, index, part, fixed))
        except TriedLaterError as later:
            here.set_begun(node, [row], _rest_of_filter(here, node, index), later.spent)
            return
    here.set_rows(node, [row])


def _rest_of_filter(here: Here, node: FilterNode, start: int) -> FilterNode:
    source = rest_of(here, node.source, start)
    rest = FilterNode(node.task, source, node.fixed, first=node.first + start)
    rest.run_as(node)
    return rest


def _decided(
    here: Here, node: FilterNode, index: int, part: Made, fixed: Callable[[], MadeArguments]
) -> Made | None:
    """An item, if it stays."""
    if part.failure is not None:
        return Made(failure=skipped(part.failure, node.item_name(index)))
    position = node.first + index

    def load() -> MadeArguments:
        return [part.read(name_of(node.source), node.name)], fixed()[1]

    try:
        answer = here.caller.call(node, node.task, load, position)
        if contains_lazy(answer):
            raise no_truth(node.name)
        return part if answer else None
    except ItemFailure as failure:
        return Made(failure=failure)
    except TriedLaterError:
        raise
    except BaseException as error:  # it has no truth value
        return Made(failure=here.caller.no_value(error, node, position))


def _fixed(here: Here, node: MapNode | FilterNode) -> ArgumentLoader | ItemFailure | None:
    """Gets the arguments that are the same for all items.

    Returns:
        None if they cannot be had here; or what all items end with, since one has failed.
    """
    for reference in node.arguments:
        made = here.reach(reference)
        if made is None or made.graph is not None:
            return None
        if made.failure is not None:
            return skipped(made.failure, node.name)
    try:
        return ArgumentLoader(
            node.name, (), node.fixed, node.arguments, here.reach, originals=here.originals
        )
    except Exception:  # the plan comes to it, and says which it is
        return None
