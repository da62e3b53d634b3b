"""What one task reads: slots of its dependencies and constants.

A task may run many calls, and each may change its arguments in place: what calls have in common is
loaded for each of them, and its memory mapped anew. Only what cannot be changed, and what would
take long to load, is one object for all of them.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any, NoReturn

from armoflow import config
from armoflow.codec.container import MAGIC, Buffer, keeps_promise
from armoflow.codec.envelope import Cell, Slot, SlotKind, unpack_cells
from armoflow.codec.payload import PREVIOUS, InputSlots, Payload, Pickled
from armoflow.codec.pickling import SCALARS, dumps, loads
from armoflow.codec.positions import label
from armoflow.codec.recording import removed
from armoflow.codec.unreadable import unreadable
from armoflow.content import is_mapped, kept
from armoflow.errors import ArmoflowError, EnvelopeError, StaleCacheError
from armoflow.orchestrator.package_versions import why_unreadable
from armoflow.worker import data
from armoflow.worker.failures import ItemFailure, UnreadableDataError, skip

_CACHED_RESULTS = 128
_NO_GRAPHS: Mapping[int, Any] = {}


class AbsentItem(Exception):
    """The item was filtered out."""


_TOLD = (ItemFailure, AbsentItem, UnreadableDataError, ArmoflowError)
"""What says itself which value it is about."""


class CellCache:
    """Slots of the small results that were read last: many tasks may read the same ones."""

    def __init__(self) -> None:
        self._cells: dict[str, list[Cell]] = {}

    def read(self, result_id: str, source: data.DataSource) -> list[Cell]:
        """The slots of a result; those of a file are read anew, for they can be written to."""
        cells = self._cells.get(result_id)
        if cells is None:
            cells = unpack_cells(data.read(source))
            if isinstance(source, bytes):
                if len(self._cells) >= _CACHED_RESULTS:
                    del self._cells[next(iter(self._cells))]
                self._cells[result_id] = cells
        return cells


class Inputs:
    """The dependencies and constants of one task.

    Args:
        payload: The task's payload.
        sources: Data of the dependencies by result id.
        stored: Reads the data of constants.
        cache: Slots that earlier tasks have read.
        previous: In a task of several steps, the slots that the step before has made.
        name_before: What errors call an item of that step.
        graphs: Items of the step before that returned a graph: its last value, still lazy.
    """

    def __init__(
        self,
        payload: Payload,
        sources: Mapping[str, data.DataSource],
        stored: data.FetchedData,
        cache: CellCache,
        *,
        previous: list[Cell] | None = None,
        name_before: Callable[[int], str] | None = None,
        graphs: Mapping[int, Any] = _NO_GRAPHS,
    ) -> None:
        self.graphs = graphs
        self._previous = previous
        self._name_before = name_before
        self._cache = cache
        self._payload = payload
        self._ids = payload.inputs
        self._constants = payload.constants
        self._sources = sources
        self._stored = stored
        self._cells: dict[int, list[Cell]] = {}
        self._own: dict[Any, Any] = {}  # what references stand for, in the call that is loaded
        self._shared: dict[Any, Any] = {}  # and in all calls
        self._handed_out: set[tuple[int, int]] = set()  # slots whose memory somebody may write to
        self._files: dict[tuple[str, str, bool], Any] = {}
        self._skips: dict[int, tuple[Slot, ItemFailure]] = {}

    @property
    def referable(self) -> bool:
        """Whether pickles in the payload may refer to something outside."""
        return bool(self._ids or self._constants or self._previous is not None)

    def forget(self) -> None:
        """Read again from now on: a failed attempt may have changed what it was given."""
        self._cells.clear()
        self._own.clear()
        self._shared.clear()

    def cells(self, index: int) -> list[Cell]:
        """All slots of one dependency.

        Raises:
            UnreadableDataError: If its data is not there, or is no result of armoflow.
        """
        if index == PREVIOUS:
            return self._previous or []
        cells = self._cells.get(index)
        if cells is None:
            result_id = self._ids[index]
            source = self._sources.get(result_id)
            if source is None:
                raise UnreadableDataError(
                    f"the data of input {result_id} did not come with the task"
                )
            promised = self._payload.promised
            if index in promised and not keeps_promise(data.read(source), *promised[index]):
                raise StaleCacheError(
                    f"{self._origin(index, 0)} is not what was kept in the cache", result_id
                )
            try:
                cells = self._cells[index] = self._cache.read(result_id, source)
            except EnvelopeError as error:
                raise UnreadableDataError(
                    f"{self._name(index)} cannot be read: {error}; the task that made it may have "
                    "run in a partition with another worker, or with another version of armoflow"
                ) from error
        return cells

    def slice(self, piece: InputSlots) -> list[Cell]:
        """The slots that a piece of a column names."""
        cells = self.cells(piece.input)
        if piece.stop > len(cells):
            self._missing(piece.input, piece.stop)
        return cells[piece.start : piece.stop]

    def _missing(self, index: int, needed: int) -> NoReturn:
        found = len(self.cells(index))
        raise UnreadableDataError(f"{self._name(index)} has {found} slots, {needed} are needed")

    def fresh(self, index: int, slot: int) -> Cell:
        """A slot as it was made: memory that was handed out before is mapped anew."""
        cells = self.cells(index)
        cell = cells[slot] if slot < len(cells) else self._missing(index, slot + 1)
        if not isinstance(cell, Slot) or all(memoryview(one).readonly for one in cell.buffers):
            return cell
        if (index, slot) in self._handed_out:
            self._cells.pop(index, None)
            self._handed_out = {place for place in self._handed_out if place[0] != index}
            cell = self.cells(index)[slot]
        self._handed_out.add((index, slot))
        return cell

    def load(self, pickled: Pickled, name: str | None = None) -> Any:
        """The pickled arguments of a call, references resolved: nobody else has these objects.

        Args:
            pickled: The value.
            name: The item whose argument it is; None: it holds the task's arguments.

        Raises:
            SerializationError: If it cannot be read back, or what a reference stands for.
        """
        self._files = {}  # each call has files of its own, whatever becomes of those of others
        self._own = {}
        try:
            if not (pickled.buffers or self.referable):
                # Then the only reference that there may be is one to an empty list.
                try:
                    return pickle.loads(pickled.data)
                except pickle.UnpicklingError:
                    pass
            own = [bytearray(buffer) for buffer in pickled.buffers]  # 1 MiB each at most
            return loads(Pickled(pickled.data, own), self.resolve)
        except _TOLD:
            raise
        except BaseException as error:
            what = f"an argument of task {name or self._payload.name!r}"
            why = why_unreadable(self._payload.versions, error)
            raise unreadable(what, pickled.data, error, why) from error

    def value(self, cell: Cell, index: int | None = None, slot: int = 0) -> Any:
        """The value in a slot of an input, or of a constant.

        Raises:
            AbsentItem: If it was filtered out.
            ItemFailure: If it holds an error; the item that needed it is skipped.
            SerializationError: If it cannot be read back.
        """
        try:
            if isinstance(cell, bytes):
                return pickle.loads(cell)
            if cell is None or cell.kind is SlotKind.ABSENT:
                raise AbsentItem
            if cell.kind is not SlotKind.VALUE:
                raise self._skip(cell)
            return loads(writable(Pickled(cell.data, cell.buffers)))
        except _TOLD:
            raise
        except BaseException as error:
            what = (
                f"the value of {self._origin(index, slot)}, an input of task {self._payload.name!r}"
            )
            data = cell.data if isinstance(cell, Slot) else cell or b""
            told = unreadable(what, data, error, why_unreadable(self._payload.versions, error))
            if index is not None and index in self._payload.promised:
                raise StaleCacheError(str(told), self._ids[index]) from error
            raise told from error

    def _origin(self, index: int | None, slot: int) -> str:
        """What errors call a slot of an input: the item that made it."""
        if index is None:
            return "a put or shared argument"
        if index == PREVIOUS and self._name_before is not None:
            return repr(self._name_before(slot))
        origins = self._payload.origins
        if index >= len(origins):
            return f"result {self._ids[index]}"
        return repr(label(*origins[index], slot))

    def item_name(self, index: int) -> str:
        """What errors call an item of the task's own."""
        payload = self._payload
        return label(payload.name, payload.positions if payload.collection else None, index)

    def _skip(self, slot: Slot) -> ItemFailure:
        # Many items may need the same failed slot, and a record takes a while to read.
        known = self._skips.get(id(slot))
        if known is None:  # the slot is held, so that its id stays its own
            known = self._skips[id(slot)] = (slot, skip(slot, self._payload.key))
        return known[1]

    def resolve(self, reference: Any) -> Any:
        """What a reference inside a pickle stands for."""
        kind = reference[0]
        if kind == "slot":
            return self._slot(reference[1], reference[2])
        if kind == "list":
            return list(self._list(reference[1]))
        if kind == "constant":
            return self._constant(*reference[1:])
        if kind == "buffer":
            return self._buffer(*reference[1:])
        if kind == "file":
            return self._file(*reference[1:])
        if kind == "previous":
            return self.graphs[0] if self.graphs else self._slot(PREVIOUS, 0)
        raise pickle.UnpicklingError(f"unknown reference {reference!r}")

    def _slot(self, index: int, slot: int) -> Any:
        key = (index, slot)
        known = self._shared if key in self._shared else self._own
        if key in known:
            return known[key]
        try:
            cell = self.fresh(index, slot)
            value = self.value(cell, index, slot)
        except AbsentItem:
            raise UnreadableDataError(
                f"slot {slot} of {self._name(index)} was filtered out"
            ) from None
        self._remember(key, cell, value)
        return value

    def _remember(self, key: Any, cell: Cell, value: Any) -> None:
        """Note what a reference stands for."""
        known = self._shared
        if type(value) not in SCALARS:
            pickled = cell.data if isinstance(cell, Slot) else cell or b""
            if not may_share(pickled, [value]):
                known = self._own
        known[key] = value

    def _name(self, index: int) -> str:
        return "the step before" if index == PREVIOUS else f"input {self._ids[index]}"

    def _list(self, ranges: Iterable[tuple[int, int, int]]) -> Iterator[Any]:
        for piece in ranges:
            index, start, _ = piece
            for slot, cell in enumerate(self.slice(InputSlots(*piece)), start):
                if cell is not None:
                    yield self.value(cell, index, slot)

    def _constant(self, index: int, name: str = "") -> Any:
        known = self._shared if index in self._shared else self._own
        if index not in known:
            try:
                cell = unpack_cells(self._stored.read(self._constants[index]))[0]
            except EnvelopeError as error:
                raise UnreadableDataError(f"what was put cannot be read: {error}") from error
            except UnreadableDataError as error:
                if not name:
                    raise
                raise UnreadableDataError(removed(name, error)) from error
            value = self.value(cell)
            self._remember(index, cell, value)
            return value
        return known[index]

    def _buffer(self, index: int, digest: bytes, readonly: bool) -> Buffer:
        """Binary data, anew for each value that is made of it: it may be written to."""
        content = memoryview(self._stored.read(self._constants[index], digest))
        if readonly:
            return content.toreadonly()
        return bytearray(content) if content.readonly else content

    def _file(self, index: int, digest: bytes, name: str, executable: bool) -> Any:
        from armoflow.files import receive_file  # most tasks have none

        result_id = self._constants[index]
        known = self._files.get((result_id, name, executable))
        if known is None:
            write = partial(self._stored.write_file, result_id, digest, executable=executable)
            known = self._files[result_id, name, executable] = receive_file(name, write)
            known.came_from(result_id, digest)
        return known


def may_share(pickled: Buffer, values: Iterable[Any]) -> bool:
    """Whether calls of a task may have these values in common, which are read from this pickle."""
    return len(pickled) > config.LOADED_ANEW_LIMIT or all(
        type(value) in SCALARS for value in values
    )


def writable(pickled: Pickled) -> Pickled:
    """Buffers that came inside a message are copied: what was writable must be again."""
    if not any(memoryview(buffer).readonly for buffer in pickled.buffers):
        return pickled
    return Pickled(pickled.data, [bytearray(buffer) for buffer in pickled.buffers])


def code_bytes(content: Buffer) -> bytes:
    """Stored code, whether it was stored as it is or as the value of an envelope."""
    if bytes(content[: len(MAGIC)]) != MAGIC:
        return bytes(content)
    cell = unpack_cells(content)[0]
    return bytes(cell.data) if isinstance(cell, Slot) else cell or b""


def pickle_value(value: Any, *, copy: bool = True) -> Cell:
    """A value as a cell.

    Args:
        value: The value.
        copy: Copy its buffers, because whoever made them may go on to change them.
    """
    data, buffers = dumps(value)
    if not buffers:
        return bytes(data)
    return Slot(SlotKind.VALUE, data, list(map(_copied, buffers)) if copy else buffers)


def _copied(buffer: Buffer) -> Buffer:
    return kept(buffer) if isinstance(buffer, memoryview) and is_mapped(buffer) else bytes(buffer)
