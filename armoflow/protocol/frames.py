"""The batch extension's frames: what a client and the embedded engine say on one stream.

The stream is ``/armoflow.Extension/Connect``, beside the standard services; or, where the engine
listens at a Unix socket, a connection to the socket named like it with ``.stream`` at its end, on
which each message follows its length in four bytes, the least significant first, and the engine
says in a last frame, ``[0, REFUSED, ...]``, why it ends the stream. Each message holds any number
of msgpack lists. A request is ``[number, kind, ...]``, its reply ``[number, OK, value]`` or
``[number, REFUSED, code, message, result ids]``; changes come unasked as ``[0, CHANGES, ...]``,
what tasks write as ``[0, PASSAGES, ...]``.

=========  ==========================================================  =========================
kind       request                                                     reply
=========  ==========================================================  =========================
HELLO      protocol version, whether the client shares the machine     ``{"fences": ...,
                                                                       "frees_payloads": ...,
                                                                       "shares_payloads": ...,
                                                                       "staging": ...}``
WATCH      session id                                                  after it, changes come; while
                                                                       it does its lease rests
SUBMIT     session id, results ``[id, name]``, options, tasks          once committed
           ``[id, payload id, dependencies, outputs, options index]``,
           payloads ``[id, bytes]`` or ``[id, [path, size]]``
FETCH      result ids                                                  bytes, ``[path, size]`` or
                                                                       None for each
POLL       result ids                                                  changes
FAILURES   result ids                                                  ``[id, task, status, text]``
DELETE     result ids                                                  once committed
CANCEL     task ids                                                    once committed
LISTEN     session id                                                  after it, passages come
INTRODUCE  nothing                                                     ``{"core_version": ...,
                                                                       "chunk_bytes": ...,
                                                                       "partitions":
                                                                       [[id, pods], ...]}``
OPEN       options, partitions                                         a session's id
CLOSE      session id                                                  once committed
STOP       session id                                                  once committed
FENCED     session id, name, and the rest of a SUBMIT                  once committed
=========  ==========================================================  =========================

INTRODUCE, OPEN, CLOSE and STOP are taken on a socket only, where whoever is connected may do
everything: there they stand for the calls with which a client begins and ends, so that it needs no
gRPC. What the engine says of itself; CreateSession, with a lease; CloseSession, which deletes what
need not stay; CancelSession.

A SUBMIT creates results, submits tasks and completes payloads in this order, as one change, and may
be repeated: ids are the client's, taken from a random range, so that what exists is recognised.
Storing data is a SUBMIT without tasks. A FENCED creates no task once a client has made a result of
that name in the session, and is refused with ALREADY_EXISTS then. The name begins with
``SAY_PREFIX``: whoever takes a run over makes such a result, and what its planner has under way, or
sends when it wakes up, comes too late.

A change is ``[id, status, size, data, failure, seconds that the task ran]``, None where there is
nothing to say. Large data of a client on the same machine goes through files: it writes into the
directory ``staging``, and the engine takes the file over, or refuses it with DATA_LOSS if it is not
there (any more). Elsewhere it goes through UploadResultData and DownloadResultData.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping
from enum import IntEnum
from typing import Any

import msgpack

from armoflow.codec.entry_count import counting
from armoflow.codec.item_log import PREFIX as LOG_PREFIX
from armoflow.codec.written import PREFIX as WRITTEN_PREFIX
from armoflow.config import (
    DURATION_LIMIT,
    ERROR_TEXT_LIMIT,
    FRAME_ASKED,
    FRAME_ENTRIES,
    FRAME_RESULTS,
    FRAME_TASKS,
    LANE_MESSAGE_LIMIT,
    OPTIONS_COUNT,
    OPTIONS_TEXT,
    REQUEST_LIMIT,
    TEXT_LIMIT,
)
from armoflow.errors import MalformedError
from armoflow.protocol.shapes import (
    BYTES,
    FLAG,
    ID,
    INT32,
    SIZE,
    Either,
    Integer,
    ListOf,
    MapOf,
    Named,
    Number,
    Optional,
    Plain,
    Record,
    Shape,
    Text,
)

METHOD = "/armoflow.Extension/Connect"
SERVICE = "armoflow.Extension"
OUTPUT_METHOD = f"/{SERVICE}/Output"
"""What tasks of a session have written, as lines of JSON; asked for by a session id and whether it
goes on until the session ends, in msgpack."""
VERSION = 2


class Kind(IntEnum):
    """Second element of a frame."""

    OK = 0
    REFUSED = 1
    CHANGES = 2
    HELLO = 3
    WATCH = 4
    SUBMIT = 5
    FETCH = 6
    POLL = 7
    FAILURES = 8
    DELETE = 9
    CANCEL = 10
    LISTEN = 11
    PASSAGES = 12
    INTRODUCE = 13
    OPEN = 14
    CLOSE = 15
    STOP = 16
    FENCED = 17


TAKEN_OVER = "ALREADY_EXISTS"
"""Code of the refusal of a FENCED whose name is taken."""

SESSION_ENDED = "ABORTED"
"""Code of the refusal of what comes for a session whose lease has run out."""

LEASE = ("armoflow-lease", "1")
"""Metadata of CreateSession: the session may be ended some time after nobody watches it any more,
as those of ``armoflow up --client-lease`` are; the client watches it on this stream."""

TIDY = ("armoflow-tidy", "1")
"""Metadata of CloseSession: the data that need not stay after the session's end goes, too."""

NAME_LIMIT = 200
"""Characters of a task's name in the names of its results."""

# Names of results: what they are, a slash, and the name of the task. Engines and clients go by
# what they are.

OUTPUT = "output"
"""Names of expected outputs start so: of these, changes are told."""

OUTPUT_PREFIX = f"{OUTPUT}/"

WANTED_PREFIX = f"{OUTPUT}.wanted/"
"""Of outputs that the client will fetch: small ones come along with their change."""

KEPT_PREFIX = f"{OUTPUT}.kept/"
"""Of outputs that stay when their session ends (``keep=True``); they count as wanted."""

CACHED_PREFIX = f"{OUTPUT}.cached/"
"""Of outputs whose data outlives everything, for later runs: of manual deletion, on every engine.
They count as wanted."""

WANTED_PREFIXES = (WANTED_PREFIX, KEPT_PREFIX, CACHED_PREFIX)

CHILD_PREFIX = "child/"
"""Of results inside an expansion."""

KEPT_CHILD_PREFIX = "child.kept/"

KEPT_PREFIXES = (KEPT_PREFIX, KEPT_CHILD_PREFIX, CACHED_PREFIX)

STAYING_PREFIXES = (*KEPT_PREFIXES, LOG_PREFIX, WRITTEN_PREFIX)
"""Of results whose data stays when their session ends."""

PAYLOAD_PREFIX = "payload/"

CONSTANT_PREFIX = "shared/"
"""Of what is stored once for many tasks: code, large arguments, values that were put."""

SAY_PREFIX = f"{CONSTANT_PREFIX}manifest/from/"
"""Of what takes the say in a run from those who had it; the number of the plan follows."""

VALUE_LABEL = "armoflow_value"
"""The option of a session that holds the name of the value in it: nobody ends it but by its age."""

RUN_LABEL = "armoflow_run"
"""The option of a session that holds the name of its run: nobody ends it but by its age."""

PASSING_PREFIXES = (OUTPUT, CHILD_PREFIX, KEPT_CHILD_PREFIX, PAYLOAD_PREFIX)
"""Results that are on the way to other tasks, unless they are wanted: nobody waits for the news."""


# --- what frames may look like ------------------------------------------------------------------

_NAME = Text(TEXT_LIMIT)
_IDS = ListOf(ID, FRAME_ENTRIES)
_KEY = Plain(str)
"""An id of what must exist already: looked up before anything is made of it."""
_KEYS = ListOf(_KEY, FRAME_ENTRIES)
_ASKED = ListOf(_KEY, FRAME_ASKED)
_FILE = Record(path=_NAME, size=SIZE)

OPTIONS = Named(
    {
        "max_duration": Number(-DURATION_LIMIT, DURATION_LIMIT),
        "max_retries": INT32,
        "priority": INT32,
        "partition_id": _NAME,
        "application_name": _NAME,
        "application_version": _NAME,
        "application_namespace": _NAME,
        "application_service": _NAME,
        "engine_type": _NAME,
        "options": MapOf(_NAME, Text(OPTIONS_TEXT), OPTIONS_COUNT, OPTIONS_TEXT),
    }
)
"""Task options by field name, wherever they come from."""

_SUBMITTED: Mapping[str, Shape] = {
    "results": ListOf(Record(id=ID, name=_NAME), FRAME_RESULTS),
    "options": ListOf(Optional(OPTIONS), FRAME_TASKS),
    "tasks": ListOf(
        Record(id=ID, payload=_KEY, dependencies=_KEYS, outputs=_KEYS, options=SIZE),
        FRAME_TASKS,
    ),
    "payloads": ListOf(Record(id=_KEY, data=Either(_FILE)), FRAME_RESULTS),
}

REQUESTS: Mapping[int, Record] = {
    Kind.HELLO: Record(version=Integer(), local=FLAG),
    Kind.WATCH: Record(session=_KEY),
    Kind.SUBMIT: Record(session=_KEY, **_SUBMITTED),
    Kind.FETCH: Record(results=_ASKED),
    Kind.POLL: Record(results=_ASKED),
    Kind.FAILURES: Record(results=_ASKED),
    Kind.DELETE: Record(results=_ASKED),
    Kind.CANCEL: Record(tasks=_ASKED),
    Kind.LISTEN: Record(session=_KEY),
    Kind.INTRODUCE: Record(),
    Kind.OPEN: Record(options=OPTIONS, partitions=ListOf(_NAME, FRAME_ENTRIES)),
    Kind.CLOSE: Record(session=_KEY),
    Kind.STOP: Record(session=_KEY),
    Kind.FENCED: Record(session=_KEY, name=_NAME, **_SUBMITTED),
}
"""What follows number and kind in a request."""

_ERROR = Text(ERROR_TEXT_LIMIT)
_FAILURE = Record(task=ID, status=_NAME, error=_ERROR)
_SECONDS = Number(-DURATION_LIMIT, DURATION_LIMIT)
_CHANGE = Record(
    result=ID,
    status=Integer(2, 4),
    size=SIZE,
    data=Optional(BYTES),
    failure=Optional(_FAILURE),
    seconds=Optional(_SECONDS),
)
_NOTHING = Optional(ListOf(ID, 0))

CHANGES = Record(session=ID, changes=ListOf(_CHANGE, FRAME_ENTRIES * 10))
"""What follows number and kind where changes are told."""

_PASSAGE = Record(task=_NAME, name=_NAME, level=INT32, logger=_NAME, text=Text(LANE_MESSAGE_LIMIT))

OUTPUT_REQUEST = Record(session=ID, follow=FLAG)
"""What is asked for at ``OUTPUT_METHOD``."""

PASSAGES = Record(session=ID, passages=ListOf(_PASSAGE, FRAME_ENTRIES))
"""What follows number and kind where it is told what tasks write."""

REFUSAL = Record(code=_NAME, message=_ERROR, results=_IDS)
"""What follows number and kind where a request is refused."""

REPLIES: Mapping[int, Shape] = {
    Kind.HELLO: Named(
        {"fences": FLAG, "frees_payloads": FLAG, "shares_payloads": FLAG, "staging": _NAME}
    ),
    Kind.FETCH: ListOf(Optional(Either(_FILE, Record())), FRAME_ASKED),
    Kind.POLL: ListOf(_CHANGE, FRAME_ASKED),
    Kind.FAILURES: ListOf(Record(result=ID, task=ID, status=_NAME, error=_ERROR), FRAME_ASKED),
    Kind.WATCH: _NOTHING,
    Kind.SUBMIT: _NOTHING,
    Kind.DELETE: _NOTHING,
    Kind.CANCEL: _NOTHING,
    Kind.LISTEN: _NOTHING,
    Kind.INTRODUCE: Named(
        {
            "core_version": _NAME,
            "chunk_bytes": SIZE,
            "partitions": ListOf(Record(id=_NAME, pods=SIZE), FRAME_ENTRIES),
        }
    ),
    Kind.OPEN: ID,
    Kind.CLOSE: _NOTHING,
    Kind.STOP: _NOTHING,
    Kind.FENCED: _NOTHING,
}
"""The values of replies, by the kind of their requests."""

_MESSAGE_ENTRIES = FRAME_ENTRIES * 40
"""Entries of all lists and maps of a message: what they are read into is bounded, too."""

UNREADABLE = (ValueError, TypeError, OverflowError, msgpack.exceptions.UnpackException)
"""What msgpack raises for bytes that are no message."""


def unpack(message: bytes, entries: int = FRAME_ENTRIES * 10) -> Iterator[Any]:
    r"""The frames of a message.

    Raises:
        MalformedError: When it comes to bytes that are none.

    Example:
        >>> list(unpack(b"\x91\x01\x92\x02\x03"))
        [[1], [2, 3]]
    """
    unpacker = msgpack.Unpacker(
        raw=False,
        max_buffer_size=len(message) + 1,
        max_array_len=entries,
        max_map_len=entries,
        **counting(len(message), _MESSAGE_ENTRIES),
    )
    unpacker.feed(message)
    read = 0
    try:
        for frame in unpacker:
            read = unpacker.tell()
            yield frame
    except UNREADABLE as error:
        raise MalformedError(f"a message cannot be read: {type(error).__name__} {error}") from None
    if read < len(message):
        raise MalformedError("a message ends within a frame")


# --- messages on a socket -----------------------------------------------------------------------

_LENGTH = struct.Struct("<I")


def framed(parts: Iterable[bytes]) -> bytes:
    """The parts of a message as one, after its length."""
    message = b"".join(parts)
    return _LENGTH.pack(len(message)) + message


class Splitter:
    r"""Finds the messages in what a socket gives.

    Example:
        >>> splitter = Splitter()
        >>> splitter.feed(framed([b"ab"]) + framed([b"c"])[:2])
        [b'ab']
        >>> splitter.feed(framed([b"c"])[2:])
        [b'c']
    """

    def __init__(self, limit: int = REQUEST_LIMIT) -> None:
        self._limit = limit
        self._rest = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """Take bytes; returns the messages that are complete.

        Raises:
            MalformedError: If one is too long.
        """
        if not self._rest and len(data) >= 4 and _LENGTH.unpack_from(data)[0] == len(data) - 4:
            return [data[4:]]  # one message, whole: what comes most often
        self._rest += data
        messages = []
        start = 0
        while len(self._rest) - start >= 4:
            (length,) = _LENGTH.unpack_from(self._rest, start)
            if length > self._limit:
                raise MalformedError(f"a message of {length} bytes: {self._limit} are taken")
            end = start + 4 + length
            if end > len(self._rest):
                break
            messages.append(bytes(self._rest[start + 4 : end]))
            start = end
        del self._rest[:start]
        return messages
