"""What a call of a returned graph has made where it ran, and what it is given of others."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from typing import Any

from armoflow.codec.envelope import Cell, Slot
from armoflow.codec.payload import Pickled
from armoflow.codec.pickling import dumps, loads
from armoflow.codec.unreadable import unreadable
from armoflow.errors import ArmoflowError, TaskError
from armoflow.graph.delayed import Delayed
from armoflow.graph.nodes import CallNode, Node
from armoflow.orchestrator.planned import SlotRange
from armoflow.worker.failures import ItemFailure
from armoflow.worker.inputs import pickle_value
from armoflow.worker.operations import SCALARS

_NONE: Any = object()


class Made:
    """One output of a call that has run.

    Attributes:
        value: Its value, if that is a scalar.
        cell: Its value in a form that nobody can change.
        failure: Why it has no value.
        graph: The lazy value that it is the same as.
        after: What that has come to, as far as it was followed.
        place: Where child tasks find it.
    """

    __slots__ = ("after", "cell", "failure", "graph", "place", "value")

    def __init__(
        self,
        value: Any = _NONE,
        *,
        cell: Cell = None,
        failure: ItemFailure | None = None,
        graph: Delayed[Any] | None = None,
    ) -> None:
        self.value = value
        self.cell = cell
        self.failure = failure
        self.graph = graph
        self.after: Made | None = None
        self.place: SlotRange | None = None

    def load(self) -> Any:
        """The value, for one who may change it."""
        if self.value is not _NONE:
            return self.value
        cell = self.cell
        if isinstance(cell, bytes):
            return pickle.loads(cell)
        assert isinstance(cell, Slot)
        return loads(Pickled(cell.data, [bytearray(buffer) for buffer in cell.buffers]))

    def to_cell(self, slot: Callable[[ItemFailure], Slot]) -> Cell:
        """What stands for it in a result; ``slot`` makes that of a failure."""
        if self.failure is not None:
            return slot(self.failure)
        return self.cell if self.value is _NONE else pickle_value(self.value)


class Arguments:
    """The arguments of a call whose inputs are here; each attempt gets them anew.

    Raises:
        SerializationError: If one of them cannot be pickled.
    """

    __slots__ = ("_node", "_pickled", "_reach")

    def __init__(self, node: CallNode, reach: Callable[[Delayed[Any]], Made | None]) -> None:
        self._node = node
        self._reach = reach
        self._pickled: Pickled | None = None
        values = (*node.args, *node.kwargs.values()) if node.kwargs else node.args
        for value in values:
            if value.__class__ not in SCALARS and value.__class__ is not Delayed:
                self._pickled = _owned(dumps((node.args, node.kwargs), self._refer))
                break

    def __call__(self) -> tuple[Sequence[Any], dict[str, Any]]:
        """The arguments, by position and by name."""
        loaded: dict[tuple[Node, int], Any] = {}

        def value_of(part: Any) -> Any:
            if part.__class__ is not Delayed:
                return part
            key = part.node, part.output
            if key not in loaded:
                loaded[key] = self._load(part)
            return loaded[key]

        node = self._node
        if self._pickled is not None:
            references = node.arguments
            pickled = _owned(self._pickled)
            try:
                args, kwargs = loads(pickled, lambda number: value_of(references[number]))
            except ArmoflowError:
                raise
            except Exception as error:
                what = f"an argument of task {node.name!r}"
                raise unreadable(what, pickled.data, error) from error
            return args, kwargs
        args = [value_of(part) for part in node.args]
        return args, {name: value_of(part) for name, part in node.kwargs.items()}

    def _refer(self, value: Any) -> int | None:
        if value.__class__ is not Delayed:
            return None
        for number, reference in enumerate(self._node.arguments):
            if reference.node is value.node and reference.output == value.output:
                return number
        raise TaskError(f"{value!r} is inside an object that armoflow does not look into")

    def _load(self, reference: Delayed[Any]) -> Any:
        made = self._reach(reference)
        assert made is not None
        try:
            return made.load()
        except Exception as error:
            what = f"the value of {reference.node.name!r}, an input of task {self._node.name!r}"
            cell = made.cell
            raise unreadable(
                what, cell.data if isinstance(cell, Slot) else cell or b"", error
            ) from error


def _owned(pickled: Pickled) -> Pickled:
    """With memory of its own."""
    if not pickled.buffers:
        return pickled
    return Pickled(pickled.data, [bytearray(buffer) for buffer in pickled.buffers])
