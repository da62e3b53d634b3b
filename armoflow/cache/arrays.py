"""numpy's arrays, scalars and types; numpy is here already where there is one of them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

from armoflow.cache.walk import DIGEST_SIZE, Parts, RuleResult, text_digest

_PIECE = 16 * 1024 * 1024
"""Bytes that are copied at once of an array that is not laid out in C's order."""


def rule_of(kind: type) -> Callable[[Any], RuleResult] | None:
    """The rule for a type, if it is one of numpy's that has one."""
    import numpy

    if kind in (numpy.ndarray, numpy.memmap):
        return array_parts
    if issubclass(kind, numpy.generic):
        return lambda value: Parts("scalar", [numpy.asarray(value)])
    if issubclass(kind, numpy.dtype):
        return _dtype
    plain = numpy.ndarray.__reduce__
    if issubclass(kind, numpy.ndarray) and kind.__reduce__ is plain:
        return _subclass
    return None


def _subclass(array: Any) -> RuleResult:
    import numpy

    return Parts("subclass", [type(array), array.view(numpy.ndarray), vars(array)])


def array_parts(array: Any) -> RuleResult:
    """An array: its type, its shape and its elements, however they lie in memory."""
    dtype = array.dtype
    head = [dtype, array.shape]
    if dtype.names is not None:  # field by field: what lies between them is not data
        fields = [array[name] for name in dtype.names]
        return Parts("record array", [*head, *fields], lambda at: f"[{dtype.names[at - 2]!r}]")
    if dtype.hasobject:
        return Parts("object array", [*head, Parts("elements", array.ravel().tolist(), _at)])
    if dtype.char in "gG":  # there are unused bytes in each
        array = array.astype(str)
    return Parts("array", [*head, _data_digest(array)])


def _at(index: int) -> str:
    return f", element {index}"


def _dtype(dtype: Any) -> RuleResult:
    if dtype.subdtype is not None:
        return Parts("subarray dtype", list(dtype.subdtype))
    if dtype.names is None:
        return text_digest("dtype", dtype.str, dtype.name)
    fields = [dtype.fields[name][0] for name in dtype.names]
    return Parts("record dtype", [dtype.names, *fields])


def _data_digest(array: Any) -> bytes:
    """The digest of the elements, in C's order."""
    import numpy

    hasher = hashlib.blake2b(digest_size=DIGEST_SIZE)
    if array.size and array.itemsize:
        rows = [array]
        if not array.flags.c_contiguous:
            count = max(1, _PIECE * len(array) // array.nbytes)
            rows = [array[first : first + count] for first in range(0, len(array), count)]
        for piece in rows:
            hasher.update(numpy.ascontiguousarray(piece).reshape(-1).view(numpy.uint8).data)
    return hasher.digest()
