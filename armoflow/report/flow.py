"""The graph of a session, its tasks gathered by name, in the colours of how far they are. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence, Set
from math import inf

from armoflow.codec.item_log import ItemState
from armoflow.graph.render import NodeShape, Picture
from armoflow.report.critical_path import Lineage
from armoflow.report.trace import TaskRun

SHOWN = 60
"""Names that are drawn at most: of more, those with the fewest tasks are left out."""

_TITLE = 36
_ORDER = ("failed", "running", "queued", "waiting", "cancelled", "done")
"""Of several states the first one here is shown."""


class Flow:
    """Which names there are, how far they are, and what goes from which to which.

    Args:
        lineage: Of the same tasks.

    Example:
        >>> lineage = Lineage()
        >>> flow = Flow(lineage)
        >>> for run in (TaskRun("a", "load", "done", started=1.0, outputs=("x",)),
        ...             TaskRun("b", "train", "failed", started=2.0, inputs=("x",))):
        ...     lineage.add(run)
        ...     flow.add(run)
        >>> drawn = flow.picture()
        >>> [(shape.title, shape.state) for shape in drawn.shapes], drawn.edges
        ([('load', 'done'), ('train', 'failed')], [(0, 1)])
    """

    def __init__(self, lineage: Lineage) -> None:
        self._lineage = lineage
        self._states: dict[str, Counter[str]] = {}
        self._failed_items = Counter[str]()
        self._first: dict[str, float] = {}
        self._data: set[tuple[str, str]] = set()
        self._submitting: set[tuple[str, str]] = set()
        self._unseen: set[tuple[str, str]] = set()  # results, and names of who needs them
        self._orphans: set[tuple[str, str]] = set()

    def add(self, run: TaskRun) -> None:
        """One more task."""
        self.count(run)
        self._unseen.update((id, run.name) for id in run.inputs)
        if run.parent:
            self._orphans.add((run.parent, run.name))

    def count(self, run: TaskRun) -> None:
        """One more task, whose inputs say nothing new."""
        states = self._states.get(run.name)
        if states is None:
            states = self._states[run.name] = Counter()
        states[run.state] += 1
        at = run.started or run.created or 0.0
        self._first[run.name] = min(self._first.get(run.name, at), at)
        self.fail_items(run)

    def fail_items(self, run: TaskRun) -> None:
        """Some calls of a task, which may itself have ended well, have failed."""
        for record in run.items:
            if record.state is ItemState.FAILED:
                self._failed_items[run.name] += record.items

    def picture(self, running: Iterable[TaskRun] = ()) -> Picture:
        """What to draw: solid edges where data goes, dashed where a task submits others.

        Args:
            running: Tasks that run now, if they were not added.
        """
        self._connect()
        states = {name: Counter(found) for name, found in self._states.items()}
        for run in running:
            states.setdefault(run.name, Counter())[run.state] += 1
        most = sorted(states, key=lambda name: -sum(states[name].values()))
        shown = set(most[:SHOWN])
        data = {edge for edge in self._data if shown.issuperset(edge)}
        submitting = {edge for edge in self._submitting if shown.issuperset(edge)}
        order = _order(sorted(shown, key=lambda name: self._first.get(name, inf)), data)
        shapes = [
            _shape(name, states[name], self._failed_items[name], (name, name) in submitting)
            for name in order
        ]
        return _connected(shapes, order, data, submitting)

    def _connect(self) -> None:
        """Turn what was noted into edges between names, as far as the other end is known."""
        producers, runs = self._lineage.producers, self._lineage.runs
        seen = {pair for pair in self._unseen if pair[0] in producers}
        self._data.update((producers[id].name, name) for id, name in seen)
        self._unseen -= seen
        found = {pair for pair in self._orphans if pair[0] in runs}
        self._submitting.update((runs[id].name, name) for id, name in found)
        self._orphans -= found


def _connected(
    shapes: list[NodeShape],
    order: Sequence[str],
    data: Set[tuple[str, str]],
    submitting: Set[tuple[str, str]],
) -> Picture:
    """Shapes with edges between the names that they stand for."""
    positions = {name: number for number, name in enumerate(order)}
    edges: dict[tuple[int, int], None] = {}
    dashed, upward = set(), set()
    for start, end in [*sorted(data), *sorted(submitting)]:
        above, below = positions[start], positions[end]
        edge = min(above, below), max(above, below)
        if above == below or edge in edges:
            continue
        edges[edge] = None
        if above > below:
            upward.add(edge)
        if (start, end) not in data:
            dashed.add(edge)
    return Picture(shapes, list(edges), dashed, upward)


def _order(left: list[str], data: Set[tuple[str, str]]) -> list[str]:
    """Names from top to bottom: each after those whose data it takes, as far as that goes.

    Args:
        left: In the order in which they began.
        data: From which to which data goes.
    """
    order: list[str] = []
    while left:
        taken = set(left)
        held = {end for start, end in data if start != end and start in taken}
        # In a circle what began first is above.
        free = next((name for name in left if name not in held), left[0])
        left.remove(free)
        order.append(free)
    return order


def _shape(name: str, states: Counter[str], failed_items: int, recursive: bool) -> NodeShape:
    count = sum(states.values()) - states["retried"]
    words = [f"\N{MULTIPLICATION SIGN} {count:,}"]
    words += [f"{states[state]:,} {state}" for state in _ORDER[:-1] if states[state]]
    if failed_items:
        words.append(f"{failed_items:,} {'item' if failed_items == 1 else 'items'} failed")
    if recursive:
        words.append("submits itself")
    title = name if len(name) <= _TITLE else name[: _TITLE - 1] + "…"
    state = next((state for state in _ORDER if states[state]), "done")
    state = "failed" if failed_items else state
    return NodeShape("call", title, ", ".join(words), count > 1, False, state)
