"""The pickle of a call's arguments, put together from its parts.

Most calls have a few numbers, short texts and references. Pickling these asks a hook written in
Python about every object, which takes several times as long as all the rest; here the parts are
pickled once each, and joined by the opcodes of a tuple.
"""

from __future__ import annotations

import functools
import pickle
from collections.abc import Sequence
from typing import Any

from armoflow.codec.pickler import PROTOCOL

_START = pickle.PROTO + bytes([PROTOCOL])
_FRAME_BYTES = 9
_TUPLES = (pickle.EMPTY_TUPLE, pickle.TUPLE1, pickle.TUPLE2, pickle.TUPLE3)
_END = pickle.EMPTY_DICT + pickle.TUPLE2 + pickle.STOP  # no keyword arguments

FEW = 24
"""Arguments that a call may have here: with more, their texts might be the same ones again."""


def join_call(parts: Sequence[bytes]) -> bytes:
    """The pickle of the positional arguments of a call, and of no keyword arguments.

    Args:
        parts: Of each argument, what :func:`part` or :func:`reference` gave; at most ``FEW``.

    Example:
        >>> pickle.loads(join_call([part(1), part("two")]))
        ((1, 'two'), {})
        >>> pickle.loads(join_call([part(number) for number in range(5)]))
        ((0, 1, 2, 3, 4), {})
    """
    if len(parts) < len(_TUPLES):
        return b"".join((_START, *parts, _TUPLES[len(parts)], _END))
    return b"".join((_START, pickle.MARK, *parts, pickle.TUPLE, _END))


def part(value: Any) -> bytes:
    """The opcodes that make an atom: one that refers to nothing, and holds nothing."""
    data = pickle.dumps(value, PROTOCOL)
    start = len(_START)
    if data.startswith(pickle.FRAME, start):
        start += _FRAME_BYTES
    return data[start:-1]


@functools.lru_cache(8192)
def reference(stands_for: tuple[Any, ...]) -> bytes:
    """The opcodes of what the reader has to look up."""
    return part(stands_for) + pickle.BINPERSID
