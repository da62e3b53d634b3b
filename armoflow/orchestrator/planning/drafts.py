"""Drafts of payloads: arguments pickled with their dependencies as references.

A draft collects what one task needs: inputs in order, constants, and which object inside the
arguments stands for which of them.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from armoflow.codec import plain_call
from armoflow.codec.payload import InputSlots, Pickled, PickledItems, Piece, Values
from armoflow.codec.pickling import are_scalars, dumps, is_scalar
from armoflow.codec.positions import Positions, label
from armoflow.errors import SerializationError
from armoflow.files import FileCopy
from armoflow.graph.collection import DelayedList
from armoflow.graph.delayed import Delayed
from armoflow.graph.lazy import out_of_sight
from armoflow.orchestrator.constant import Constant
from armoflow.orchestrator.planned import LocalItems, PlanPiece, Result, SlotRange
from armoflow.orchestrator.planning.known import Unneeded
from armoflow.orchestrator.shared_data import KINDS, DataReferences


class ConstantValue:
    """Stands inside arguments for a constant that goes up once."""

    __slots__ = ("constant",)

    def __init__(self, constant: Constant) -> None:
        self.constant = constant


class External(Protocol):
    """Futures and ``put`` references inside arguments: what they stand for."""

    kinds: frozenset[type]

    def resolve(self, value: Any) -> SlotRange | Sequence[SlotRange] | Constant:
        """The slot of a future, the slots of one on a collection, or a constant.

        Raises:
            ForeignReferenceError: If it belongs to another client.
        """

    def stop(self) -> None:
        """The plan is made, or given up: wait for nothing more."""


class Draft:
    """What one task of a plan needs.

    Args:
        base: A draft whose inputs and constants come first (the fixed arguments of a map).
        external: Resolves futures and ``put`` references.
        data: Large data that the plan sends once.
        copy: Copy the memory of what is pickled where it can be written to.
    """

    __slots__ = (
        *("_copy", "_data", "_external", "_inputs", "_often", "_recall", "_references"),
        *("code", "constants", "inputs", "modules", "others", "size"),
    )

    def __init__(
        self,
        base: Draft | None = None,
        external: External | None = None,
        data: DataReferences | None = None,
        *,
        copy: bool = False,
    ) -> None:
        self._external = external
        self._data = data
        self._recall = True
        self._often = False
        self._copy = copy
        self.inputs: list[Result] = list(base.inputs) if base else []
        self._inputs: dict[Result, int] = dict(base._inputs) if base else {}
        self.constants: list[Constant] = list(base.constants) if base else []
        self._references: dict[Any, tuple[Any, ...]] = dict(base._references) if base else {}
        self.modules: set[str] = set()
        self.code: set[Any] = set()
        self.others: set[str] = set()
        self.size = 0

    def input(self, result: Result) -> int:
        """The position of a result among the inputs; added if it is not there."""
        position = self._inputs.get(result)
        if position is None:
            if isinstance(result, Unneeded):
                raise RuntimeError(f"an item of {result.name!r} is read that nobody was to need")
            position = self._inputs[result] = len(self.inputs)
            self.inputs.append(result)
        return position

    def refer_to_slot(self, delayed: Delayed[Any] | DelayedList[Any], place: SlotRange) -> None:
        """Let a delayed value inside the arguments stand for a slot."""
        reference = ("slot", self.input(place.result), place.start)
        self._references[delayed.node, delayed.output] = reference

    def refer_to_list(
        self, delayed: Delayed[Any] | DelayedList[Any], column: Iterable[SlotRange]
    ) -> None:
        """Let a delayed list inside the arguments stand for the values of slots."""
        ranges = tuple((self.input(piece.result), piece.start, piece.stop) for piece in column)
        self._references[delayed.node, delayed.output] = ("list", ranges)

    def refer_to_previous(self, delayed: Delayed[Any] | DelayedList[Any]) -> None:
        """Let a delayed value stand for what the step before makes, in the same task."""
        self._references[delayed.node, delayed.output] = ("previous",)

    def refer_to_call(self, delayed: Delayed[Any] | DelayedList[Any], number: int) -> None:
        """Let a delayed value stand for that of a stage of the same task."""
        self._references[delayed.node, delayed.output] = ("call", number)

    def persistent_id(self, value: object) -> tuple[Any, ...] | None:
        """The reference that stands for a value in a pickle, or None."""
        kind = type(value)
        if kind is Delayed or kind is DelayedList:
            reference = self._references.get((value.node, value.output))  # type: ignore[attr-defined]
            if reference is None:
                raise out_of_sight(value)  # type: ignore[arg-type]
            return reference
        if kind is ConstantValue:
            return self.constant(value.constant)  # type: ignore[attr-defined]
        if self._external is not None and kind in self._external.kinds:
            return self._refer_to(self._external.resolve(value))
        if kind in KINDS and self._data is not None:
            return self._refer_to_data(value, self._data)
        return None

    def _refer_to_data(self, value: Any, data: DataReferences) -> tuple[Any, ...] | None:
        shared = data.refer(value, copy=self._copy, recall=self._recall, often=self._often)
        if shared is None:
            return None
        place = self.constant(shared.constant)[1]
        if type(value) is FileCopy:
            return ("file", place, shared.digest, value.name, value.executable)
        return ("buffer", place, shared.digest, shared.readonly)

    def _refer_to(self, place: SlotRange | Sequence[SlotRange] | Constant) -> tuple[Any, ...]:
        if isinstance(place, Constant):
            return self.constant(place)
        if isinstance(place, SlotRange):
            return ("slot", self.input(place.result), place.start)
        return ("list", tuple((self.input(p.result), p.start, p.stop) for p in place))

    def constant(self, constant: Constant) -> tuple[Any, ...]:
        """The reference to a constant; added if it is not there."""
        if constant not in self.constants:
            self.constants.append(constant)
        index = self.constants.index(constant)
        named = constant.session_id != ""  # it may be removed by anybody
        return ("constant", index, constant.name) if named else ("constant", index)

    def dumps(self, value: Any, what: str) -> Pickled:
        """Pickle a value with its references.

        Raises:
            SerializationError: If a part of it cannot be pickled; ``what`` names it.
        """
        try:
            pickled = dumps(value, self.persistent_id, self.modules, self.others, self.code)
        except SerializationError as error:
            raise SerializationError(f"{what}: {error}") from error.__cause__
        self.size += pickled.size
        return with_memory_of_its_own(pickled) if self._copy else pickled

    def dumps_plain(self, args: tuple[Any, ...]) -> Pickled | None:
        """Pickle the positional arguments of a call that has no others.

        Returns:
            Nothing where :meth:`dumps` has to look closer, at a container, an object, a reference
            that is not there; or is as quick: no reference is among them, or there are many.
        """
        if len(args) > plain_call.FEW or Delayed not in map(type, args):
            return None
        parts = []
        for value in args:
            if type(value) is Delayed:
                reference = self._references.get((value.node, value.output))
                if reference is None or reference[0] == "list":  # its pickle refers to itself
                    return None
                parts.append(plain_call.reference(reference))
            elif is_scalar(value) and type(value) is not bytes:
                parts.append(plain_call.part(value))
            else:
                return None
        data = plain_call.join_call(parts)
        self.size += len(data)
        return Pickled(data)

    def dumps_fixed(self, values: dict[str, Any], task: str) -> Pickled:
        """Pickle arguments that many tasks get, each with the pickle; as :meth:`dumps_named`."""
        self._often = True
        try:
            return self.dumps_named(values, values.items(), task)
        finally:
            self._often = False

    def dumps_named(self, value: Any, arguments: Iterable[tuple[str, Any]], task: str) -> Pickled:
        """Pickle the arguments of a task.

        Args:
            value: The arguments as they are pickled.
            arguments: Each with its name.
            task: Name of the task.

        Raises:
            SerializationError: If one of them cannot be pickled; it says which.
        """
        try:
            return self.dumps(value, f"arguments of task {task!r}")
        except SerializationError:
            for name, argument in arguments:
                self.dumps(argument, f"argument {name!r} of task {task!r}")
            raise

    def column(
        self, pieces: Sequence[PlanPiece], name: str, positions: Positions | None = None
    ) -> list[Piece]:
        """A column of the payload.

        Args:
            pieces: Where the items are.
            name: Name of the node that they are for.
            positions: Where they are in a collection, for errors.
        """
        column: list[Piece] = []
        number = 0
        self._recall = False  # whoever makes items may make them of the same memory
        for piece in pieces:
            column.append(self._piece(piece, name, positions, number))
            number += piece.length
        self._recall = True
        return column

    def _piece(self, piece: PlanPiece, name: str, positions: Positions | None, first: int) -> Piece:
        if isinstance(piece, SlotRange):
            return InputSlots(self.input(piece.result), piece.start, piece.stop)
        values = piece.values
        if are_scalars(values):
            data = pickle.dumps(values, protocol=5)
            self.size += len(data)
            return Values(data, len(values))
        if positions is None:
            return PickledItems([self.dumps(value, f"an item of {name!r}") for value in values])
        return PickledItems(
            [
                self.dumps(value, f"item {label(name, positions, number)}")
                for number, value in enumerate(values, first)
            ]
        )


def with_memory_of_its_own(pickled: Pickled) -> Pickled:
    """With copies of the buffers that whoever made the value can write to."""
    if not pickled.buffers:
        return pickled
    views: list[memoryview] = [memoryview(buffer) for buffer in pickled.buffers]
    buffers = [view if view.readonly else memoryview(bytes(view)) for view in views]
    return Pickled(pickled.data, buffers)


def is_local(column: Sequence[PlanPiece]) -> bool:
    """Whether the client holds all items of a column."""
    return all(isinstance(piece, LocalItems) for piece in column)
