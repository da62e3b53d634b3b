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

from collections.abc import Iterable, Mapping
from enum import IntEnum
from typing import Any

import msgpack

from armoflow.agent.effects import ChildTask, CreatedResult, Effects, StagedFile
from armoflow.config import LANE_ENTRIES, LANE_MESSAGE_LIMIT

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


def packer() -> msgpack.Packer:
    """A packer, to be kept: it reuses its buffer."""
    return msgpack.Packer(use_bin_type=True, autoreset=True)


def unpacker() -> msgpack.Unpacker:
    """An unpacker to feed with what a socket gave, and to iterate for the complete messages.

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
        [
            [child.payload_id, child.dependencies, child.outputs, child.options]
            for child in effects.children
        ],
    ]


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
