"""Files of data stay while a copy is made of them.

A journal as it is at one moment names files that the engine may delete at the next. Whoever copies,
or checks, holds the directory of the files meanwhile, with a lock that the kernel frees when its
process ends; what the engine deletes then it removes afterwards.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final

from armoflow.engine.data_files import unlink

OBJECTS: Final = "objects"
"""The directory in a state directory that large data is in."""


@contextmanager
def held(directory: Path) -> Iterator[None]:
    """Nothing is removed from a directory meanwhile."""
    with ExitStack() as stack:
        with suppress(OSError):  # not there, or on a file system without such locks
            stack.enter_context(_locked(directory, fcntl.LOCK_SH))
        yield


def remove(directory: Path, paths: Sequence[Path]) -> list[Path]:
    """Remove files of a directory; returns those that must be tried again, all while it is held."""
    if not paths:
        return []
    try:
        with _locked(directory, fcntl.LOCK_EX | fcntl.LOCK_NB):
            return unlink(paths)
    except BlockingIOError:
        return list(paths)
    except OSError:  # as above
        return unlink(paths)


@contextmanager
def _locked(directory: Path, how: int) -> Iterator[None]:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, how)
        try:
            yield
        finally:
            # By name: a process that was forked meanwhile has the descriptor, too.
            fcntl.flock(descriptor, fcntl.LOCK_UN)
    finally:
        os.close(descriptor)
