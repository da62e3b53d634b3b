"""Files as arguments and values: those that count by what they hold, and those that travel."""

from __future__ import annotations

import hashlib
import mmap
import os
import pickle
import shutil
import tempfile
import weakref
from pathlib import Path
from typing import Any, Final

from armoflow import config
from armoflow.errors import SerializationError

_PIECE: Final = config.MIB
_OUTSIDE: Final = frozenset("/\\\0")


class File(os.PathLike[str]):
    """The path of a file that a cached task knows by its content, not by its name.

    It can be given to ``open`` and to whatever else takes a path. What travels is the path: workers
    must reach the file under it. :func:`file` sends what it holds.

    Example:
        >>> import tempfile
        >>> with tempfile.NamedTemporaryFile() as one, tempfile.NamedTemporaryFile() as other:
        ...     File(one.name).__armoflow_key__() == File(other.name).__armoflow_key__()
        True
    """

    __slots__ = ("path",)

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)

    def __fspath__(self) -> str:
        return self.path

    def __armoflow_key__(self) -> bytes:
        """A digest of what the file holds now."""
        return _digest(Path(self.path))

    def __eq__(self, other: object) -> bool:
        return self.path == other.path if isinstance(other, File) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.path)

    def __repr__(self) -> str:
        return f"File({self.path!r})"


def file(path: str | os.PathLike[str]) -> FileCopy:
    """A file as an argument or a value that travels with what it holds.

    Where it arrives it is a path: a read-only copy, removed when nobody refers to it any more.

    Args:
        path: Of a file that is there, and stays as it is until it has travelled.

    Returns:
        What to give to a task, or to return from one.

    Raises:
        FileNotFoundError: If there is no file of this path.

    Example:
        >>> import armoflow, tempfile
        >>> @armoflow.task
        ... def count(path):
        ...     with open(path) as lines:
        ...         return sum(1 for _ in lines)
        >>> with tempfile.NamedTemporaryFile("w") as table, armoflow.Client(workers=1) as client:
        ...     print("one", "two", sep=chr(10), file=table, flush=True)
        ...     client.compute(count(armoflow.file(table.name)))
        2
    """
    if isinstance(path, FileCopy):
        return path
    found = Path(path).absolute()
    if not found.is_file():
        remedy = ", but a folder: write armoflow.folder(...)" if found.is_dir() else ""
        told = os.fspath(path)
        raise FileNotFoundError(f"armoflow.file({told!r}): there is no file {found}{remedy}")
    return FileCopy(found)


def folder(path: str | os.PathLike[str]) -> FolderCopy:
    """A folder as an argument or a value that travels with all that is in it; see :func:`file`.

    A link to a file travels as that file, wherever it is; one to a folder is refused, as is what is
    neither file nor folder.

    Args:
        path: Of a folder that is there, and stays as it is until it has travelled.

    Returns:
        What to give to a task, or to return from one.

    Raises:
        NotADirectoryError: If there is no folder of this path.
    """
    if isinstance(path, FolderCopy):
        return path
    found = Path(path).absolute()
    if not found.is_dir():
        told = os.fspath(path)
        remedy = ", but a file: write armoflow.file(...)" if found.is_file() else ""
        raise NotADirectoryError(f"armoflow.folder({told!r}): there is no folder {found}{remedy}")
    return FolderCopy(found)


class _Copy(os.PathLike[str]):
    """What travels by what it holds.

    Attributes:
        path: Where it is in this process.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def name(self) -> str:
        """The last part of its path, which is the same wherever it is."""
        return self.path.name

    def __fspath__(self) -> str:
        return str(self.path)

    def __str__(self) -> str:
        return str(self.path)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.path)!r})"

    def __deepcopy__(self, _memo: object) -> _Copy:
        return self


class FileCopy(_Copy):
    """A file that travels with what it holds: what :func:`file` returns, and what arrives."""

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Copy it to a path, piece by piece; what is there is replaced.

        Args:
            path: Of the file to write, or of a folder that is there: it gets the file's name.

        Returns:
            The path of the new file.
        """
        target = Path(path)
        if target.is_dir():
            target /= self.name
        return Path(shutil.copyfile(self.path, target))

    def __armoflow_key__(self) -> tuple[str, bytes]:
        return self.name, _digest(self.path)

    def __reduce_ex__(self, _protocol: Any) -> Any:
        return _file_arrives, (self.name, _content(self.path))


class FolderCopy(_Copy):
    """A folder that travels with what is in it: what :func:`folder` returns, and what arrives."""

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Copy what is in it into a folder, which must not be there yet.

        Returns:
            The path of the new folder.
        """
        target = Path(path)
        target.mkdir(parents=True)
        for parts, found in _entries(self.path):
            to = target.joinpath(*parts)
            if found.is_dir():
                to.mkdir()
            else:
                shutil.copyfile(found, to)
        return target

    def __armoflow_key__(self) -> tuple[str, list[Any]]:
        entries = _entries(self.path)
        return self.name, [(part, None if at.is_dir() else _digest(at)) for part, at in entries]

    def __reduce_ex__(self, _protocol: Any) -> Any:
        entries = _entries(self.path)
        told = [(part, None if at.is_dir() else _content(at)) for part, at in entries]
        return _folder_arrives, (self.name, told)


def _entries(root: Path) -> list[tuple[tuple[str, ...], Path]]:
    """What is in a folder, at any depth: folders before what is in them."""
    found = sorted(root.rglob("*"))
    for path in found:
        if not (path.is_file() or (path.is_dir() and not path.is_symlink())):
            raise SerializationError(
                f"{path} in {root} is neither a file nor a folder, nor a link to a file: take it "
                "out of the folder to send it"
            )
    return [(path.relative_to(root).parts, path) for path in found]


def _digest(path: Path) -> bytes:
    """Of what a file holds."""
    hasher = hashlib.blake2b(digest_size=32)
    with path.open("rb") as opened:
        while piece := opened.read(_PIECE):
            hasher.update(piece)
    return hasher.digest()


def _content(path: Path) -> Any:
    """What a file holds, for a pickle: what is large is mapped, not read as a whole."""
    with path.open("rb") as opened:
        if os.fstat(opened.fileno()).st_size < config.OUT_OF_BAND_LIMIT:
            return opened.read()
        return pickle.PickleBuffer(mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ))


def _file_arrives(name: str, content: Any) -> FileCopy:
    """Called by pickles."""
    _check((name,))
    arrived = FileCopy(_place() / name)
    _remove_after(arrived)
    _write(arrived.path, content)
    return arrived


def _folder_arrives(name: str, entries: list[tuple[tuple[str, ...], Any]]) -> FolderCopy:
    """Called by pickles."""
    for parts in ((name,), *(parts for parts, _ in entries)):
        _check(parts)
    arrived = FolderCopy(_place() / name)
    _remove_after(arrived)
    arrived.path.mkdir()
    for parts, content in entries:
        path = arrived.path.joinpath(*parts)
        if content is None:
            path.mkdir()
        else:
            _write(path, content)
    return arrived


def _check(parts: tuple[str, ...]) -> None:
    """Refuse names that would lead elsewhere."""
    for part in parts:
        if part in ("", ".", "..") or not _OUTSIDE.isdisjoint(part):
            raise SerializationError(f"{'/'.join(parts)!r} is no name of a file that arrives")


def _place() -> Path:
    return Path(tempfile.mkdtemp(prefix="armoflow-file-"))


def _write(path: Path, content: Any) -> None:
    with memoryview(content) as view, path.open("xb") as opened:
        for start in range(0, view.nbytes, _PIECE):
            opened.write(view[start : start + _PIECE])
    path.chmod(0o400)


def _remove_after(arrived: _Copy) -> None:
    """Remove it when nobody refers to it any more, at the end of the process at the latest."""
    weakref.finalize(arrived, shutil.rmtree, arrived.path.parent, ignore_errors=True)
