"""Cells that change step by step, each with its neighbours: ``task.iterate(cells, steps=100)``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from armoflow.errors import CollectionError, OptionError, SignatureError, shown
from armoflow.graph.arguments import freeze
from armoflow.graph.collection import DelayedList, as_source
from armoflow.graph.delayed import Delayed
from armoflow.graph.nodes import CollectionNode, Source, source_node
from armoflow.option_values import check_flag

if TYPE_CHECKING:
    from armoflow.graph.base_task import BaseTask


class IterateNode(CollectionNode):
    """A task called for each cell and each step, with cells of the step before.

    Attributes:
        task: What makes a cell of the next step.
        source: The cells that it begins with.
        neighbours: The distances of the cells that a call gets, in the order of its arguments.
        steps: How many steps there are.
        wrap: The last cell is a neighbour of the first; else None stands for cells beyond the ends.
        fixed: Keyword arguments of every call.
    """

    __slots__ = ("fixed", "neighbours", "source", "steps", "task", "wrap")

    def __init__(
        self,
        task: BaseTask[..., Any],
        source: Source,
        fixed: dict[str, Any],
        *,
        neighbours: tuple[int, ...],
        steps: int,
        wrap: bool,
    ) -> None:
        self.task = task
        self.source = source
        self.neighbours = neighbours
        self.steps = steps
        self.wrap = wrap
        cells = source_node(source)
        self.length = cells.length if isinstance(cells, CollectionNode) else None
        self.sparse = False
        _, self.fixed, found = freeze(task.name, (), fixed)
        super().__init__(task.name, task.task_options, sources=(source,), arguments=found)

    def places(self, position: int, count: int) -> list[int | None]:
        """The positions of the neighbours of one cell among so many; None beyond the ends.

        Example:
            >>> from armoflow.graph.task import task
            >>> node = iterate(task(max), [4, 5, 6], (-1, 0, 1), steps=1, wrap=False, fixed={}).node
            >>> node.places(0, 3)
            [None, 0, 1]
        """
        places = [position + distance for distance in self.neighbours]
        if self.wrap:
            return [place % count for place in places]
        return [place if 0 <= place < count else None for place in places]


def iterate(
    task: BaseTask[..., Any],
    cells: Any,
    neighbours: Sequence[int],
    *,
    steps: int,
    wrap: bool,
    fixed: dict[str, Any],
) -> DelayedList[Any]:
    """The cells after some steps; see :meth:`armoflow.graph.task.Task.iterate`.

    Raises:
        OptionError: If steps or neighbours make no sense.
        SignatureError: If the task does not take so many neighbours.
        CollectionError: If it is not known how many cells there are.
    """
    check_flag("wrap", wrap)
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 0:
        raise OptionError(f"iterate() needs steps of at least 0, not {shown(steps)}")
    try:
        distances = tuple(neighbours)
    except TypeError:
        distances = ()
    whole = all(isinstance(one, int) and not isinstance(one, bool) for one in distances)
    if not distances or not whole:
        raise OptionError(
            "iterate() needs neighbours as distances, (-1, 0, 1) for instance, not "
            f"{shown(neighbours)}"
        )
    if task.outputs != 1:
        raise SignatureError(
            f"iterate() needs a task of one output: {task.name!r} has {task.outputs}"
        )
    try:
        task.check((None,) * len(distances), fixed)
    except SignatureError as error:
        raise SignatureError(
            f"iterate() calls it with a cell for each of neighbours={distances} and with the "
            f"keyword arguments that are not its own (steps, neighbours, wrap): {error}"
        ) from None
    source = as_source(cells, f"{task.name}.iterate()")
    node = IterateNode(task, source, fixed, neighbours=distances, steps=steps, wrap=wrap)
    start = source_node(source)
    counted = isinstance(source, Delayed) or node.length is not None
    if not counted or (isinstance(start, CollectionNode) and start.sparse):
        raise CollectionError(
            f"{task.name}.iterate(): how many cells {start.name!r} has is not known, but each "
            "needs its neighbours: give a list, or collection.gather()"
        )
    return DelayedList(node)
