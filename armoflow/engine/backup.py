"""Copies a state directory, whether an engine runs on it or not.

Copied file by file, a journal that is written meanwhile would be neither of before nor of after. So
it is copied by SQLite, as it is at one moment. Data in files comes before and after it: what the
engine deletes in between is looked for again.
"""

from __future__ import annotations

import itertools
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

from armoflow.engine import files
from armoflow.engine.checking import JOURNAL, Findings, check_state, open_to_read
from armoflow.errors import OptionError

_KEPT: Final = ("objects", "output", "web-token")
"""What is copied besides the journal: the rest is of one run."""

_TRIES: Final = 10


def back_up(state: Path, target: Path) -> Findings:
    """Copy a state directory; returns what is wrong with the copy.

    Args:
        state: The directory of an engine.
        target: Where to; it must be new, or empty.

    Raises:
        OptionError: If something is there, or it cannot be written.
        EngineError: If there is no state, or its journal cannot be read.
    """
    with open_to_read(state) as journal:
        try:
            if target.exists() and (not target.is_dir() or any(target.iterdir())):
                raise OptionError(f"--backup {target} is not empty: name a new directory")
            target.mkdir(mode=0o700, parents=True, exist_ok=True)
            return _copy(journal, state, target)
        except OSError as error:
            raise OptionError(
                f"--backup {target} cannot be written: {error.strerror} ({error.filename})"
            ) from error


def _copy(journal: sqlite3.Connection, state: Path, target: Path) -> Findings:
    for tries in itertools.count(1):
        _copy_files(state, target)
        _copy_journal(journal, target / JOURNAL)
        _copy_files(state, target)
        findings = check_state(target)
        if not findings.lost or tries == _TRIES:
            break
    return findings


def _copy_journal(journal: sqlite3.Connection, path: Path) -> None:
    path.unlink(missing_ok=True)
    files.create(path).close()
    with closing(sqlite3.connect(path)) as copy:
        journal.backup(copy)


def _copy_files(state: Path, target: Path) -> None:
    for source in _files(state):
        place = target / source.relative_to(state)
        # Data never changes; what else there is grows.
        if place.exists() and place.stat().st_size == _size(source):
            continue
        place.unlink(missing_ok=True)
        try:
            files.copy(source, place)
            shutil.copymode(source, place)
        except FileNotFoundError:  # deleted meanwhile
            place.unlink(missing_ok=True)


def _files(state: Path) -> Iterator[Path]:
    for name in _KEPT:
        if (state / name).is_file():
            yield state / name
        for directory, _, names in os.walk(state / name):
            yield from (Path(directory) / each for each in names)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return -1
