"""Rows of a session's tasks, as armoflow's own engine gives them to who watches it live.

A list call of ArmoniK's takes 70 us of the engine's processor time a task, and its results' names
and sizes 110 more: as much as a small task itself. Here it is some ten, since the database writes
what is shown, and nothing else, as JSON.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import msgpack

from armoflow.errors import EngineError, MalformedError
from armoflow.protocol.frames import SERVICE
from armoflow.protocol.introduction import offers_extension
from armoflow.protocol.repeat import CALL_DEADLINE
from armoflow.protocol.shapes import (
    FLAG,
    ID,
    INT32,
    Integer,
    ListOf,
    Number,
    Optional,
    Record,
    Shape,
    Text,
)

if TYPE_CHECKING:
    from armonik.common import TaskStatus

    from armoflow.protocol.inspection import Inspection

RUNNING_METHOD = f"/{SERVICE}/RunningTasks"
ENDED_METHOD = f"/{SERVICE}/EndedTasks"

MOST = 10_000
"""Rows of a reply at most."""

MICROSECONDS = 1e6
"""Times are whole numbers of them, which go through JSON as they are; 0 is none."""


class TaskRow(NamedTuple):
    """A task as it travels: its fields in this order."""

    id: str
    status: int
    pod: str
    created: int
    queued: int
    taken: int
    started: int
    stopped: int
    ended: int
    inputs: str
    outputs: str
    retries: str
    parent: str
    namespace: str
    application: str
    service: str
    output_name: str
    payload_name: str
    bytes_in: int
    bytes_out: int


OVERLAP = 2.0
"""Seconds before the last end that is known, from which ends are looked for where the engine has
forgotten who asks: they are written in some disorder."""

RUNNING_REQUEST = Record(session=ID, limit=Integer(1, MOST))
ENDED_REQUEST = Record(
    session=ID,
    place=Optional(Record(list=ID, position=Integer(0, 2**53), since=Integer(0, 2**62))),
    limit=Integer(1, MOST),
)
"""The tasks that have ended and are not known yet: the engine keeps a list of them for who asks.
The place in it is what the last reply said; where there is no such list any more, a new one begins
with what has ended since then (microseconds)."""


class EndedPosition(NamedTuple):
    """Where somebody is who asks for what has ended.

    Attributes:
        list: The engine's list.
        position: So many of it are known.
        since: When the last of these ended, in microseconds.
    """

    list: str
    position: int
    since: int


class RunningRows(NamedTuple):
    """Tasks that run.

    Attributes:
        rows: The tasks.
        counts: How many tasks are in which status.
        progress: How far those are that tell it, by id: the item's name, and what it told.
        seconds: Of a processor that the engine took to read it.
    """

    rows: Sequence[TaskRow]
    counts: Mapping[TaskStatus, int]
    progress: Mapping[str, tuple[str, str]]
    seconds: float


class EndedRows(NamedTuple):
    """Tasks that have ended.

    Attributes:
        rows: The tasks, in the order of their ends.
        errors: Why some failed, by id.
        place: Where to go on.
        more: There are more now.
        seconds: Of a processor that the engine took to read it.
    """

    rows: Sequence[TaskRow]
    errors: Mapping[str, str]
    place: EndedPosition
    more: bool
    seconds: float


_ANY_TEXT = Text(2**31)
_SECONDS = Number(0, 1e9)
_RUNNING_REPLY = Record(
    rows=_ANY_TEXT,
    counts=ListOf(Record(status=INT32, count=Integer(0)), 100),
    progress=ListOf(Record(id=ID, item=_ANY_TEXT, line=_ANY_TEXT), MOST),
    seconds=_SECONDS,
)
_ENDED_REPLY = Record(
    rows=_ANY_TEXT,
    errors=ListOf(Record(id=ID, error=_ANY_TEXT), MOST),
    place=Record(list=ID, position=Integer(0, 2**53)),
    more=FLAG,
    seconds=_SECONDS,
)


def offers_task_rows(inspection: Inspection, session_id: str) -> bool:
    """Whether an engine tells of a session's tasks in this way."""
    if not offers_extension(inspection.info):
        return False
    try:
        read_running(inspection, session_id, 1)
    except EngineError as error:  # one of before knows other extensions only
        if error.code != "UNIMPLEMENTED":
            raise
        return False
    return True


def read_running(inspection: Inspection, session_id: str, limit: int) -> RunningRows:
    """What runs in a session, the first ones first.

    Raises:
        EngineError: With the code ``UNIMPLEMENTED``, if this engine is not armoflow's, or of
            another version.
    """
    from armonik.common import TaskStatus  # its package is more than engines need to import

    request = msgpack.packb([session_id, limit])
    what = "reading the running tasks of a session"
    reply = inspection.stream(RUNNING_METHOD, request, what, CALL_DEADLINE)
    text, counts, told, seconds = _unpack(b"".join(reply), _RUNNING_REPLY)
    by_status = {TaskStatus(key): count for key, count in counts}
    progress = {task_id: (item, line) for task_id, item, line in told}
    return RunningRows(_rows(text), by_status, progress, seconds)


def read_ended(
    inspection: Inspection, session_id: str, place: EndedPosition | None, limit: int
) -> EndedRows:
    """What has ended in a session, from a place on; without one, from the first task on.

    Raises:
        EngineError: See :func:`read_running`.
    """
    request = msgpack.packb([session_id, place, limit])
    what = "reading the tasks of a session"
    reply = inspection.stream(ENDED_METHOD, request, what, CALL_DEADLINE)
    text, errors, (list_id, position), more, seconds = _unpack(b"".join(reply), _ENDED_REPLY)
    rows = _rows(text)
    since = max((row.ended for row in rows), default=0)
    if place is not None:
        since = max(since, place.since)
    return EndedRows(rows, dict(errors), EndedPosition(list_id, position, since), more, seconds)


def _unpack(reply: bytes, shape: Shape) -> Any:
    try:
        found: Any = msgpack.unpackb(reply)
        shape.check(found, "the reply")
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise MalformedError(f"the engine's rows of tasks cannot be read: {error}") from error
    return found


def _rows(text: str) -> list[TaskRow]:
    try:
        return [TaskRow(*row) for row in json.loads(f"[{text}]")]
    except (ValueError, TypeError) as error:
        raise MalformedError(f"the engine's rows of tasks cannot be read: {error}") from error


def moment_of(microseconds: int) -> float | None:
    """Seconds since the epoch; None where there are none."""
    return microseconds / MICROSECONDS if microseconds else None


def ids_of(text: str) -> tuple[str, ...]:
    """The ids in a field that holds several."""
    return tuple(text.split("\n")) if text else ()


def in_pieces(reply: bytes, size: int) -> Iterator[bytes]:
    """A reply as messages of a stream, none of which is too large."""
    for start in range(0, len(reply), size):
        yield reply[start : start + size]
