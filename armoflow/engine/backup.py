"""Copies a state directory, whether an engine runs on it or not.

Copied file by file, a journal that is written meanwhile would be neither of before nor of after. So
it is copied by SQLite, as it is at one moment. Then comes the data in files, all that the copied
journal names among them: the engine removes none of it until all is copied.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

from armoflow.engine import data_files
from armoflow.engine.checking import Findings, check_state, open_to_read
from armoflow.engine.directory import JOURNAL
from armoflow.engine.faults import passes
from armoflow.engine.holding import OBJECTS, held
from armoflow.errors import OptionError
from armoflow.system.disk_faults import describe

_KEPT: Final = (OBJECTS, "output", "web-token")
"""What is copied besides the journal: the rest is of one run."""


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
        if target.resolve().is_relative_to(state.resolve()):
            raise OptionError(
                f"--backup {target} is in the directory that is copied: name one elsewhere"
            )
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
    part = target / f"{JOURNAL}.part"
    try:
        with held(state / OBJECTS):
            _copy_journal(journal, part)
            _copy_files(state, target)
        part.rename(target / JOURNAL)  # last: without it nobody takes a part for a state
    except BaseException:
        for place in target.iterdir():
            if place.is_dir():
                shutil.rmtree(place, ignore_errors=True)
            else:
                place.unlink(missing_ok=True)
        raise
    return check_state(target)


def _copy_journal(journal: sqlite3.Connection, path: Path) -> None:
    data_files.create(path).close()
    with closing(sqlite3.connect(path)) as copy:
        try:
            journal.backup(copy)
        except sqlite3.OperationalError as error:
            if not passes(error):
                raise
            text = describe(error, path, "name a directory on another disk")
            raise OptionError(f"--backup: {text}") from error


def _copy_files(state: Path, target: Path) -> None:
    for source in _files(state):
        place = target / source.relative_to(state)
        try:
            data_files.copy(source, place)
            shutil.copymode(source, place)
        except FileNotFoundError:  # a session's output, deleted meanwhile
            place.unlink(missing_ok=True)


def _files(state: Path) -> Iterator[Path]:
    for name in _KEPT:
        if (state / name).is_file():
            yield state / name
        for directory, _, names in os.walk(state / name):
            yield from (Path(directory) / each for each in names)
