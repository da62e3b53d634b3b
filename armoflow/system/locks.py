"""Locks on files, which the kernel frees when their process ends, however it ends."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

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
