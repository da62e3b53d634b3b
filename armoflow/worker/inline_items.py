"""Operations on collections where their graph was returned, item by item.

Each kind of node says step by step what it needs next, and is gone on with when that was looked at.
What could run side by side elsewhere is begun only if all of it is expected to fit into the time
that is left; if it does not, after all, the rest is an operation on the rest. What is large, and
what is not known to be small, is left to the plan: it has batches for it.

Not begun here: iterators without end, or of more items than one looks through in a moment; and
collections over a value that only a task makes, where a call reads them as a list. The plan
describes such a collection to a task of its own, which builds it anew: what was made here could not
be found there. What combines or gathers one is begun, as that task.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias

from armoflow import config
from armoflow.codec.envelope import SlotKind
from armoflow.graph.arguments import contains_lazy
from armoflow.graph.collection import DelayedList
from armoflow.graph.delayed import Delayed
from armoflow.graph.nodes import (
    MISSING,
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
    Source,
    SourceNode,
    ZipNode,
)
from armoflow.orchestrator.planning import dynamic
from armoflow.worker.attempts import describe
from armoflow.worker.failures import ItemFailure
from armoflow.worker.inline_calls import InlineCaller, TriedLaterError, as_delayed
from armoflow.worker.inputs import pickle_value
from armoflow.worker.item_operations import SCALARS
from armoflow.worker.job import no_truth, not_combined
from armoflow.worker.made import ArgumentLoader, Arguments, Made, Row

if TYPE_CHECKING:
    from armoflow.graph.arguments import Reference
    from armoflow.graph.task import BaseTask


class Unfinished(NamedTuple):
    """A collection whose first items were made.

    Attributes:
        rows: These, for each output.
        rest: The collection of the others, if there are any.
    """

    rows: Sequence[Row]
    rest: CollectionNode | None


class Here(Protocol):
    """What a kind of node needs of the graph that is run here."""

    caller: InlineCaller
    taken: dict[Node, Taken]

    def may_begin(self, task: BaseTask[Any, Any], calls: int = 1) -> bool:
        """Whether so many calls of a task that could run at once may be begun now."""

    def row(self, source: Reference) -> Row | None:
        """The items of a collection, if all of them were made."""

    def reach(self, reference: Reference) -> Made | None:
        """What a value has come to."""

    def last(self, made: Made) -> Made:
        """What a value has come to that may have been a graph."""

    def set_rows(self, node: Node, rows: Sequence[Row]) -> None:
        """All items of a collection were made: a row for each output."""

    def set_begun(
        self, node: Node, rows: Sequence[Row], rest: CollectionNode, spent: int = 0
    ) -> None:
        """The first items of a collection were made; the others are another collection."""

    def set_value(self, node: Node, made: Made) -> None:
        """A node's only value was made."""


Steps: TypeAlias = "Generator[Sequence[Reference], None, None]"
"""Gives what is to be looked at next. A kind that ends without setting anything is left."""


def run_source(here: Here, node: SourceNode) -> Steps:
    """Local items; those that hold lazy values are put together by a call."""
    items = _items_of(here, node)
    if items is None:
        return
    entries = [as_delayed(item) if contains_lazy(item) else item for item in items]
    yield [item for item in entries if item.__class__ is Delayed]
    row: Row = []
    for item in entries:
        if item.__class__ in SCALARS:
            row.append(Made(item))
        elif item.__class__ is Delayed:
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
        except Exception:  # the plan opens it, and fails with it
            return None
    if node not in here.taken:
        here.taken[node] = Taken(node)
    return here.taken[node].all


class Taken:
    """An iterator that was read as far as it is short; a plan goes on with it.

    Attributes:
        all: Its items; None if there are more, or it has raised.
    """

    def __init__(self, node: SourceNode) -> None:
        self.all: Sequence[Any] | None = None
        self._node = node
        self._read: list[Any] = []
        self._rest: Iterator[Any] = iter(())
        try:
            self._rest = node.open()
            for item in itertools.islice(self._rest, config.INLINE_ITEMS + 1):
                self._read.append(item)
            if len(self._read) <= config.INLINE_ITEMS:
                self.all = self._read
        except Exception as error:
            self._rest = _raise(error)

    def __iter__(self) -> Iterator[Any]:
        if self.all is not None:
            return iter(self.all)
        read, self._read = self._read, []
        if not read:
            return self._node.open()  # which says that it was read before
        return itertools.chain(read, self._rest)


def _raise(error: Exception) -> Iterator[Any]:
    raise error
    yield


def run_map(here: Here, node: MapNode) -> Steps:
    """A call for each item."""
    if not _may_map(here, node):
        return
    sources = _references(node.sources)
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

    def arguments(parts: Sequence[Made]) -> Arguments:
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
    here: Here, node: MapNode, index: int, parts: Sequence[Made], load: Callable[[], Arguments]
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
    sources = tuple(_rest(here, source, start) for source in node.sources)
    rest = MapNode(node.task, sources, node.fixed, star=node.star, first=node.first + start)
    rest.run_as(node)
    return rest


def run_filter(here: Here, node: FilterNode) -> Steps:
    """A call for each item, which says whether it stays."""
    if not _may_map(here, node):
        return
    (source,) = _references([node.source])
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
    source = _rest(here, node.source, start)
    rest = FilterNode(node.task, source, node.fixed, first=node.first + start)
    rest.run_as(node)
    return rest


def _decided(
    here: Here, node: FilterNode, index: int, part: Made, fixed: Callable[[], Arguments]
) -> Made | None:
    """An item, if it stays."""
    if part.failure is not None:
        return Made(failure=skipped(part.failure, node.item_name(index)))
    position = node.first + index

    def load() -> Arguments:
        return [part.read(_name(node.source), node.name)], fixed()[1]

    try:
        answer = here.caller.call(node, node.task, load, position)
        if contains_lazy(answer):
            raise no_truth(node.name)
        return part if answer else None
    except ItemFailure as failure:
        return Made(failure=failure)
    except TriedLaterError:
        raise
    except Exception as error:  # it has no truth value
        return Made(failure=describe(error, node.name, position))


def run_zip(here: Here, node: ZipNode) -> Steps:
    """Tuples; no call is needed."""
    sources = _references(node.sources)
    yield sources
    columns = [here.row(source) for source in sources]
    if None in columns:
        return
    row: Row = []
    for entry in zip(*(column or () for column in columns), strict=False):
        parts = [here.last(part) for part in entry if part is not None]
        if any(part.graph is not None for part in parts):
            return
        # Of a filtered collection, which is zipped alone, an item may be absent.
        row.append(Made.together(parts, tuple) if len(parts) == len(entry) else None)
    here.set_rows(node, [row])


def run_slice(here: Here, node: SliceNode) -> Steps:
    """Some items; no call is needed."""
    (source,) = _references([node.source])
    yield [source]
    row = here.row(source)
    if row is not None:
        here.set_rows(node, [[row[position] for position in node.positions]])


def run_item(here: Here, node: ItemNode) -> Steps:
    """One item; no call is needed."""
    if dynamic.is_dynamic(node):
        yield from _expand(here, node)
        return
    (source,) = _references([node.source])
    yield [source]
    row = here.row(source)
    made = None if row is None else row[node.index]
    if made is not None:
        here.set_value(node, made)


def run_gather(here: Here, node: GatherNode) -> Steps:
    """A list; no call is needed."""
    if dynamic.is_dynamic(node):
        yield from _expand(here, node)
        return
    (source,) = _references([node.source])
    yield [source]
    made = here.reach(source)
    if made is None:
        return
    if made.failure is not None:
        made = Made(failure=skipped(made.failure, node.name))
    here.set_value(node, made)


def run_reduction(here: Here, node: ReduceNode | FoldNode) -> Steps:
    """Calls from left to right, each of the value so far and the next item."""
    if dynamic.is_dynamic(node):
        yield from _expand(here, node)
        return
    if not here.caller.may_call(node, node.task) or not here.caller.rule(node).patient:
        return  # a step that was tried has no place in what is left
    (source,) = _references([node.source])
    initial = as_delayed(node.initial) if node.arguments else node.initial
    yield [source, initial] if node.arguments else [source]
    row = here.row(source)
    so_far = _initial(here, initial)
    if row is None or so_far is None or len(row) > config.INLINE_ITEMS:
        return
    if isinstance(node, ReduceNode) and len(row) > 2 and not here.may_begin(node.task, len(row)):
        return  # its calls can run side by side elsewhere
    for index, entry in enumerate(row):
        if entry is None:
            continue
        part = here.last(entry)
        if part.graph is not None or (so_far and not here.may_begin(node.task)):
            if index:
                _leave_reduction(here, node, index, so_far)
            return
        if not so_far:
            so_far = [part]
            continue
        so_far = [_combined(here, node, so_far[0], part)]
        if so_far[0].failure is not None:
            break
    if so_far:
        here.set_value(node, so_far[0])
    else:
        error = TypeError(f"reduce of no items with no initial value, in {node.name!r}")
        here.set_value(node, Made(failure=describe(error, node.name)))


def _initial(here: Here, initial: Any) -> list[Made] | None:
    """The value to begin with, if there is one; None where it cannot be had here."""
    if initial is MISSING:
        return []
    if initial.__class__ is Delayed:
        made = here.reach(initial)
        return None if made is None or made.graph is not None else [made]
    try:
        return [Made(cell=pickle_value(initial))]
    except Exception:  # the plan comes to it, and says so
        return None


def _combined(here: Here, node: ReduceNode | FoldNode, left: Made, right: Made) -> Made:
    """One step; the name of the reduction stands once in the path of what fails."""
    failure = left.failure or right.failure
    if failure is not None:
        return Made(failure=skipped(failure, node.name))

    def load() -> Arguments:
        name = _name(node.source)
        return [left.read(node.name, node.name), right.read(name, node.name)], {}

    try:
        value = here.caller.call(node, node.task, load)
    except ItemFailure as raised:
        return Made(failure=raised)
    if value.__class__ not in SCALARS and contains_lazy(value):
        return Made(failure=describe(not_combined(node.name), node.name))
    return here.caller.keep_one(node, value)


def _leave_reduction(
    here: Here, node: ReduceNode | FoldNode, index: int, so_far: Sequence[Made]
) -> None:
    """What is left of a reduction is one that begins with the value so far."""
    initial: Any = MISSING
    if so_far:
        begun = Node(node.name, node.options)
        begun.run_as(node)
        here.set_value(begun, so_far[0])
        initial = Delayed(begun)
    source = _rest(here, node.source, index)
    rest: ReduceNode | FoldNode
    if isinstance(node, ReduceNode):
        rest = ReduceNode(node.task, source, node.fan_in, initial)
    else:
        rest = FoldNode(node.task, source, initial)
    rest.run_as(node)
    here.set_value(node, Made(graph=Delayed(rest)))


def _expand(here: Here, node: Node) -> Steps:
    """What is made of a collection over a value that only a task makes: see ``dynamic``."""
    try:
        call = CallNode(dynamic.expand, (dynamic.describe(node),), {})
    except Exception:  # the plan comes to it, and says so
        return
    call.name, call.options, call.block = node.name, node.options, None
    here.set_value(node, Made(graph=Delayed(call)))
    yield [Delayed(call)]


def _references(sources: Iterable[Source]) -> list[Any]:
    """Sources as lazy values."""
    return [DelayedList(one) if isinstance(one, SourceNode) else one for one in sources]


def _name(source: Source) -> str:
    return source.name if isinstance(source, SourceNode) else source.node.name


def _rest(here: Here, source: Source, start: int) -> DelayedList[Any]:
    """The items of a source from one on."""
    (items,) = _references([source])
    return DelayedList(SliceNode(items, range(start, len(here.row(items) or ()))))


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
        return ArgumentLoader(node.name, (), node.fixed, node.arguments, here.reach)
    except Exception:  # the plan comes to it, and says which it is
        return None


def skipped(failure: ItemFailure, name: str) -> ItemFailure:
    """What a call ends with that needs what failed."""
    return ItemFailure(failure.record.via(name), SlotKind.SKIPPED, placed=True)


KINDS: dict[type[Node], Callable[[Any, Any], Steps]] = {
    SourceNode: run_source,
    MapNode: run_map,
    FilterNode: run_filter,
    ZipNode: run_zip,
    SliceNode: run_slice,
    ItemNode: run_item,
    GatherNode: run_gather,
    ReduceNode: run_reduction,
    FoldNode: run_reduction,
}
