"""What a child process and its owner say to each other: msgpack messages over Unix sockets.

Messages follow one another without separators (msgpack is self-delimiting), so that reading many
at once is one call into C. Each is a list that starts with its kind. There are two channels: the
main one carries work, requests and completions; the control one carries what must be answered
while a task runs.

============  =========  =======================================================================
owner, main   RUN        tasks, each ``[serial, task id, session id, expected outputs, payload,
                         folder, progress, passed, trace, refused]``, and the data of their inputs
                         by result id; a payload that is a number was sent before (see
                         ``armoflow.worker.recent_payloads``), ``passed`` are inputs that a
                         task before it in this process makes, ``refused`` says why it cannot have
                         its requirements
owner, main   REPLY      number, success, value or error text
owner, main   STOP
owner, ctrl   RECALL     serials of tasks to give back unless they have been started
child, ctrl   RETURNED   serials of the tasks given back
child, main   READY      process id
child, main   DONE       serial, nanoseconds, data by result id, created results, child tasks
child, main   PART       serial, data, created results, child tasks: some of what the task's DONE
                         tells of, where that is much
child, main   FAILED     serial, nanoseconds, kind, error text
child, main   PAUSED     serial, nanoseconds, when the task goes on (CLOCK_MONOTONIC nanoseconds),
                         ``[item, attempts, when]`` of those that wait, data of what is finished
child, main   PARTIAL    serial, first item, the spool's entries (see ``armoflow.worker.mark``)
child, main   REQUEST    number, serial, method, argument
child, main   ABSENT     serial of a task that was not run: a passed input is not here
============  =========  =======================================================================

Data is bytes, or ``[path, size]`` for a file: an input to be mapped, or an output that was staged.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from enum import IntEnum
from typing import Any, Final

import msgpack

from armoflow.agent.effects import TEMPORARY, ChildTask, CreatedResult, Effects, StagedFile
from armoflow.codec.entry_count import EntryCount
from armoflow.config import LANE_ENTRIES, LANE_MESSAGE_LIMIT, MIB

WireData = bytes | list[Any]


class MessageKind(IntEnum):
    """The first element of a message."""

    RUN = 1
    REPLY = 2
    STOP = 3
    RECALL = 4
    RETURNED = 5
    READY = 6
    DONE = 7
    FAILED = 8
    PARTIAL = 9
    REQUEST = 10
    ABSENT = 11
    PAUSED = 12
    PART = 13


RUN = int(MessageKind.RUN)
REPLY = int(MessageKind.REPLY)
STOP = int(MessageKind.STOP)
RECALL = int(MessageKind.RECALL)
RETURNED = int(MessageKind.RETURNED)
READY = int(MessageKind.READY)
DONE = int(MessageKind.DONE)
FAILED = int(MessageKind.FAILED)
PARTIAL = int(MessageKind.PARTIAL)
REQUEST = int(MessageKind.REQUEST)
ABSENT = int(MessageKind.ABSENT)
PAUSED = int(MessageKind.PAUSED)
PART = int(MessageKind.PART)

PART_ENTRIES: Final = 500
"""Created results and child tasks in one message: who reads it does nothing else meanwhile."""

PART_BYTES: Final = MIB
"""Bytes of data in one such message, and what comes last."""


def packer() -> msgpack.Packer:
    """A packer, to be kept: it reuses its buffer."""
    return msgpack.Packer(use_bin_type=True, autoreset=True)


def unpacker(count: EntryCount | None = None) -> msgpack.Unpacker:
    """An unpacker to feed with what a socket gave, and to iterate for the complete messages.

    Args:
        count: Counts what they hold, to be told when each begins; None: they are believed.

    Example:
        >>> reader = unpacker()
        >>> message = packer().pack([STOP])
        >>> reader.feed(message + message[:1])
        >>> list(reader)
        [[3]]
    """
    return msgpack.Unpacker(
        raw=False,
        strict_map_key=False,
        max_buffer_size=LANE_MESSAGE_LIMIT,
        max_array_len=LANE_ENTRIES,
        max_map_len=LANE_ENTRIES,
        list_hook=count,
        object_hook=count,
    )


def encode_effects(effects: Effects) -> list[Any]:
    """The last elements of a DONE message; what most tasks have none of is left out.

    What is a tuple there, staged files and created results, is a list in a message.
    """
    if not (effects.created or effects.children):
        return [effects.data]
    return [
        effects.data,
        effects.created,
        [_encode_child(child) for child in effects.children],
    ]


def split_off_parts(effects: Effects) -> Iterator[list[Any]]:
    """The last elements of the PART messages of a task, and what its DONE need not tell any more.

    Nothing, if all of it goes into one message. Data comes with what is created with it, or with
    the first child task that names it.

    Example:
        >>> created = [CreatedResult(str(number), "") for number in range(700)]
        >>> effects = Effects(created, {"a": b"x"})
        >>> [len(created) for _, created, _ in split_off_parts(effects)], effects
        ([500, 200], Effects(created=[], data={'a': b'x'}, children=[]))
    """
    created, children = effects.created, effects.children
    if len(created) + len(children) <= PART_ENTRIES:
        return
    data = {**effects.data}
    effects.created, effects.children, effects.data = [], [], data
    part: list[Any] = [{}, [], []]
    size = 0
    for place, entries in ((1, created), (2, children)):
        for entry in entries:
            key = entry.id if isinstance(entry, CreatedResult) else entry.payload_id
            value = data.pop(key, None) if place == 1 or key.startswith(TEMPORARY) else None
            if value is not None:
                part[0][key] = value
                size += len(value) if isinstance(value, bytes) else 0
            part[place].append(entry if isinstance(entry, CreatedResult) else _encode_child(entry))
            if len(part[1]) + len(part[2]) >= PART_ENTRIES or size >= PART_BYTES:
                yield part
                part, size = [{}, [], []], 0
    if part[1] or part[2]:
        yield part


def _encode_child(child: ChildTask) -> list[Any]:
    return [child.payload_id, child.dependencies, child.outputs, child.options]


def decode_effects(
    data: Mapping[str, WireData], created: Iterable[Any] = (), children: Iterable[Any] = ()
) -> Effects:
    """What :func:`encode_effects` wrote.

    Example:
        >>> effects = Effects(data={"a": b"x", "b": StagedFile("/tmp/b", 5)})
        >>> decode_effects(*encode_effects(effects)) == effects
        True
    """
    return Effects(
        [CreatedResult(*entry) for entry in created],
        {
            result_id: value if isinstance(value, bytes) else StagedFile(*value)
            for result_id, value in data.items()
        },
        [ChildTask(*entry) for entry in children],
    )
