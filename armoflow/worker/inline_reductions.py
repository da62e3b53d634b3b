"""Reductions where their graph was returned: from left to right, and cut between two steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from armoflow import config
from armoflow.codec.pickling import SCALARS
from armoflow.graph.arguments import contains_lazy
from armoflow.graph.delayed import Delayed
from armoflow.graph.nodes import MISSING, FoldNode, Node, ReduceNode
from armoflow.orchestrator.planning import dynamic
from armoflow.worker.failures import ItemFailure
from armoflow.worker.inline_calls import as_delayed
from armoflow.worker.inline_sources import run_dynamic
from armoflow.worker.inline_steps import Here, InputSteps, name_of, references, rest_of, skipped
from armoflow.worker.inputs import pickle_value
from armoflow.worker.job import not_combined
from armoflow.worker.made import Made, MadeArguments


def run_reduction(here: Here, node: ReduceNode | FoldNode) -> InputSteps:
    """Calls from left to right, each of the value so far and the next item."""
    if dynamic.is_dynamic(node):
        yield from run_dynamic(here, node)
        return
    if not here.caller.may_call(node, node.task) or not here.caller.rule(node).patient:
        return  # a step that was tried has no place in what is left
    (source,) = references([node.source])
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
        error = TypeError(f"no items to combine and no initial value, in {node.name!r}")
        here.set_value(node, Made(failure=here.caller.nothing_to_call(error, node)))


def _initial(here: Here, initial: Any) -> list[Made] | None:
    """The value to begin with, if there is one; None where it cannot be had here."""
    if initial is MISSING:
        return []
    if type(initial) is Delayed:
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

    def load() -> MadeArguments:
        name = name_of(node.source)
        return [left.read(node.name, node.name), right.read(name, node.name)], {}

    try:
        value = here.caller.call(node, node.task, load)
    except ItemFailure as raised:
        return Made(failure=raised)
    if type(value) not in SCALARS and contains_lazy(value):
        return Made(failure=here.caller.no_value(not_combined(node.name), node))
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
    source = rest_of(here, node.source, index)
    rest: ReduceNode | FoldNode
    if isinstance(node, ReduceNode):
        rest = ReduceNode(node.task, source, node.fan_in, initial)
    else:
        rest = FoldNode(node.task, source, initial)
    rest.run_as(node)
    here.set_value(node, Made(graph=Delayed(rest)))
