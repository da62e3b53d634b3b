"""How the debug mode evaluates each kind of node."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from armoflow.client.local_arguments import GivenArguments, SharedArguments, copied
from armoflow.client.local_calls import NOTHING_SHARED
from armoflow.client.local_machine import (
    ABSENT,
    END,
    Evaluation,
    LocalAttempts,
    LocalCursor,
    LocalFailure,
    LocalStream,
    fail,
    first_failure,
    row,
)
from armoflow.client.local_scope import Scope
from armoflow.errors import GraphError
from armoflow.graph.arguments import contains_lazy
from armoflow.graph.graph import Graph
from armoflow.graph.nodes import (
    MISSING,
    CallNode,
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
    uneven,
)
from armoflow.graph.stepwise import IterateNode


def _call(scope: Scope, node: CallNode) -> Evaluation:
    values = yield scope.resolve(node.arguments)
    if type(values) is LocalFailure:
        return values.skipping(node, node.name)

    def arguments() -> GivenArguments:
        args, kwargs = scope.rules.insert((node.args, node.kwargs), values)
        return args, kwargs

    attempts = scope.calls.attempts(node)
    return (yield scope.calls.run(node, node.name, node.task.function, attempts, arguments))


def _item(scope: Scope, node: ItemNode) -> Evaluation:
    cursor = scope.read(node.source)
    buffer = cursor.stream.buffer or []
    cursor.position = max(0, min(node.index, len(buffer) - 1))
    slot: Any = None
    while cursor.position <= node.index:
        following = yield cursor
        if following is END:
            break  # early: the last slot is the failure that ended it
        slot = following
    return slot


def _gather(scope: Scope, node: GatherNode) -> Evaluation:
    slots = yield scope.slots(node.source)
    failure = first_failure(slots)
    return slots if failure is None else failure.skipping(node, node.name)


def _reduce(scope: Scope, node: ReduceNode) -> Evaluation:
    # levels[n] holds combinations of fan_in ** n items, waiting for neighbours to the right.
    levels: list[list[Any]] = []
    attempts = scope.calls.attempts(node)
    cursor = LocalCursor(LocalStream(_combined_items(scope, node)))
    while (slot := (yield cursor)) is not END:
        for level in itertools.count():
            if level == len(levels):
                levels.append([])
            levels[level].append(slot)
            if len(levels[level]) < node.fan_in:
                break
            slot = yield _combine(scope, node, levels[level], attempts)
            levels[level] = []
    result: Any = END
    for waiting in levels:
        entries = waiting if result is END else [*waiting, result]
        if entries:
            result = yield _combine(scope, node, entries, attempts)
    return _combined(node, result)


def _fold(scope: Scope, node: FoldNode) -> Evaluation:
    attempts = scope.calls.attempts(node)
    cursor = LocalCursor(LocalStream(_combined_items(scope, node)))
    result = yield cursor
    while (slot := (yield cursor)) is not END:
        # After a failure the items still run: others may need them.
        if type(result) is not LocalFailure:
            result = yield _combine(scope, node, [result, slot], attempts)
    return _combined(node, result)


def _combined_items(scope: Scope, node: ReduceNode | FoldNode) -> Evaluation:
    """Stream: the initial value, then the items that are there."""
    if node.initial is not MISSING:
        values = yield scope.resolve(node.arguments)
        yield (copied(scope.calls.insert(node.initial, values, node, node.name)),)
    cursor = scope.read(node.source)
    while (slot := (yield cursor)) is not END:
        if slot is not ABSENT:
            yield (copied(slot),)


def _combine(
    scope: Scope, node: ReduceNode | FoldNode, entries: list[Any], attempts: LocalAttempts
) -> Evaluation:
    result = entries[0]
    if len(entries) == 1:
        return result
    failure = first_failure(entries)
    if failure is not None:
        # A reduction is one step, however many calls it takes.
        return failure if failure.node is node else failure.skipping(node, node.name)
    for entry in entries[1:]:
        arguments = _given((result, entry))
        result = yield scope.calls.run(node, node.name, node.task.function, attempts, arguments)
        if type(result) is LocalFailure:
            break
    return result


def _source(scope: Scope, node: SourceNode) -> Evaluation:
    """Stream: local items, with the values of the lazy ones."""
    iterator = node.open()
    count = 0
    while True:
        try:
            item = next(iterator)
        except StopIteration:
            break
        except Exception as error:
            yield (fail(error, node, node.name),)
            return
        references = Graph(item).targets if contains_lazy(item) else []
        values = yield scope.resolve(references)
        yield (scope.calls.insert(item, values, node, ""),)
        count += 1
    if node.length is not None and count != node.length:
        message = f"a {node.name} gave {count} items, its len() said {node.length}"
        yield (fail(GraphError(message), node, node.name),)


def _map(scope: Scope, node: MapNode) -> Evaluation:
    """Stream: each item's call."""
    fixed = yield _fixed(scope, node)
    cursors = [scope.read(source) for source in node.sources]
    attempts = scope.calls.attempts(node)
    for index in itertools.count():
        slots = yield row(cursors)
        if slots is None:
            _tell_changes(scope, node, fixed)
            return
        if slots[0] is ABSENT:
            yield (ABSENT,)
            continue
        name = node.item_name(index)
        failure = first_failure((fixed, *slots))
        if failure is not None:
            yield (failure.skipping(node, name),)
            continue
        arguments = _given(slots, fixed.own, star=node.star)
        call = node.task.function
        yield ((yield scope.calls.run(node, name, call, attempts, arguments, shared=fixed.shared)),)


def _filter(scope: Scope, node: FilterNode) -> Evaluation:
    """Stream: the items, or absent slots for those dropped."""
    fixed = yield _fixed(scope, node)
    cursor = scope.read(node.source)
    attempts = scope.calls.attempts(node)
    for index in itertools.count():
        slot = yield cursor
        if slot is END:
            _tell_changes(scope, node, fixed)
            return
        if slot is ABSENT:
            yield (ABSENT,)
            continue
        name = node.item_name(index)
        failure = first_failure((fixed, slot))
        if failure is not None:
            yield (failure.skipping(node, name),)
            continue
        arguments, call = _given((slot,), fixed.own), node.task.function
        kept = yield scope.calls.run(node, name, call, attempts, arguments, shared=fixed.shared)
        yield (_keep(node, name, kept, slot),)


def _zip(scope: Scope, node: ZipNode) -> Evaluation:
    """Stream: tuples."""
    cursors = [scope.read(source) for source in node.sources]
    for length in itertools.count() if cursors else ():
        slots = yield row(cursors, whole=node.strict)
        if slots is None:
            return
        if any(slot is END for slot in slots):
            yield (fail(uneven(length), node, node.name),)
            return
        yield (ABSENT if slots[0] is ABSENT else first_failure(slots) or slots,)


def _slice(scope: Scope, node: SliceNode) -> Evaluation:
    """Stream: the chosen items."""
    positions = node.positions
    cursor = scope.read(node.source)
    slots: list[Any] = []
    slot: Any = None
    while positions and len(slots) <= max(positions[0], positions[-1]):
        slot = yield cursor
        if slot is END:
            break
        slots.append(slot)
    for position in positions:
        if position < len(slots):
            yield (slots[position],)
    if slot is END:
        yield (slots[-1],)  # early: the last slot is the failure that ended it


def _iterate(scope: Scope, node: IterateNode) -> Evaluation:
    """Stream: the cells after the last step."""
    fixed = yield _fixed(scope, node)
    cells = yield scope.slots(node.source)
    attempts = scope.calls.attempts(node)
    for _ in range(node.steps):
        before, cells = cells, []
        for position in range(len(before)):
            places = node.places(position, len(before))
            slots = [None if place is None else before[place] for place in places]
            name = node.item_name(position)
            failure = first_failure((fixed, *slots))
            if failure is not None:
                failure.root.skipped += 1
                cells.append(LocalFailure(failure.root, node, name, failure))
                continue
            arguments, call = _given(slots, fixed.own), node.task.function
            cell = yield scope.calls.run(node, name, call, attempts, arguments, shared=fixed.shared)
            cells.append(cell)
    _tell_changes(scope, node, fixed)
    for cell in cells:
        yield (cell,)


def _fixed(scope: Scope, node: MapNode | FilterNode | IterateNode) -> Evaluation:
    """The arguments that are the same for all items, or why there are none."""
    values = yield scope.resolve(node.arguments)
    fixed = scope.calls.insert(node.fixed, values, node, node.name)
    return fixed if type(fixed) is LocalFailure else SharedArguments(fixed)


def _tell_changes(
    scope: Scope, node: MapNode | FilterNode | IterateNode, fixed: SharedArguments | LocalFailure
) -> None:
    """Tell which of these have changed, of those that all items share."""
    if isinstance(fixed, SharedArguments):
        changes = scope.calls.changes
        changes.tell(node.name, node.task.function, fixed.changes(), shared=True)


def _given(
    args: Sequence[Any], kwargs: Mapping[str, Any] = NOTHING_SHARED, *, star: bool = False
) -> Callable[[], GivenArguments]:
    return lambda: (args[0] if star else args, kwargs)


def _keep(node: FilterNode, name: str, kept: Any, slot: Any) -> Any:
    if type(kept) is LocalFailure or kept is ABSENT:
        return kept
    try:
        return slot if kept else ABSENT
    except Exception as error:  # an array's truth, for example
        return fail(error, node, name)


def _combined(node: ReduceNode | FoldNode, result: Any) -> Any:
    if result is END:
        message = f"no items to combine and no initial value, in {node.name!r}"
        return fail(TypeError(message), node, node.name)
    return result.reaching(node, node.name) if type(result) is LocalFailure else result


KINDS: dict[type[Node], Callable[[Scope, Any], Evaluation]] = {
    CallNode: _call,
    ItemNode: _item,
    GatherNode: _gather,
    ReduceNode: _reduce,
    FoldNode: _fold,
    SourceNode: _source,
    MapNode: _map,
    FilterNode: _filter,
    ZipNode: _zip,
    SliceNode: _slice,
    IterateNode: _iterate,
}
