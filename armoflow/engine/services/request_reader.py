"""Requests of calls, read only where they hold no more than is taken.

A message of many small parts takes thirty times its bytes when it is read, and what is done with
each comes on top: a few megabytes would keep everybody waiting, and more end the engine.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from google.protobuf.message import DecodeError

from armoflow.config import CALL_LIMIT, CALL_PARTS, MIB, REQUEST_LIMIT
from armoflow.engine.records import StateError

CARRYING: Final = frozenset({"Results/CreateResults", "Agent/CreateResults"})
"""Calls whose messages carry data."""

_HARMLESS: Final = 1 * MIB
"""Bytes of a message whose parts need not be counted, whatever they are."""


def request_reader(name: str, deserialize: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    """What reads the requests of a call.

    Args:
        name: The call's.
        deserialize: Makes a message of bytes.
    """
    limit = REQUEST_LIMIT if name in CARRYING else CALL_LIMIT

    def read(data: bytes) -> Any:
        if len(data) > limit:
            raise StateError(
                "RESOURCE_EXHAUSTED",
                f"{name} takes messages of up to {limit:,} bytes, this one has {len(data):,}: "
                "say it in several calls",
            )
        if len(data) > _HARMLESS and has_more_parts(data, CALL_PARTS):
            raise StateError(
                "INVALID_ARGUMENT",
                f"{name} takes lists of up to {CALL_PARTS:,} entries: say it in several calls",
            )
        try:
            return deserialize(data)
        except DecodeError as error:
            raise StateError("UNKNOWN", f"{name}: no such message: {error}") from error

    return read


def has_more_parts(data: bytes, most: int) -> bool:
    r"""Whether a message has more fields than that, those of repeated fields each for itself.

    Example:
        >>> has_more_parts(b"\x0a\x01a\x10\x05", 2), has_more_parts(b"\x0a\x01a\x10\x05", 1)
        (False, True)
    """
    position, end = 0, len(data)
    try:
        for _ in range(most):
            if position >= end:
                return False
            tag = data[position]
            if tag & 0x87 == 2 and data[position + 1] < 0x80:  # as nearly all are
                position += 2 + data[position + 1]
                continue
            tag, position = _number(data, position)
            kind = tag & 7
            if kind == 2:
                length, position = _number(data, position)
                position += length
            elif kind == 0:
                _, position = _number(data, position)
            else:
                position += {1: 8, 5: 4}.get(kind, 0)
    except IndexError:  # it is cut off, as whoever reads it says
        return False
    return position < end


def _number(data: bytes, position: int) -> tuple[int, int]:
    """A number as Protocol Buffers write it, and where it ends."""
    byte = data[position]
    position += 1
    if byte < 0x80:
        return byte, position
    value, shift = byte & 0x7F, 7
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80 or shift > 63:
            return value, position
        shift += 7
