"""Memory as it was, for all who may write to what they are given: what is large is mapped anew."""

from __future__ import annotations

import mmap
import os
from collections import OrderedDict
from contextlib import suppress
from typing import Any

from armoflow import config
from armoflow.codec.container import Buffer

_LARGE = config.MIB  # so long a copy takes about as long as a map

_KEPT = 16
"""Pieces of large memory that a graph's calls have in common, for the next call."""


class Original:
    """Content that stays as it is.

    Args:
        content: What is to be kept.
    """

    __slots__ = ("_content", "_file")

    def __init__(self, content: Buffer) -> None:
        self._file = -1
        self._content = b""
        if len(content) >= _LARGE and hasattr(os, "memfd_create"):
            with suppress(OSError):  # too many files are open, or there is no room: it is copied
                self._file = _write_nameless(content)
        if self._file < 0:
            self._content = bytes(content)

    def copy(self) -> Buffer:
        """Memory with this content, which nobody else has."""
        if self._file < 0:
            return bytearray(self._content)
        return memoryview(mmap.mmap(self._file, 0, access=mmap.ACCESS_COPY))

    def __del__(self) -> None:
        if self._file >= 0:
            os.close(self._file)


class Originals:
    """The content of what the calls of one graph take: of large memory, kept once for many calls.

    It is what it was when the first of them took it.
    """

    def __init__(self) -> None:
        self._large: OrderedDict[tuple[int, int], tuple[Any, Original]] = OrderedDict()

    def of(self, buffer: memoryview) -> Original:
        """The content of a view of somebody's memory."""
        whole: Any = buffer.obj
        # A part of it is not told from another one as long.
        if buffer.nbytes < _LARGE or memoryview(whole).nbytes != buffer.nbytes:
            return Original(buffer)
        key = id(whole), buffer.nbytes
        known = self._large.get(key)
        if known is None:  # held, so that its id stays its own
            known = self._large[key] = whole, Original(buffer)
            if len(self._large) > _KEPT:
                self._large.popitem(last=False)
        return known[1]


def _write_nameless(content: Buffer) -> int:
    file = os.memfd_create("armoflow-data", os.MFD_CLOEXEC)
    try:
        with memoryview(content) as rest:
            written = 0
            while written < rest.nbytes:
                written += os.write(file, rest[written:])
    except BaseException:
        os.close(file)
        raise
    return file
