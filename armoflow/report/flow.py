"""The graph of a session, its tasks gathered by name, in the colours of how far they are. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from armoflow.graph.render import NodeShape, Picture
from armoflow.report.critical_path import producers_of
from armoflow.report.trace import TaskRun

SHOWN = 60
"""Names that are drawn at most: of more, those with the fewest tasks are left out."""

_TITLE = 36
_ORDER = ("failed", "running", "queued", "waiting", "cancelled", "done")
"""Of several states the first one here is shown."""


def picture(runs: Sequence[TaskRun]) -> Picture:
    """What to draw: a shape a name; solid edges where data goes, dashed where a task submits some.

    Example:
        >>> made = TaskRun("a", "load", "done", started=1.0, outputs=("x",))
        >>> used = TaskRun("b", "train", "failed", started=2.0, inputs=("x",))
        >>> drawn = picture([made, used])
        >>> [(shape.title, shape.state) for shape in drawn.shapes], drawn.edges
        ([('load', 'done'), ('train', 'failed')], [(0, 1)])
    """
    counts = Counter(run.name for run in runs)
    shown = {name for name, _ in counts.most_common(SHOWN)}
    runs = [run for run in runs if run.name in shown]
    data, submitting = _edges(runs)
    order = _order(runs, data)
    positions = {name: number for number, name in enumerate(order)}
    edges: dict[tuple[int, int], None] = {}
    dashed, upward = set(), set()
    for start, end in [*data, *submitting]:
        above, below = positions[start], positions[end]
        edge = min(above, below), max(above, below)
        if above == below or edge in edges:
            continue
        edges[edge] = None
        if above > below:
            upward.add(edge)
        if (start, end) not in data:
            dashed.add(edge)
    states = _states(runs)
    shapes = [_shape(name, states[name], (name, name) in submitting) for name in order]
    return Picture(shapes, list(edges), dashed, upward)


def _edges(runs: Sequence[TaskRun]) -> tuple[set[tuple[str, str]], set[tuple[str, str]]]:
    """Between which names data goes, and which ones submit which."""
    producers = producers_of(runs)
    names = {run.id: run.name for run in runs}
    data: set[tuple[str, str]] = set()
    submitting: set[tuple[str, str]] = set()
    for run in runs:
        data.update((producers[id].name, run.name) for id in run.inputs if id in producers)
        if run.parent in names:
            submitting.add((names[run.parent], run.name))
    return data, submitting


def _order(runs: Sequence[TaskRun], data: set[tuple[str, str]]) -> list[str]:
    """The names from top to bottom: each after those whose data it takes, as far as that goes."""
    first: dict[str, float] = {}
    for run in runs:
        at = run.started or run.created or 0.0
        first[run.name] = min(first.get(run.name, at), at)
    left = sorted(first, key=lambda name: first[name])
    order: list[str] = []
    while left:
        taken = set(left)
        free = next(
            (
                name
                for name in left
                if not any(end == name and start != name and start in taken for start, end in data)
            ),
            left[0],  # a circle: what began first is above
        )
        left.remove(free)
        order.append(free)
    return order


def _states(runs: Sequence[TaskRun]) -> Mapping[str, Counter[str]]:
    found: dict[str, Counter[str]] = {}
    for run in runs:
        found.setdefault(run.name, Counter())[run.state] += 1
    return found


def _shape(name: str, states: Counter[str], recursive: bool) -> NodeShape:
    count = sum(states.values()) - states["retried"]
    words = [f"\N{MULTIPLICATION SIGN} {count:,}"]
    words += [f"{states[state]:,} {state}" for state in _ORDER[:-1] if states[state]]
    if recursive:
        words.append("submits itself")
    title = name if len(name) <= _TITLE else name[: _TITLE - 1] + "…"
    state = next((state for state in _ORDER if states[state]), "done")
    return NodeShape("call", title, ", ".join(words), count > 1, False, state)
