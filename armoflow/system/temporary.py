"""Temporary directories that go with the processes that use them.

Each holds a file that is locked for as long as one of its processes lives: the kernel frees the
lock however they end. Whoever gets the lock of a directory may remove it, so what a power cut or a
killed process has left behind is swept away by the next start, and nothing else ever is.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from armoflow.errors import EngineError
from armoflow.texts import is_text

PREFIX = "armoflow-"
SOCKET_PATH_LIMIT = 100
"""Bytes that the path of a Unix socket may have, on the strictest of the platforms."""

_LOCK = "owner.lock"
_VARIABLES = ("TMPDIR", "TEMP", "TMP")
_MAKING_SECONDS = 60.0
"""Age from which an empty directory without a lock is no longer being made, or being removed."""

_held: set[int] = set()
"""Locks that are this process's own: a forked one lets go of them."""


class TemporaryDirectory:
    """A new directory, locked; the lock is shared with the processes that inherit it.

    Args:
        base: Where; None: where temporary files go.

    Raises:
        EngineError: If there is no place for it.

    Attributes:
        path: The directory.
        lock: Descriptor of its lock.
    """

    def __init__(self, base: Path | None = None) -> None:
        self.path, self.lock = _make(base or temporary_root())
        _held.add(self.lock)

    def remove(self) -> None:
        """Remove it with all that is in it."""
        _remove_locked(self.path)
        self.release()

    def release(self) -> None:
        """Leave it to the processes that have inherited its lock."""
        _held.discard(self.lock)
        os.close(self.lock)


def socket_directory(near: Path, longest: str) -> TemporaryDirectory | None:
    """A directory for sockets, where their paths would be too long in another one.

    Args:
        near: The other directory.
        longest: The longest name of a socket in it.

    Raises:
        EngineError: If there is no place for it.
    """
    if fits(near, longest):
        return None
    for base in _short_places():
        if base and fits(Path(base) / f"{PREFIX}12345678", longest):
            with suppress(EngineError):
                return TemporaryDirectory(Path(base))
    raise EngineError(
        f"there is no place for a Unix socket: paths in {near} are longer than "
        f"{SOCKET_PATH_LIMIT} bytes, and neither XDG_RUNTIME_DIR nor /tmp can be written to. Set "
        "TMPDIR to a directory with a short name"
    )


def temporary_root() -> Path:
    """Where temporary files go.

    Raises:
        EngineError: If what a variable names cannot be used; tells which.
    """
    for variable in _VARIABLES:
        value = os.environ.get(variable)
        if value:
            if not (os.path.isdir(value) and os.access(value, os.W_OK | os.X_OK)):  # noqa: PTH112
                raise EngineError(
                    f"temporary files cannot be kept in {value!r}, which the variable {variable} "
                    "names: it is no directory that can be written to. Make it, or set the "
                    "variable to another one"
                )
            if not is_text(value):
                raise EngineError(
                    f"temporary files cannot be kept in {value!r}, which the variable {variable} "
                    "names: armoflow writes paths in UTF-8, and this one is none. Set the variable "
                    "to another directory"
                )
            break
    try:
        return Path(tempfile.gettempdir())
    except FileNotFoundError as error:
        raise EngineError(
            f"there is no directory for temporary files: set the variable TMPDIR ({error})"
        ) from error


def sweep(*places: str) -> None:
    """Remove the directories of this user whose processes are gone.

    Args:
        places: Where to look besides.
    """
    named = {os.environ.get(variable) for variable in _VARIABLES}
    for root in {*named, *_short_places(), *places}:
        if root:
            _sweep(root)


def _short_places() -> list[str]:
    """Where temporary files may go besides, with short names, the best first."""
    return [os.environ.get("XDG_RUNTIME_DIR", ""), "/tmp", "/var/tmp"]


def _sweep(root: str) -> None:
    with suppress(OSError), os.scandir(root) as entries:
        for entry in entries:
            if entry.name.startswith(PREFIX) and entry.is_dir(follow_symlinks=False):
                with suppress(OSError):  # it went meanwhile
                    if entry.stat(follow_symlinks=False).st_uid == os.geteuid():
                        _remove_if_left(Path(entry.path))


def remove_when_free(path: Path) -> None:
    """Wait until no process has a directory any more, then remove it."""
    with suppress(FileNotFoundError):
        lock = os.open(path / _LOCK, os.O_RDWR | os.O_NOFOLLOW)
        fcntl.flock(lock, fcntl.LOCK_EX)
        if _is_lock_of(lock, path):
            _remove_locked(path)


def _make(base: Path) -> tuple[Path, int]:
    while True:
        try:
            path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=base))
        except OSError as error:
            raise EngineError(
                f"no directory can be made in {base}: {error.strerror}. Set the variable TMPDIR to "
                "a directory with room"
            ) from error
        lock = _make_lock(path)
        if lock is not None:
            return path, lock


def _make_lock(path: Path) -> int | None:
    """Make the lock of a new directory, and have it; None: somebody sweeps the directory away.

    Raises:
        EngineError: If there can be none; the directory is gone then.
    """
    try:
        lock = os.open(path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _without_lock(path, "no file can be made", error) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if _is_lock_of(lock, path):
            return lock
    except BlockingIOError:
        pass
    except OSError as error:
        os.close(lock)
        raise _without_lock(path, "files cannot be locked", error) from error
    os.close(lock)
    return None


def _without_lock(path: Path, what: str, error: OSError) -> EngineError:
    with suppress(OSError):  # swept later
        (path / _LOCK).unlink(missing_ok=True)
        path.rmdir()
    return EngineError(
        f"{what} in {path.parent}: {error.strerror}. Set the variable TMPDIR to a directory with "
        "room, on a disk of this machine"
    )


def _remove_if_left(path: Path) -> None:
    try:
        lock = os.open(path / _LOCK, os.O_RDWR | os.O_NOFOLLOW)
    except FileNotFoundError:
        if time.time() - path.stat().st_mtime > _MAKING_SECONDS:
            path.rmdir()  # only if it is empty
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if _is_lock_of(lock, path):
            _remove_locked(path)
    finally:
        os.close(lock)


def _remove_locked(path: Path) -> None:
    """Remove a directory, its lock last: what is left of an interrupted removal is swept later.

    So is what somebody still wrote into it meanwhile.
    """
    for name in _names(path):
        inner = path / name
        if inner.is_dir() and not inner.is_symlink():
            shutil.rmtree(inner, ignore_errors=True)
        else:
            with suppress(OSError):
                inner.unlink()
    if _names(path):
        return
    with suppress(OSError):
        (path / _LOCK).unlink()
        path.rmdir()


def _names(path: Path) -> list[str]:
    try:
        return [name for name in os.listdir(path) if name != _LOCK]  # noqa: PTH208
    except OSError:
        return []


def _is_lock_of(lock: int, path: Path) -> bool:
    """Whether a lock is the one that is in a directory now."""
    try:
        return os.path.samestat(os.fstat(lock), (path / _LOCK).lstat())
    except FileNotFoundError:
        return False


def fits(directory: Path, name: str) -> bool:
    """Whether the path of a socket of that name is short enough there."""
    return len(os.fsencode(directory / name)) < SOCKET_PATH_LIMIT


def _let_go() -> None:
    for lock in _held:
        os.close(lock)
    _held.clear()


os.register_at_fork(after_in_child=_let_go)
