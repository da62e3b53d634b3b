"""What was made of a returned graph where it ran, and what its calls are given of it."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from armoflow.codec.envelope import Cell, Slot
from armoflow.codec.payload import Pickled
from armoflow.codec.pickling import SCALARS, dumps, loads
from armoflow.codec.unreadable import unreadable
from armoflow.errors import ArmoflowError, TaskError
from armoflow.graph.collection import DelayedList
from armoflow.graph.delayed import Delayed
from armoflow.orchestrator.planned import SlotRange
from armoflow.worker.failures import ItemFailure
from armoflow.worker.inputs import pickle_value
from armoflow.worker.originals import Original, Originals

if TYPE_CHECKING:
    from armoflow.graph.arguments import Reference

_NONE: Any = object()
LAZY: frozenset[Any] = frozenset({Delayed, DelayedList})


class Made:
    """One value that was made: an output of a call, or an item of a collection.

    Attributes:
        value: The value, if it is a scalar.
        cell: The value in a form that nobody can change.
        parts: If it is put together of others: these.
        kind: How they are put together.
        failure: Why it has no value.
        graph: The lazy value that it is the same as.
        after: What that has come to, as far as it was followed.
        place: Where child tasks find it.
    """

    __slots__ = (
        *("after", "cell", "failure", "graph", "kind", "parts", "place", "value"),
        "_originals",
    )

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
        self.parts: Sequence[Made] = ()
        self.kind: type[list[Any]] | type[tuple[Any, ...]] | None = None
        self.failure = failure
        self.graph = graph
        self.after: Made | None = None
        self.place: SlotRange | None = None
        self._originals: list[Original] | None = None  # of a cell that was loaded before

    @classmethod
    def together(cls, parts: Sequence[Made], kind: type[list[Any]] | type[tuple[Any, ...]]) -> Made:
        """A list or a tuple of values; where one failed, so did it."""
        made = cls(failure=next((part.failure for part in parts if part.failure), None))
        made.parts, made.kind = parts, kind
        return made

    def load(self) -> Any:
        """The value, for one who may change it."""
        if self.value is not _NONE:
            return self.value
        if self.kind is not None:
            return self.kind([part.load() for part in self.parts])
        cell = self.cell
        if isinstance(cell, bytes):
            return pickle.loads(cell)
        assert isinstance(cell, Slot)
        if not cell.buffers:
            return loads(Pickled(cell.data))
        if self._originals is None:  # most are loaded once
            self._originals = []
            return loads(Pickled(cell.data, [bytearray(buffer) for buffer in cell.buffers]))
        if not self._originals:
            self._originals = [Original(buffer) for buffer in cell.buffers]
        return loads(Pickled(cell.data, [original.copy() for original in self._originals]))

    def to_cell(self, slot: Callable[[ItemFailure], Slot]) -> Cell:
        """What stands for it in a result; ``slot`` makes that of a failure."""
        if self.failure is not None:
            return slot(self.failure)
        return pickle_value(self.load()) if self.cell is None else self.cell

    def read(self, name: str, task: str) -> Any:
        """The value, as an input of a task.

        Args:
            name: What made it.
            task: The name of the task.

        Raises:
            SerializationError: If it cannot be read back.
        """
        try:
            return self.load()
        except BaseException as error:
            cell = self.cell
            what = f"the value of {name!r}, an input of task {task!r}"
            raise unreadable(
                what, cell.data if isinstance(cell, Slot) else cell or b"", error
            ) from error


Row: TypeAlias = "list[Made | None]"
"""The items of a collection, in order; None for one that was filtered out."""

MadeArguments: TypeAlias = "tuple[Sequence[Any], dict[str, Any]]"
"""Those of a call, by position and by name."""


class ArgumentLoader:
    """Arguments whose inputs are here; each attempt gets them anew.

    Args:
        name: The name of the task that they are for.
        args: Those by position.
        kwargs: Those by name.
        references: The lazy values among them.
        reach: What a lazy value has come to.
        originals: What the calls of their graph take.

    Raises:
        SerializationError: If one of them cannot be pickled.
    """

    __slots__ = ("_args", "_buffers", "_data", "_kwargs", "_name", "_reach", "_references")

    def __init__(
        self,
        name: str,
        args: Sequence[Any],
        kwargs: dict[str, Any],
        references: Sequence[Reference],
        reach: Callable[[Reference], Made | None],
        *,
        originals: Originals,
    ) -> None:
        self._name = name
        self._args = args
        self._kwargs = kwargs
        self._references = references
        self._reach = reach
        self._data: bytes | memoryview | None = None
        self._buffers: list[Original] = []
        values = (*args, *kwargs.values()) if kwargs else args
        for value in values:
            if type(value) not in SCALARS and type(value) not in LAZY:
                pickled = dumps((args, kwargs), self._refer)
                self._data = pickled.data
                self._buffers = [originals.of(memoryview(buffer)) for buffer in pickled.buffers]
                break

    def __call__(self) -> MadeArguments:
        """The arguments, by position and by name."""
        loaded: dict[Any, Any] = {}

        def value_of(part: Any) -> Any:
            if type(part) not in LAZY:
                return part
            key = part.node, part.output
            if key not in loaded:
                made = self._reach(part)
                assert made is not None
                loaded[key] = made.read(part.node.name, self._name)
            return loaded[key]

        if self._data is not None:
            try:
                pickled = Pickled(self._data, [original.copy() for original in self._buffers])
                args, kwargs = loads(pickled, lambda number: value_of(self._references[number]))
            except ArmoflowError:
                raise
            except BaseException as error:
                what = f"an argument of task {self._name!r}"
                raise unreadable(what, self._data, error) from error
            return args, kwargs
        args = [value_of(part) for part in self._args]
        return args, {name: value_of(part) for name, part in self._kwargs.items()}

    def _refer(self, value: Any) -> int | None:
        if type(value) not in LAZY:
            return None
        for number, reference in enumerate(self._references):
            if reference.node is value.node and reference.output == value.output:
                return number
        raise TaskError(f"{value!r} is inside an object that armoflow does not look into")
