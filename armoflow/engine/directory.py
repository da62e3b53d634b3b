"""The state directory: this user's alone."""

from __future__ import annotations

import logging
import os
import shlex
import stat
from pathlib import Path
from typing import Final

from armoflow.errors import EngineError
from armoflow.texts import is_text

logger = logging.getLogger(__name__)

REMEDY = "choose another one (armoflow up --state)"

JOURNAL: Final = "journal.db"

CLEARED: Final = ("objects", "staging", "agents", "output")
"""Directories in which an engine removes, at its start, what its journal does not name."""


MADE: Final = 2
"""Folders that are made where there is none: of a path with a typo more are missing."""

OWN: Final = ("lock", "starting", "engine.log", "engine.sock", "clients.sock", "cache.sqlite")
"""Files that an engine, its clients and their cache have there."""


def prepare_directory(directory: Path) -> None:
    """Make the state directory, or take the one that is there; a link is followed.

    The folder that it is in is made, too, but none above.

    Whoever may write to it could give the engine code to run, whoever may read it sees all data. So
    it belongs to this user, and nobody else gets into it: one that was open to others is closed.

    Raises:
        EngineError: If it is no directory, another user's, or has files that an engine would
            remove; if what it is in is not there, or its path is no UTF-8.
        OSError: If it cannot be made.
    """
    if not is_text(str(directory)):
        raise EngineError(
            f"the state directory {str(directory)!r} cannot be told to clients and workers, for "
            f"its path is no UTF-8: {REMEDY}",
            "FAILED_PRECONDITION",
        )
    missing = [place for place in (directory, *directory.parents) if not place.exists()]
    if len(missing) > MADE:
        raise EngineError(
            f"the state directory {directory} is not made, for {missing[-1]} is not there either: "
            f"make that (mkdir -p {shlex.quote(str(directory.parent))}) if it is no typo, or "
            f"{REMEDY}",
            "FAILED_PRECONDITION",
        )
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise EngineError(
            f"the state directory {directory} is no directory ({error.filename} is in the way): "
            f"{REMEDY}",
            "FAILED_PRECONDITION",
        ) from error
    found = directory.stat()
    if found.st_uid != os.geteuid():
        raise EngineError(
            f"the state directory {directory} belongs to another user (uid {found.st_uid}, this is "
            f"{os.geteuid()}), who could change what runs here: {REMEDY}, or have it given to you "
            f"(chown -R {os.geteuid()} {directory})",
            "PERMISSION_DENIED",
        )
    check_contents(directory)
    mode = stat.S_IMODE(found.st_mode)
    if mode & 0o077:
        _check_foreign(directory, mode)
        directory.chmod(mode & 0o700)
        logger.warning(
            "the state directory %s was open to others (mode %04o): it is closed now (%04o)",
            directory,
            mode,
            mode & 0o700,
        )


def check_contents(directory: Path) -> None:
    """Refuse files that an engine would take for remains of its own, and remove.

    They are somebody else's, such as the ``objects`` of a project in whose directory an engine is
    started by mistake; or all that is left of a state whose journal is lost.

    Raises:
        EngineError: If there are some, and no journal that knows them.
    """
    journal = directory / JOURNAL
    if any(_size(place) for place in (journal, journal.with_name(f"{JOURNAL}-wal"))):
        return
    for name in CLEARED:
        place = directory / name
        if place.is_dir() and any(place.iterdir()):
            raise EngineError(
                f"the state directory {directory} has no journal ({JOURNAL}), but files in "
                f"{place}, which an engine would remove as none of its own: {REMEDY}; or, if they "
                "are a state's, put its journal beside them, from a copy",
                "FAILED_PRECONDITION",
            )


def _check_foreign(directory: Path, mode: int) -> None:
    """Refuse to close a directory in which others, too, have something to do, such as ``/etc``.

    Raises:
        EngineError: If it holds what is none of an engine's, and no journal.
    """
    if _size(directory / JOURNAL):
        return
    own = {*CLEARED, *OWN, JOURNAL}
    foreign = sorted(
        path.name for path in directory.iterdir() if path.name.split("-")[0] not in own
    )
    if foreign:
        raise EngineError(
            f"the state directory {directory} is open to others (mode {mode:04o}), as a state must "
            f"not be, and holds other files ({foreign[0]}): {REMEDY}, such as "
            f"{directory / 'state'}",
            "FAILED_PRECONDITION",
        )


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
