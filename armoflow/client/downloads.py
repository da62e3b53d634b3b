"""Values on their way to a file of the user's: what is large is never in memory as a whole."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from armoflow import files
from armoflow.codec.payload import Pickled
from armoflow.codec.pickling import Unpickler
from armoflow.content import view_pieces, write_new
from armoflow.errors import DataLostError, OptionError, SerializationError, shown
from armoflow.file_trees import Entries, fill_folder
from armoflow.files import FileCopy, FolderCopy


class DownloadTarget(NamedTuple):
    """Where a value is to be written.

    Attributes:
        path: The path.
        is_folder: It ends with a slash: what is there is a folder, or becomes one.
    """

    path: Path
    is_folder: bool

    @property
    def folder(self) -> Path:
        """Where a file is written to, if no folder has this path."""
        return self.path if self.is_folder else self.path.parent


def check_target(path: object) -> DownloadTarget:
    """What a path says.

    Raises:
        OptionError: If it is none.

    Example:
        >>> check_target("out/table.csv")
        DownloadTarget(path=PosixPath('out/table.csv'), is_folder=False)
    """
    text = os.fspath(path) if isinstance(path, (str, os.PathLike)) else None
    if not isinstance(text, str) or not text or "\0" in text:
        raise OptionError(
            "path must be the name of a file to write, or of a folder that is there, not "
            f"{shown(path)}" + ('; "." is where this process is' if text == "" else "")
        )
    return DownloadTarget(Path(text), text.endswith("/"))


def save(value: Any, to: DownloadTarget, name: str) -> Path:
    """Write a value to a path, whole or not at all.

    Args:
        value: What is here: see :meth:`armoflow.client.future.Future.download`.
        to: Where to; a file goes into a folder that is there.
        name: What errors call the value.

    Returns:
        The path of what was written.

    Raises:
        SerializationError: If the value is not of a kind that has a form as a file.
        OSError: If the path cannot be written to.
    """
    target = to.path
    if isinstance(value, (FolderCopy, _ArrivingFolder)):
        if target.exists():
            raise FileExistsError(f"{target} is there already: name a folder that is to be made")
        _check_folder(target.parent, target)
        with _beside(target) as new:
            value.save(new)
        return target
    if isinstance(value, str):
        value = value.encode()
    if isinstance(value, (bytes, bytearray, memoryview)):
        if target.is_dir():
            raise IsADirectoryError(f"{target} is a folder, and {name} has no name of its own")
        _check_folder(to.folder, target)
        with _beside(target) as new:
            write_new(str(new), view_pieces(value), executable=False, own=True)
        return target
    if not isinstance(value, (FileCopy, _ArrivingFile)):
        raise SerializationError(
            f"{name} is of type {type(value).__name__}, which has no form as a file: download() "
            "writes files and folders that a task returns, bytes and text; for anything else let "
            "the task write a file, and return armoflow.file(path)"
        )
    if target.is_dir():
        target /= value.name
    else:
        _check_folder(to.folder, target)
    with _beside(target) as new:
        value.save(new)
    return target


def _check_folder(folder: Path, target: Path) -> None:
    """Refuse a target whose folder is not there."""
    if not folder.is_dir():
        kind = NotADirectoryError if folder.exists() else FileNotFoundError
        found = "is no folder" if folder.exists() else "is not there"
        raise kind(f"{target} cannot be written: the folder {folder} {found}; make it first")


@contextmanager
def _beside(target: Path) -> Iterator[Path]:
    """A path for what becomes the target at the end of the block, or is removed."""
    new = target.with_name(f".{target.name[:200]}.{secrets.token_hex(4)}.part")
    try:
        yield new
        new.replace(target)
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        new.unlink(missing_ok=True)
        raise


def read(pickled: Pickled) -> Any:
    """A value, but that files in it are not written yet, and large bytes are views."""
    return _DownloadUnpickler(pickled.data, pickled.buffers, None).load()


class _ArrivingFile:
    """A file that has arrived, and is nowhere yet."""

    def __init__(
        self, name: str, content: Any, executable: bool = False, digest: bytes | None = None
    ) -> None:
        self.name = name
        self._content = content
        self._executable = executable
        self._digest = digest

    def save(self, path: Path) -> None:
        """Write it.

        Raises:
            DataLostError: If it is not what was sent.
        """
        pieces = view_pieces(self._content)
        found = write_new(str(path), pieces, executable=self._executable, own=True)
        if self._digest not in (None, found):
            raise DataLostError(f"file {self.name!r} has arrived with other content than was sent")


class _ArrivingFolder:
    """The same of a folder."""

    def __init__(self, name: str, entries: Entries, joined: Any = b"") -> None:
        self.name = name
        self._entries = entries
        self._joined = joined

    def save(self, path: Path) -> None:
        """Write it, and all that is in it."""
        fill_folder(path, self._entries, self._joined, lambda found, new: found.save(new), own=True)


_ARRIVING = {
    (files.__name__, files._file_arrives.__name__): _ArrivingFile,
    (files.__name__, files._folder_arrives.__name__): _ArrivingFolder,
}


class _DownloadUnpickler(Unpickler):
    def make_large(self, kind: type, content: Any) -> Any:
        return content

    def find_class(self, module: str, name: str) -> Any:
        return _ARRIVING.get((module, name)) or super().find_class(module, name)
