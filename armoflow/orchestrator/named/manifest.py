"""The manifest of a named run: what it was asked for, which tasks it has, where its values are.

It is stored with the engine, as results of the run's own session: a part with each batch of tasks
that is submitted, in the same step. It is data and never code: msgpack of texts and numbers, looked
at before anything of it is believed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, TypeVar

import msgpack

from armoflow import config
from armoflow.codec.payload import Operation
from armoflow.codec.positions import Positions
from armoflow.errors import MalformedError
from armoflow.protocol.frames import CONSTANT_PREFIX, SAY_PREFIX
from armoflow.protocol.submission import WireOptions

PART_NAME = "manifest/"
"""Begins the names of a manifest's parts."""

EPOCHS = SAY_PREFIX.removeprefix(CONSTANT_PREFIX)
"""Begins the names of parts that take the say from earlier planners; the epoch follows."""

VERSION = 1
KEY_BYTES = 32

T = TypeVar("T")


class PlanningProcess(NamedTuple):
    """The process that plans a run.

    Attributes:
        host: The machine.
        process: Its id there.
        started: What tells it from others that had this id; empty where nothing does.
    """

    host: str
    process: int
    started: str


class ResultSlots(NamedTuple):
    """Slots of a result.

    Attributes:
        result_id: The result; empty: its task was never submitted.
        name: The name of the task that makes it.
        positions: Where its items are, if it holds items of a collection.
        start: The first slot.
        stop: The one after the last.
    """

    result_id: str
    name: str
    positions: Positions | None
    start: int
    stop: int


class Head(NamedTuple):
    """What was asked for, and by whom.

    Attributes:
        graph: The key of what was asked for.
        root: The key of the node that makes it.
        output: Which of its outputs.
        name: What that node is called.
        whole: It is one value, not the items of a collection.
        seal: What the errors of the run's tasks are sealed with.
        planner: Who plans it.
    """

    graph: bytes
    root: bytes
    output: int
    name: str
    whole: bool
    seal: bytes
    planner: PlanningProcess


class TaskNote(NamedTuple):
    """A task of the run.

    Attributes:
        payload_id: Its payload.
        inputs: The results that it needs.
        outputs: Those that it makes.
        options: Its ArmoniK options.
        operation: What it does.
        names: The names of its steps.
        positions: Where its items are, if it runs items of a collection.
        items: How many it runs.
    """

    payload_id: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    options: WireOptions
    operation: Operation
    names: tuple[str, ...]
    positions: Positions | None
    items: int


class ValueNote(NamedTuple):
    """Values that one task makes, in slots that follow one another.

    Attributes:
        result_id: Where they are.
        slot: The first one's.
        output: Which output of their nodes they are; -1: what a filter leaves.
        keys: Their keys, one behind the other.
    """

    result_id: str
    slot: int
    output: int
    keys: bytes


class PartialNote(NamedTuple):
    """What a reduction makes of some of its items.

    Attributes:
        result_id: Where it is.
        key: The key of the reduction.
        start: The position of the first item.
        stop: That after the last one.
    """

    result_id: str
    key: bytes
    start: int
    stop: int


class ManifestPart(NamedTuple):
    """A part of a manifest.

    Attributes:
        epoch: How often the run was planned before, and once more.
        head: What was asked for; in the first part of an epoch.
        tasks: Tasks that are submitted.
        values: What they make.
        partials: What those of them make that are parts of reductions.
        end: Where the values are that were asked for: the plan is whole.
        stopped: Why the plan will never be whole.
        copies: Under which name copies of the tasks' payloads are stored; empty: there are none.
    """

    epoch: int
    head: Head | None = None
    tasks: Sequence[TaskNote] = ()
    values: Sequence[ValueNote] = ()
    partials: Sequence[PartialNote] = ()
    end: Sequence[ResultSlots] | None = None
    stopped: str = ""
    copies: str = ""


def say_name(epoch: int) -> str:
    """The name of the result of whoever takes the say for an epoch, or ends the one before it."""
    return f"{SAY_PREFIX}{epoch}"


def pack_part(part: ManifestPart) -> bytes:
    """Lay out a part.

    Example:
        >>> unpack_part(pack_part(ManifestPart(2, stopped="interrupted"))).stopped
        'interrupted'
    """
    written: dict[str, Any] = {"version": VERSION, "epoch": part.epoch}
    if part.head is not None:
        written["head"] = [*part.head[:-1], list(part.head.planner)]
    if part.tasks:
        options: dict[WireOptions, int] = {}
        written["tasks"] = [
            [
                *(task.payload_id, task.inputs, task.outputs),
                options.setdefault(task.options, len(options)),
                *(int(task.operation), task.names, task.positions, task.items),
            ]
            for task in part.tasks
        ]
        written["options"] = [[*each[:-1], dict(each[-1])] for each in map(_option_values, options)]
    if part.values:
        written["values"] = [list(note) for note in part.values]
    if part.partials:
        written["partials"] = [list(note) for note in part.partials]
    if part.end is not None:
        written["end"] = [list(place) for place in part.end]
    if part.stopped:
        written["stopped"] = part.stopped
    if part.copies:
        written["copies"] = part.copies
    packed: bytes = msgpack.packb(written, use_bin_type=True, unicode_errors="replace")
    return packed


def unpack_part(data: bytes | bytearray | memoryview) -> ManifestPart:
    """Read a part.

    Raises:
        MalformedError: If it is none; names what is wrong.

    Example:
        >>> unpack_part(bytes([1]))
        Traceback (most recent call last):
        armoflow.errors.MalformedError: a part of a run's manifest is not what it may be: it is int
    """
    try:
        written = msgpack.unpackb(data, raw=False, strict_map_key=True)
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise MalformedError(f"a part of a run's manifest cannot be read: {error}") from error
    _expect(isinstance(written, dict), f"it is {type(written).__name__}")
    version = written.get("version")
    _expect(version == VERSION, f"its version is {version!r}, and this armoflow reads {VERSION}")
    options = [_options(entry) for entry in _list(written.get("options", []))]
    end = written.get("end")
    return ManifestPart(
        _number(written.get("epoch"), least=1),
        _head(written["head"]) if "head" in written else None,
        [_task(entry, options) for entry in _list(written.get("tasks", []))],
        [_value(entry) for entry in _list(written.get("values", []))],
        [_partial(entry) for entry in _list(written.get("partials", []))],
        None if end is None else [_place(entry) for entry in _list(end)],
        _text(written.get("stopped", "")),
        _text(written.get("copies", ""), config.ID_LIMIT),
    )


def _option_values(options: WireOptions) -> tuple[Any, ...]:
    return (
        *(float(options.max_duration), options.max_retries, options.priority),
        *(options.partition, options.labels),
    )


# --- nothing is believed ------------------------------------------------------------------------


def _expect(held: object, otherwise: str) -> None:
    if not held:
        raise _refusal(otherwise)


def _refusal(why: str) -> MalformedError:
    return MalformedError(f"a part of a run's manifest is not what it may be: {why}")


# What follows is asked for every task: what is wrong is put into words only where something is.


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise _refusal(f"{type(value).__name__} in place of a list")
    return value


def _row(value: Any, length: int) -> list[Any]:
    row = _list(value)
    if len(row) != length:
        raise _refusal(f"{len(row)} fields in place of {length}")
    return row


def _text(value: Any, most: int = config.TEXT_LIMIT) -> str:
    if not isinstance(value, str):
        raise _refusal(f"{type(value).__name__} in place of a text")
    if len(value) > most:
        raise _refusal(f"a text of {len(value):,} characters")
    return value


def _id(value: Any) -> str:
    text = _text(value, config.ID_LIMIT)
    _expect(text, "an empty id")
    return text


def _number(value: Any, least: int = 0, most: int = 1 << 53) -> int:
    if type(value) is not int or not least <= value <= most:
        raise _refusal(f"{value!r} in place of a number")
    return value


def _positions(value: Any) -> Positions:
    return [*map(_number, value)] if isinstance(value, list) else _number(value)


def _bytes(value: Any, most: int) -> bytes:
    _expect(isinstance(value, bytes) and len(value) <= most, "no bytes, or too many")
    return value  # type: ignore[no-any-return]


def _key(value: Any) -> bytes:
    key = _bytes(value, KEY_BYTES)
    _expect(len(key) == KEY_BYTES, f"a key of {len(key)} bytes")
    return key


def _maybe(read: Callable[[Any], T], value: Any) -> T | None:
    return None if value is None else read(value)


def _texts(value: Any) -> Iterable[str]:
    return map(_text, _list(value))


def _head(value: Any) -> Head:
    graph, root, output, name, whole, seal, planner = _row(value, 7)
    host, process, started = _row(planner, 3)
    _expect(isinstance(whole, bool), "neither true nor false")
    return Head(
        *(_key(graph), _key(root), _number(output), _text(name), whole, _bytes(seal, 64)),
        PlanningProcess(_text(host), _number(process), _text(started)),
    )


def _options(value: Any) -> WireOptions:
    duration, retries, priority, partition, labels = _row(value, 5)
    finite = isinstance(duration, float) and math.isfinite(duration) and duration > 0
    _expect(finite and duration <= config.DURATION_LIMIT, f"a duration of {duration!r}")
    _expect(isinstance(labels, dict) and len(labels) <= config.OPTIONS_COUNT, "no labels")
    return WireOptions(
        duration,
        _number(retries),
        _number(priority),
        _text(partition),
        labels=tuple((_text(name), _text(text)) for name, text in labels.items()),
    )


def _task(value: Any, options: Sequence[WireOptions]) -> TaskNote:
    payload_id, inputs, outputs, option, operation, names, positions, items = _row(value, 8)
    _expect(_number(option) < len(options), "options that are not there")
    if type(operation) is not int or operation not in Operation._value2member_map_:
        raise _refusal(f"operation {operation!r}")
    note = TaskNote(
        _id(payload_id),
        tuple(map(_id, _list(inputs))),
        tuple(map(_id, _list(outputs))),
        options[option],
        Operation(operation),
        tuple(_texts(names)),
        _maybe(_positions, positions),
        _number(items),
    )
    _expect(note.names and note.outputs, "a task without a name, or without outputs")
    return note


def _value(value: Any) -> ValueNote:
    result_id, slot, output, keys = _row(value, 4)
    _expect(isinstance(keys, bytes) and len(keys) % KEY_BYTES == 0, "no keys")
    return ValueNote(_id(result_id), _number(slot), _number(output, least=-1), keys)


def _partial(value: Any) -> PartialNote:
    result_id, key, start, stop = _row(value, 4)
    note = PartialNote(_id(result_id), _key(key), _number(start), _number(stop))
    _expect(note.start < note.stop, "a part of a reduction that ends before it begins")
    return note


def _place(value: Any) -> ResultSlots:
    result_id, name, positions, start, stop = _row(value, 5)
    place = ResultSlots(
        _text(result_id, config.ID_LIMIT),
        _text(name),
        _maybe(_positions, positions),
        _number(start),
        _number(stop),
    )
    _expect(place.start <= place.stop, "slots that end before they begin")
    return place
