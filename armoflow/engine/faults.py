"""Faults of disk and memory, as the engine meets them: in SQLite and in its files."""

from __future__ import annotations

import os
import sqlite3
from typing import Final

from armoflow.engine.records import StateError
from armoflow.errors import EngineError
from armoflow.system import disk_faults

REMEDY: Final = (
    "start with the state elsewhere (armoflow up --state; TMPDIR for a private engine); what is "
    "under way goes on by itself then"
)

_PASSING: Final = (
    "database or disk is full",
    "disk i/o error",
    "database is locked",
    "database table is locked",
    "attempt to write a readonly database",
    "unable to open database file",
    "out of memory",
)
"""SQLite's words: Python 3.10 does not tell its codes."""


class StorageError(StateError):
    """Something cannot be stored: a fault of disk or memory; nothing was changed.

    Args:
        error: What it was.
        path: The file or directory that met it.

    Attributes:
        passing: The same may succeed later.
    """

    def __init__(self, error: BaseException, path: str | os.PathLike[str]) -> None:
        self.passing = passes(error)
        code = "RESOURCE_EXHAUSTED" if self.passing else "INTERNAL"
        super().__init__(code, disk_faults.describe(error, path, REMEDY if self.passing else ""))


def unusable(path: str | os.PathLike[str], error: BaseException) -> EngineError:
    """The error for a state directory that cannot be written when an engine starts."""
    place = getattr(error, "filename", None) or path
    remedy = "start with the state elsewhere (armoflow up --state; TMPDIR for a private engine)"
    return EngineError(disk_faults.describe(error, place, remedy), "RESOURCE_EXHAUSTED")


def passes(error: BaseException) -> bool:
    """Whether the same may succeed later.

    Example:
        >>> passes(sqlite3.OperationalError("database or disk is full"))
        True
        >>> passes(sqlite3.DatabaseError("database disk image is malformed"))
        False
    """
    if isinstance(error, sqlite3.OperationalError):
        text = str(error).lower()
        return any(known in text for known in _PASSING)
    return disk_faults.passes(error)
