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
from armonik.common import TaskStatus

from armoflow.errors import MalformedError
from armoflow.protocol.frames import SERVICE
from armoflow.protocol.shapes import ID, INT32, Integer, ListOf, Number, Optional, Record, Text

if TYPE_CHECKING:
    from armoflow.protocol.inspection import Inspection

METHOD = f"/{SERVICE}/Tasks"

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


REQUEST = Record(
    session=ID,
    since=Optional(Number(0, 1e12)),
    skip=Integer(0, 2**53),
    limit=Integer(1, MOST),
)
"""What is asked for: the tasks that have ended since then, in that order; or, without a time, those
that run, and how many are in which status."""


class TaskRows(NamedTuple):
    """A reply.

    Attributes:
        rows: The tasks.
        errors: Why some failed, by id.
        counts: How many tasks are in which status, where that was asked for.
        seconds: Of a processor that the engine took to read it.
        progress: How far running tasks are that tell it, by id: the item's name, and what it told.
    """

    rows: Sequence[TaskRow]
    errors: Mapping[str, str]
    counts: Mapping[TaskStatus, int]
    seconds: float
    progress: Mapping[str, tuple[str, str]]


_ANY_TEXT = Text(2**31)
_REPLY = Record(
    rows=_ANY_TEXT,
    errors=ListOf(Record(id=ID, error=_ANY_TEXT), MOST),
    counts=ListOf(Record(status=INT32, count=Integer(0)), 100),
    seconds=Number(0, 1e9),
    progress=ListOf(Record(id=ID, item=_ANY_TEXT, line=_ANY_TEXT), MOST),
)


def read_task_rows(
    inspection: Inspection, session_id: str, since: float | None, skip: int, limit: int
) -> TaskRows:
    """Ask for rows, see ``REQUEST``.

    Raises:
        EngineError: With the code ``UNIMPLEMENTED``, if this engine is not armoflow's.
    """
    request = msgpack.packb([session_id, since, skip, limit])
    return _unpack(b"".join(inspection.stream(METHOD, request, "reading the tasks of a session")))


def _unpack(reply: bytes) -> TaskRows:
    try:
        found: Any = msgpack.unpackb(reply)
        _REPLY.check(found, "the reply")
        text, errors, counts, seconds, told = found
        rows = [TaskRow(*row) for row in json.loads(f"[{text}]")]
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise MalformedError(f"the engine's rows of tasks cannot be read: {error}") from error
    progress = {task_id: (item, line) for task_id, item, line in told}
    by_status = {TaskStatus(key): count for key, count in counts}
    return TaskRows(rows, dict(errors), by_status, seconds, progress)


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
