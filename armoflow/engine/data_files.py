"""Files of the engine's data: made for this user alone, copied, made durable, removed."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import IO

from armoflow.config import MIB
from armoflow.errors import EngineError
from armoflow.protocol.shared_files import open_private
from armoflow.system.disk_faults import FULL, passes

logger = logging.getLogger(__name__)


def create(path: Path) -> IO[bytes]:
    """A new file for this user alone; its directory is made again should somebody have swept it."""
    try:
        return open(path, "xb", 0, opener=open_private)
    except FileNotFoundError:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return open(path, "xb", 0, opener=open_private)


def copy(source: Path, target: str | Path) -> None:
    """Copy a file; file systems that can share the blocks of both, until one is written to, do."""
    with source.open("rb", 0) as reading, create(Path(target)) as writing:
        left = os.fstat(reading.fileno()).st_size
        try:
            while left > 0 and (
                copied := os.copy_file_range(reading.fileno(), writing.fileno(), left)
            ):
                left -= copied
        except (OSError, AttributeError) as error:  # not between these two, or not on this system
            if getattr(error, "errno", None) in FULL:
                raise
            reading.seek(0)
            writing.seek(0)
            shutil.copyfileobj(reading, writing, MIB)


def move(source: str | Path, target: str | Path) -> None:
    """Rename a file; the directory that it goes to is made if it is missing."""
    try:
        os.rename(source, target)  # noqa: PTH104 - no Path is made of a str on this hot path
    except FileNotFoundError:
        Path(target).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.rename(source, target)  # noqa: PTH104


def write_all(file: IO[bytes], data: bytes | bytearray) -> None:
    """Write all, however little the system takes at once."""
    with memoryview(data) as view:
        written = 0
        while written < len(view):
            written += file.write(view[written:])


def unlink(paths: Iterable[Path]) -> list[Path]:
    """Remove files; returns those that cannot be removed now: they are tried with the next."""
    return [path for path in paths if not _unlink(path)]


def _unlink(path: Path) -> bool:
    """Remove a file; False if another try may do it."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        if passes(error):
            return False
        logger.warning("data that was deleted stays where it is: %s", error)
    return True


def synchronize(paths: Iterable[Path]) -> None:
    """Have files, and their names, on the disk.

    Raises:
        EngineError: If what was written may be lost.
    """
    paths = list(paths)
    for path in [*paths, *{path.parent for path in paths}]:
        if path.exists():  # a file may be deleted again before it was named
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            except OSError as error:
                # What was not written may be dropped from memory: another try would say nothing.
                raise EngineError(f"the data of {path} may be lost: {error}") from error
            finally:
                os.close(descriptor)
