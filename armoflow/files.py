"""Files as arguments and values: those that count by what they hold, and those that travel."""

from __future__ import annotations

import os
import pickle
import stat
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from armoflow import config
from armoflow.content import FileContent, FileSignature, view_pieces, write_new
from armoflow.errors import DataLostError, shown
from armoflow.file_trees import (
    Entries,
    check_names,
    digest_of,
    entries_of,
    fill_folder,
    mapped,
    save_copy,
)
from armoflow.system.arrivals import arrivals


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
        return digest_of(Path(self.path))

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
    found = _located(path, "file")
    if not found.is_file():
        remedy = ", but a folder: write armoflow.folder(...)" if found.is_dir() else ""
        if found.exists() and not remedy:
            remedy = ", but a pipe, socket or device: write what it gives to a file first"
        told = os.fspath(path)
        raise FileNotFoundError(f"armoflow.file({told!r}): there is no file {found}{remedy}")
    if not os.access(found, os.R_OK):
        told = os.fspath(path)
        raise PermissionError(f"armoflow.file({told!r}): {found} may not be read by this user")
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
    found = _located(path, "folder")
    if not found.is_dir():
        told = os.fspath(path)
        remedy = ", but a file: write armoflow.file(...)" if found.is_file() else ""
        raise NotADirectoryError(f"armoflow.folder({told!r}): there is no folder {found}{remedy}")
    if not found.name:
        raise NotADirectoryError(f"armoflow.folder({os.fspath(path)!r}): {found} is too much")
    return FolderCopy(found)


def _located(path: str | os.PathLike[str], kind: str) -> Path:
    """The whole path, that ends with a name."""
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"armoflow.{kind}() takes a path, not {type(path).__name__} {shown(path)}")
    if not os.fspath(path):
        error = FileNotFoundError if kind == "file" else NotADirectoryError
        raise error(f"armoflow.{kind}() takes a path, and {path!r} is empty")
    found = Path(path).absolute()
    return found.resolve() if found.name in ("", "..") else found


class _HeldPath(type(Path())):  # type: ignore[misc]
    """A path to a copy that is there as long as somebody refers to it; what is made of it is plain.

    Attributes:
        owner: The copy.
    """

    owner: _Copy

    def with_segments(self, *segments: str | os.PathLike[str]) -> Path:
        """Other paths that are made of it, from Python 3.12 on."""
        return Path(*segments)

    def __reduce__(self) -> Any:
        return Path, (str(self),)


class _Copy(os.PathLike[str]):
    """What travels by what it holds."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def path(self) -> Path:
        """Where it is in this process; what is there stays as long as this path is held."""
        held = _HeldPath(self._path)
        held.owner = self
        return held

    @property
    def name(self) -> str:
        """The last part of its path, which is the same wherever it is."""
        return self._path.name

    def __fspath__(self) -> str:
        return str(self._path)

    def __str__(self) -> str:
        return str(self._path)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self._path)!r})"

    def _stat(self) -> os.stat_result:
        try:
            return self._path.stat()
        except FileNotFoundError:
            raise FileNotFoundError(
                f"{self} is gone: it must stay until the tasks that take it have begun"
            ) from None

    def __deepcopy__(self, _memo: object) -> _Copy:
        return self

    if not TYPE_CHECKING:  # a type checker finds these by itself

        def __getattr__(self, name: str) -> NoReturn:
            known = hasattr(Path, name) and not name.startswith("_")
            remedy = f": write .path.{name}, of the path where it is in this process"
            kind = type(self).__name__
            raise AttributeError(f"a {kind} has no attribute {name!r}{remedy if known else ''}")

        def __truediv__(self, other: object) -> NoReturn:
            raise TypeError(f"{self!r} is no Path itself: write .path / {other!r}")


class FileCopy(_Copy):
    """A file that travels with what it holds: what :func:`file` returns, and what arrives."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._content: FileContent | None = None
        self._origin: tuple[str, bytes, FileSignature] | None = None

    @property
    def origin(self) -> tuple[str, bytes] | None:
        """The result that it came from, and its digest; None: from none, or it has changed."""
        if self._origin is None or FileSignature.of(str(self)) != self._origin[2]:
            return None
        return self._origin[:2]

    def came_from(self, result_id: str, digest: bytes) -> None:
        """Remember where it came from: who passes it on need not send it."""
        self._origin = result_id, digest, FileSignature.of(str(self))

    @property
    def nbytes(self) -> int:
        """How many bytes it holds."""
        return self._stat().st_size

    @property
    def executable(self) -> bool:
        """Whether its owner may run it."""
        return bool(self._stat().st_mode & stat.S_IXUSR)

    def content(self) -> FileContent:
        """What it holds now."""
        if self._content is None or not self._content.is_current():
            self._content = FileContent(str(self))
        return self._content

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
        save_copy(self._path, target)
        return target

    def __armoflow_key__(self) -> tuple[str, bytes]:
        return self.name, digest_of(self._path)

    def __reduce_ex__(self, _protocol: Any) -> Any:
        if self.nbytes < config.OUT_OF_BAND_LIMIT:
            return _file_arrives, (self.name, self._path.read_bytes(), self.executable)
        content = self.content()
        data = pickle.PickleBuffer(mapped(self._path))
        return _file_arrives, (self.name, data, self.executable, content.digest)


class FolderCopy(_Copy):
    """A folder that travels with what is in it: what :func:`folder` returns, and what arrives."""

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Copy what is in it into a folder, which must not be there yet.

        Returns:
            The path of the new folder.
        """
        target = Path(path)
        target.mkdir(parents=True)
        for parts, found in entries_of(self._path):
            to = target.joinpath(*parts)
            if found.is_dir():
                to.mkdir()
            else:
                save_copy(found, to)
        return target

    def __armoflow_key__(self) -> tuple[str, list[Any]]:
        entries = entries_of(self._path)
        return self.name, [(part, None if at.is_dir() else digest_of(at)) for part, at in entries]

    def __reduce_ex__(self, _protocol: Any) -> Any:
        # Large files are files of their own, so that each is sent once; all others go together.
        told: list[tuple[tuple[str, ...], Any]] = []
        small: list[bytes] = []
        for parts, at in entries_of(self._path):
            if at.is_dir():
                told.append((parts, None))
            elif (found := FileCopy(at)).nbytes >= config.SHARED_BUFFER_LIMIT:
                told.append((parts, found))
            else:
                small.append(at.read_bytes())
                told.append((parts, (len(small[-1]), found.executable)))
        joined: Any = b"".join(small)
        if len(joined) >= config.OUT_OF_BAND_LIMIT:
            joined = pickle.PickleBuffer(joined)
        return _folder_arrives, (self.name, told, joined)


def _file_arrives(
    name: str, content: Any, executable: bool = False, digest: bytes | None = None
) -> FileCopy:
    """Called by pickles."""

    def write(path: str) -> None:
        found = write_new(path, view_pieces(content), executable=executable)
        if digest not in (None, found):
            raise DataLostError(
                f"file {name!r} has arrived with other content than it was sent with: its "
                f"SHA-256 is {found.hex()}, not {digest.hex()}"
            )

    return receive_file(name, write)


def receive_file(name: str, write: Callable[[str], object]) -> FileCopy:
    """A file that arrives: a copy of its own, removed when nobody refers to it any more.

    Args:
        name: What it is called.
        write: Writes it, to a path where nothing is yet.

    Raises:
        SerializationError: If the name would lead elsewhere.
    """
    check_names((name,))
    arrived = FileCopy(_place() / name)
    _remove_after(arrived)
    write(str(arrived))
    return arrived


def _folder_arrives(name: str, entries: Entries, joined: Any = b"") -> FolderCopy:
    """Called by pickles."""
    check_names((name,))
    arrived = FolderCopy(_place() / name)
    _remove_after(arrived)
    fill_folder(arrived._path, entries, joined, os.link)
    return arrived


def _place() -> Path:
    import tempfile

    return Path(tempfile.mkdtemp(prefix="file-", dir=arrivals()))


def _remove_after(arrived: _Copy) -> None:
    """Remove it when nobody refers to it any more, at the end of the process at the latest."""
    import shutil

    weakref.finalize(arrived, shutil.rmtree, arrived._path.parent, ignore_errors=True)
