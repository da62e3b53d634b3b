"""Reading and writing stored data in files: mapped in, written straight from its buffers."""

from __future__ import annotations

import mmap
import os
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import TypeAlias

from armoflow.agent.effects import StagedFile
from armoflow.codec.container import Buffer
from armoflow.protocol.shared_files import write_parts
from armoflow.worker.failures import UnreadableDataError

Source: TypeAlias = "bytes | Sequence[object]"
"""Data in a message: bytes, or path and size of a file."""

_SMALL_FILE = 1024 * 1024  # not worth an open file descriptor


def read(source: Source) -> Buffer:
    """The data; a file is mapped copy-on-write, so that whoever gets views may write to them.

    Raises:
        UnreadableDataError: If the file cannot be read.
    """
    if isinstance(source, bytes):
        return source
    path = str(source[0])
    try:
        fd = os.open(path, os.O_RDONLY)
    except OSError as error:
        raise UnreadableDataError(f"cannot read {path}: {error.strerror}") from error
    try:
        return map_file(fd)
    finally:
        os.close(fd)


def map_file(fd: int) -> Buffer:
    """A private, writable map of a whole file; its pages live as long as a view of it does."""
    if os.fstat(fd).st_size == 0:
        return b""
    return memoryview(mmap.mmap(fd, 0, access=mmap.ACCESS_COPY))


def write(path: str, parts: Sequence[Buffer]) -> StagedFile:
    """Write the parts one after the other, without joining them.

    The owner is told of the file only when it is complete.
    """
    return StagedFile(path, write_parts(path, parts))


class FetchedData:
    """Data that tasks name without depending on it, kept between tasks: least recent goes first.

    Args:
        fetch: Asks the agent for the data of a result.
        limit: Bytes to keep.
    """

    def __init__(self, fetch: Callable[[str], Source], limit: int) -> None:
        self._fetch = fetch
        self._limit = limit
        self._size = 0
        self._kept: OrderedDict[str, bytes | _OpenFile] = OrderedDict()

    def read(self, result_id: str) -> Buffer:
        """The data of a result; a file is mapped anew each time."""
        kept = self._kept.get(result_id)
        if kept is None:
            source = self._fetch(result_id)
            kept = source if isinstance(source, bytes) else _keepable(str(source[0]))
            self._keep(result_id, kept)
        else:
            self._kept.move_to_end(result_id)
        return kept if isinstance(kept, bytes) else kept.map()

    def _keep(self, result_id: str, kept: bytes | _OpenFile) -> None:
        self._kept[result_id] = kept
        self._size += len(kept)
        while self._size > self._limit and len(self._kept) > 1:
            _, oldest = self._kept.popitem(last=False)
            self._size -= len(oldest)


def _keepable(path: str) -> bytes | _OpenFile:
    """A file's content, or the file itself: the agent removes what was fetched for a task."""
    file = _OpenFile(path)
    return file if len(file) > _SMALL_FILE else bytes(file.map())


class _OpenFile:
    """A file held open, whether it still has a name or not."""

    def __init__(self, path: str) -> None:
        try:
            self._fd = os.open(path, os.O_RDONLY)
        except OSError as error:
            raise UnreadableDataError(f"cannot read {path}: {error.strerror}") from error
        self._size = os.fstat(self._fd).st_size

    def __len__(self) -> int:
        return self._size

    def __del__(self) -> None:
        if hasattr(self, "_fd"):
            os.close(self._fd)

    def map(self) -> Buffer:
        return map_file(self._fd)
