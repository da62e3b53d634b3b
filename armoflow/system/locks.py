"""Locks on files, which the kernel frees when their process ends, however it ends."""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType

from armoflow.errors import EngineError


def try_lock(descriptor: int, directory: Path) -> bool:
    """Lock an open file for this process alone; False if another has it.

    Args:
        descriptor: The file.
        directory: Where it is, to be named.

    Raises:
        EngineError: If the file system has no locks.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise _without_locks(directory) from error
    return True


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Have a file's lock meanwhile, which nobody keeps for long; the file is made if missing.

    Raises:
        EngineError: If the file system has no locks, or some that keep nobody out.
        OSError: If the file cannot be opened.
    """
    descriptors = [os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)]
    try:
        try:
            fcntl.flock(descriptors[0], fcntl.LOCK_EX)
        except OSError as error:
            raise _without_locks(path.parent) from error
        descriptors.append(os.open(path, os.O_RDWR | os.O_CLOEXEC))
        if try_lock(descriptors[1], path.parent):
            raise _without_locks(path.parent)
        yield
    finally:
        for descriptor in descriptors:
            with suppress(OSError):
                os.close(descriptor)


def _without_locks(directory: Path) -> EngineError:
    return EngineError(
        f"the file system of {directory} has no locks, without which two engines could write there "
        "at once: choose a directory on a disk of this machine",
        "FAILED_PRECONDITION",
    )


_ASKED_AGAIN = 0.05
"""Seconds between two looks at a lock that another process holds: nobody tells when it goes."""


class Interrupted(OSError):
    """Nobody waits for the lock any more."""


class FileLock:
    """A lock of a file, which is made if it is not there; free again when it is closed.

    Who has it for himself may remove the file: who waited for it has a new one then, as who comes
    later.

    Args:
        path: The file.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as directory:
        ...     path = Path(directory, "lock")
        ...     with FileLock(path) as one, FileLock(path) as two:
        ...         one.try_acquire(), two.try_acquire()
        (True, False)
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = self._open()

    def fileno(self) -> int:
        """Its descriptor: a process that inherits it holds the lock too."""
        return self._file

    def try_acquire(self, *, shared: bool = False) -> bool:
        """Take it, if that can be done at once; ``shared``: beside others who share it."""
        kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        while True:
            try:
                fcntl.flock(self._file, kind | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            if self._is_there():
                return True
            self.close()
            self._file = self._open()

    def acquire(self, stop: threading.Event, *, shared: bool = False) -> None:
        """Wait for it.

        Raises:
            Interrupted: If ``stop`` is set before.
        """
        while not self.try_acquire(shared=shared):
            if stop.wait(_ASKED_AGAIN):
                raise Interrupted(f"nobody waits for {self._path} any more")

    def remove(self) -> None:
        """Remove the file, of which this has the lock for itself."""
        self._path.unlink(missing_ok=True)

    def close(self) -> None:
        """Let it go."""
        os.close(self._file)

    def _open(self) -> int:
        return os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def _is_there(self) -> bool:
        """Whether the file that is open is the one that others find."""
        try:
            return os.path.samestat(os.fstat(self._file), self._path.stat())
        except FileNotFoundError:
            return False

    def __enter__(self) -> FileLock:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
