"""The state directory: this user's alone."""

from __future__ import annotations

import logging
import os
import stat
from pathlib import Path

from armoflow.errors import EngineError

logger = logging.getLogger(__name__)

REMEDY = "choose another one (armoflow up --state)"


def prepare_directory(directory: Path) -> None:
    """Make the state directory, or take the one that is there; a link is followed.

    Whoever may write to it could give the engine code to run, whoever may read it sees all data. So
    it belongs to this user, and nobody else gets into it: one that was open to others is closed.

    Raises:
        EngineError: If it is no directory, or another user's.
        OSError: If it cannot be made.
    """
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
    mode = stat.S_IMODE(found.st_mode)
    if mode & 0o077:
        directory.chmod(mode & 0o700)
        logger.warning(
            "the state directory %s was open to others (mode %04o): it is closed now (%04o)",
            directory,
            mode,
            mode & 0o700,
        )
