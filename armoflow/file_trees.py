"""Files and folders that travel, as they lie on a disk: listed, read, written where they arrive."""

from __future__ import annotations

import errno
import hashlib
import mmap
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeAlias

from armoflow.content import PIECE, view_pieces, write_new
from armoflow.errors import SerializationError

Entries: TypeAlias = list[tuple[tuple[str, ...], Any]]
_OUTSIDE: Final = frozenset("/\\\0")


def entries_of(root: Path) -> list[tuple[tuple[str, ...], Path]]:
    """What is in a folder, at any depth: folders before what is in them."""
    found: list[Path] = []
    _walk(root, found)
    for path in found:
        if not (path.is_file() or (path.is_dir() and not path.is_symlink())):
            raise SerializationError(
                f"{path} in {root} is neither a file nor a folder, nor a link to a file: take it "
                "out of the folder to send it"
            )
    return [(path.relative_to(root).parts, path) for path in found]


def _walk(folder: Path, found: list[Path]) -> None:
    """List what is in a folder; one that cannot be listed is an error, not an empty one."""
    for path in sorted(folder.iterdir()):
        found.append(path)
        if path.is_dir() and not path.is_symlink():
            _walk(path, found)


def digest_of(path: Path) -> bytes:
    """Of what a file holds, for a key."""
    hasher = hashlib.blake2b(digest_size=32)
    with path.open("rb") as opened:
        while piece := opened.read(PIECE):
            hasher.update(piece)
    return hasher.digest()


def mapped(path: Path) -> mmap.mmap:
    """What a file holds, for a pickle: not read as a whole."""
    try:
        with path.open("rb") as opened:
            return mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        if error.errno != errno.EMFILE:
            raise
        raise SerializationError(
            f"{path} cannot be sent: too many files are open at once (ulimit -n); return fewer "
            "large files from one task, or one archive of them"
        ) from error


def save_copy(path: Path, target: Path) -> None:
    """Copy what a file holds, and whether it may be run, to a file of the user's own."""
    import shutil  # few processes ever handle files

    shutil.copyfile(path, target)
    if path.stat().st_mode & stat.S_IXUSR:
        mode = target.stat().st_mode
        target.chmod(mode | (mode & 0o444) >> 2)  # by whom it may be read


def fill_folder(
    path: Path,
    entries: Entries,
    joined: Any,
    place: Callable[[Any, Path], object],
    *,
    own: bool = False,
) -> None:
    """Make a folder of what has arrived.

    Args:
        path: Where nothing is yet.
        entries: What is in it: the parts of a path, with None for a folder, size and kind of one of
            the small files, or a large file.
        joined: What all small files hold.
        place: Has a large file at a path.
        own: Its files are the user's: see :func:`armoflow.content.write_new`.

    Raises:
        SerializationError: If a name would lead elsewhere.
    """
    for parts, _ in entries:
        check_names(parts)
    path.mkdir()
    start = 0
    with memoryview(joined) as view:
        for parts, content in entries:
            new = path.joinpath(*parts)
            if content is None:
                new.mkdir()
            elif isinstance(content, tuple):
                size, executable = content
                pieces = view_pieces(view[start : start + size])
                write_new(str(new), pieces, executable=executable, own=own)
                start += size
            else:
                place(content, new)


def check_names(parts: tuple[str, ...]) -> None:
    """Refuse names that would lead elsewhere."""
    for part in parts:
        if part in ("", ".", "..") or not _OUTSIDE.isdisjoint(part):
            raise SerializationError(f"{'/'.join(parts)!r} is no name of a file that arrives")
