"""Reading and writing stored data in files: mapped in, written straight from its buffers."""

from __future__ import annotations

import mmap
import os
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

from armoflow.agent.effects import StagedFile
from armoflow.codec.container import Buffer
from armoflow.content import DataPart, copy_new, digest_of, digest_of_pieces, read_pieces, write_new
from armoflow.errors import DataLostError
from armoflow.protocol.shared_files import open_plain, remove_file, write_parts
from armoflow.worker.failures import UnreadableDataError

DataSource: TypeAlias = "bytes | Sequence[object]"
"""Data in a message: bytes, or path and size of a file."""

_SMALL_FILE = 1024 * 1024  # not worth an open file descriptor


def read(source: DataSource) -> Buffer:
    """The data; a file is mapped copy-on-write, so that whoever gets views may write to them.

    Raises:
        UnreadableDataError: If the file cannot be read.
    """
    if isinstance(source, bytes):
        return source
    path = str(source[0])
    try:
        fd = open_plain(path)
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


def write(path: str, parts: Sequence[DataPart]) -> StagedFile:
    """Write the parts one after the other, without joining them.

    The owner is told of the file only when it is complete.
    """
    return StagedFile(path, write_parts(path, parts))


def write_own(path: str, parts: Sequence[DataPart]) -> StagedFile:
    """The same in this process's own directory, made again should somebody have swept it."""
    try:
        return write(path, parts)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)  # noqa: PTH103, PTH120
        return write(path, parts)


class FetchedData:
    """Data that tasks name without depending on it, kept between tasks: least recent goes first.

    Args:
        fetch: Asks the agent for the data of a result.
        limit: Bytes to keep.
    """

    def __init__(self, fetch: Callable[[str], DataSource], limit: int) -> None:
        self._fetch = fetch
        self._limit = limit
        self._size = 0
        self._kept: OrderedDict[str, _Bytes | _OpenFile] = OrderedDict()
        self._leaving: _Bytes | _OpenFile | None = None

    @property
    def holds_more(self) -> bool:
        """Whether there is something to let go of."""
        return self._leaving is not None

    def let_go(self) -> None:
        """Let go of what made room last: there is time for it.

        The file may have no name any more, and its pages, which the kernel frees then, take as long
        as a task does: 10 ms for 256 MB.
        """
        self._leaving = None

    def read(self, result_id: str, digest: bytes | None = None) -> Buffer:
        """The data of a result; a file is mapped anew each time.

        Args:
            result_id: The result.
            digest: What the data must be, where that is known.

        Raises:
            DataLostError: If it is not, and is not either when it is fetched again.
        """
        kept = self._find(result_id)
        if digest not in (None, kept.digest) and digest != kept.digest_now():
            kept = self._find_again(result_id)
            if kept.digest_now() != digest:
                raise _corrupt(result_id, digest, kept.digest)
        return kept.map()

    def write_file(
        self, result_id: str, digest: bytes, path: str, *, executable: bool = False
    ) -> None:
        """Write the data of a result to a new file, piece by piece.

        Raises:
            DataLostError: If it is not what it must be, and is not either when it is fetched again.
        """
        kept = self._find(result_id)
        if kept.digest == digest and isinstance(kept, _OpenFile):  # it was looked at before
            kept.copy(path, executable=executable)
            return
        kept.digest = write_new(path, kept.pieces(), executable=executable)
        if kept.digest != digest:
            remove_file(path)
            kept = self._find_again(result_id)
            kept.digest = write_new(path, kept.pieces(), executable=executable)
        if kept.digest != digest:
            remove_file(path)
            raise _corrupt(result_id, digest, kept.digest)

    def _find(self, result_id: str) -> _Bytes | _OpenFile:
        kept = self._kept.get(result_id)
        if kept is None:
            source = self._fetch(result_id)
            kept = _Bytes(source) if isinstance(source, bytes) else _keepable(str(source[0]))
            self._keep(result_id, kept)
        else:
            self._kept.move_to_end(result_id)
        return kept

    def _find_again(self, result_id: str) -> _Bytes | _OpenFile:
        self._size -= len(self._kept.pop(result_id))
        return self._find(result_id)

    def _keep(self, result_id: str, kept: _Bytes | _OpenFile) -> None:
        self._kept[result_id] = kept
        self._size += len(kept)
        while self._size > self._limit and len(self._kept) > 1:
            _, self._leaving = self._kept.popitem(last=False)
            self._size -= len(self._leaving)


def _corrupt(result_id: str, digest: bytes, found: bytes | None) -> DataLostError:
    told = "" if found is None else f" ({found.hex()})"
    return DataLostError(
        f"what the engine has handed over of result {result_id} is not what was sent: its SHA-256"
        f"{told} is not {digest.hex()}, and neither was it when it was fetched again"
    )


def _keepable(path: str) -> _Bytes | _OpenFile:
    """A file's content, or the file itself: the agent removes what was fetched for a task."""
    file = _OpenFile(path)
    return file if len(file) > _SMALL_FILE else _Bytes(bytes(file.map()))


class _Bytes:
    """Data in memory.

    Attributes:
        digest: Of it, once it was asked for.
    """

    def __init__(self, content: bytes) -> None:
        self.digest: bytes | None = None
        self._content = content

    def __len__(self) -> int:
        return len(self._content)

    def map(self) -> Buffer:
        return self._content

    def pieces(self) -> Iterable[bytes]:
        return (self._content,)

    def digest_now(self) -> bytes:
        self.digest = digest_of(self._content)
        return self.digest


class _OpenFile:
    """A file held open, whether it still has a name or not; otherwise as above."""

    def __init__(self, path: str) -> None:
        self.digest: bytes | None = None
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

    def pieces(self) -> Iterable[bytes]:
        return read_pieces(self._fd)

    def copy(self, path: str, *, executable: bool) -> None:
        copy_new(self._fd, path, executable=executable)

    def digest_now(self) -> bytes:
        self.digest = digest_of_pieces(self.pieces())
        return self.digest
