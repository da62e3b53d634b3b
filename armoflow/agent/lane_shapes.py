"""What a child process may say: the shape of each message, checked by its owner.

A child runs other people's code, which may write into any of its descriptors. Its owner believes
nothing that does not look right: such a child is ended and replaced, and the task at fault is
accounted as if the process had died in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from armoflow.agent import lane_frames
from armoflow.agent.effects import TEMPORARY
from armoflow.codec.entry_count import EntryCount
from armoflow.config import ERROR_TEXT_LIMIT, LANE_ENTRIES, LANE_MESSAGE_LIMIT, TEXT_LIMIT
from armoflow.errors import MalformedError
from armoflow.protocol.frames import OPTIONS, UNREADABLE
from armoflow.protocol.shapes import (
    BYTES,
    ID,
    INT32,
    SIZE,
    Anything,
    Either,
    Integer,
    ListOf,
    MapOf,
    Optional,
    Plain,
    Record,
    Shape,
    Text,
)


class BrokenStreamError(MalformedError):
    """What a child sent cannot be what it meant to send.

    Attributes:
        serial: The task that it spoke of; None if that is not known.
    """

    def __init__(self, message: str, serial: int | None = None) -> None:
        super().__init__(message)
        self.serial = serial


_NAME = Text(TEXT_LIMIT)
_KEYS = ListOf(Plain(str), LANE_ENTRIES)
_FILE = Record(path=_NAME, size=SIZE)
_KIND = Integer(0, max(lane_frames.MessageKind))

_DONE = {
    "kind": _KIND,
    "serial": SIZE,
    "nanoseconds": SIZE,
    "data": MapOf(ID, Either(_FILE), LANE_ENTRIES, LANE_MESSAGE_LIMIT),
}
_EFFECTS = {
    "created": ListOf(Record(id=ID, name=_NAME), LANE_ENTRIES),
    "children": ListOf(
        Record(payload=ID, dependencies=_KEYS, outputs=_KEYS, options=Optional(OPTIONS)),
        LANE_ENTRIES,
    ),
}
_DONE_PLAINLY = Record(**_DONE)

MESSAGES: Mapping[int, Record] = {
    lane_frames.READY: Record(kind=_KIND, process=SIZE),
    lane_frames.DONE: Record(**_DONE, **_EFFECTS),
    lane_frames.PART: Record(kind=_KIND, serial=SIZE, data=_DONE["data"], **_EFFECTS),
    lane_frames.FAILED: Record(
        kind=_KIND, serial=SIZE, nanoseconds=SIZE, failure=_NAME, error=Text(ERROR_TEXT_LIMIT)
    ),
    lane_frames.PAUSED: Record(
        kind=_KIND,
        serial=SIZE,
        nanoseconds=SIZE,
        due=SIZE,
        spent=ListOf(Record(item=INT32, attempts=SIZE, due=SIZE), LANE_ENTRIES),
        saved=Either(_FILE),
    ),
    lane_frames.PARTIAL: Record(kind=_KIND, serial=SIZE, item=INT32, lengths=BYTES, spool=BYTES),
    lane_frames.REQUEST: Record(
        kind=_KIND, number=SIZE, serial=SIZE, method=_NAME, argument=Anything()
    ),
    lane_frames.ABSENT: Record(kind=_KIND, serial=SIZE),
}
"""By kind, those of the main channel."""

_RETURNED = Record(kind=_KIND, serials=ListOf(SIZE, LANE_ENTRIES))

ARGUMENTS: Mapping[str, Shape] = {
    "fetch": ID,
    "new_results": ListOf(_NAME, LANE_ENTRIES),
    "store_results": ListOf(Record(name=_NAME, data=BYTES), LANE_ENTRIES),
}
"""What a task may ask for, and what with."""

_CELL = Either(Record(kind=Integer(0, 255), data=BYTES, buffers=ListOf(BYTES, LANE_ENTRIES)))
_CELLS = ListOf(Optional(_CELL), LANE_ENTRIES)


def read(unpacker: Iterable[Any], count: EntryCount) -> Iterator[Any]:
    """The complete messages that an unpacker holds.

    Args:
        unpacker: The unpacker.
        count: Counts what a message holds: of small parts it takes sixty times its bytes.

    Raises:
        BrokenStreamError: When it comes to bytes that are no message.
    """
    try:
        for message in unpacker:
            count.begin()
            yield message
    except UNREADABLE as error:
        text = f"its bytes are no messages: {type(error).__name__} {error}"
        raise BrokenStreamError(text) from error


def plain_output(message: Any) -> str | None:
    """The output of the end of a task that is what by far the most are: its value in the message.

    None: it is to be looked at more closely.

    Example:
        >>> plain_output([lane_frames.DONE, 1, 500, {"output": b"value"}])
        'output'
        >>> plain_output([lane_frames.DONE, 1, -500, {"output": b"value"}])
    """
    if type(message) is not list or len(message) != 4:
        return None
    kind, serial, nanoseconds, data = message
    if kind != lane_frames.DONE or type(serial) is not int:
        return None
    if type(nanoseconds) is not int or nanoseconds < 0 or type(data) is not dict or len(data) != 1:
        return None
    ((key, value),) = data.items()
    return key if type(key) is str and type(value) is bytes else None


def check_message(message: Any) -> None:
    """Refuse what is no message of the main channel.

    Raises:
        BrokenStreamError: Naming the field.
    """
    kind: Any = message[0] if type(message) is list and message else None
    shape = MESSAGES.get(kind) if type(kind) is int else None
    if shape is None:
        raise BrokenStreamError(f"a message of an unknown kind: {repr(kind)[:60]}")
    if kind == lane_frames.DONE and len(message) == 4:
        shape = _DONE_PLAINLY
    place = 2 if kind == lane_frames.REQUEST else 1
    serial = message[place] if len(message) > place else None
    try:
        shape.check(message, lane_frames.MessageKind(kind).name)
        if kind == lane_frames.REQUEST:
            _check_request(message)
        elif kind == lane_frames.DONE:
            _check_payloads(message)
    except MalformedError as error:
        known = serial if type(serial) is int and kind != lane_frames.READY else None
        raise BrokenStreamError(str(error), known) from None


def check_returned(message: Any) -> set[int]:
    """The serials of a message of the control channel.

    Raises:
        BrokenStreamError: If it is no such message.
    """
    if type(message) is not list or message[:1] != [lane_frames.RETURNED]:
        raise BrokenStreamError("what came on the control channel is not RETURNED")
    try:
        _RETURNED.check(message, "RETURNED")
    except MalformedError as error:
        raise BrokenStreamError(str(error)) from None
    return set(message[1])


def check_cells(cells: Any, serial: int) -> None:
    """Refuse what cannot be the slots of a finished item.

    Raises:
        BrokenStreamError: Naming the slot.
    """
    try:
        _CELLS.check(cells, "a finished item")
    except MalformedError as error:
        raise BrokenStreamError(str(error), serial) from None


def check_data(
    data: Mapping[str, Any], outputs: Sequence[str], created: Iterable[Sequence[Any]], serial: int
) -> None:
    """Refuse data of results that are not the task's to make.

    Raises:
        BrokenStreamError: Naming the result.
    """
    foreign = data.keys() - set(outputs) - {entry[0] for entry in created}
    for key in foreign:
        if not key.startswith(TEMPORARY):
            raise BrokenStreamError(f"DONE.data has {key!r}, which is not this task's", serial)


def check_places(data: Mapping[str, Any], folder: str, serial: int) -> None:
    """Refuse files that are not in the folder where this child may put them.

    Raises:
        BrokenStreamError: Naming the file.
    """
    for key, value in data.items():
        if type(value) is bytes:
            continue
        parent, _, name = value[0].rpartition("/")
        if parent != folder or not ID.fits(name):
            raise BrokenStreamError(f"the data of {key!r} is not a file in {folder}", serial)


def _check_request(message: Sequence[Any]) -> None:
    _, _, _, method, argument = message
    if method not in ARGUMENTS:
        raise MalformedError(f"REQUEST.method is {method!r}: known are {', '.join(ARGUMENTS)}")
    ARGUMENTS[method].check(argument, f"REQUEST.argument of {method}")


def _check_payloads(message: Sequence[Any]) -> None:
    """A payload that a task made up is among the data that came with it."""
    for child in message[5] if len(message) > 4 else ():
        if child[0].startswith(TEMPORARY) and child[0] not in message[3]:
            raise MalformedError(f"DONE.children name a payload without data: {child[0]!r}")
