"""Where a worker keeps its files in a container that offers little, and what its tasks find there.

A pod may run as a user without name and home, on a root that cannot be written to.
"""

from __future__ import annotations

import logging
import os
import pwd
from collections.abc import Mapping
from pathlib import Path

from armoflow.errors import EngineError
from armoflow.system import temporary
from armoflow.system.temporary import TemporaryDirectory

logger = logging.getLogger(__name__)


def own_directory(socket: Path | None) -> TemporaryDirectory:
    """A new directory where temporary files go; else beside the worker's socket.

    Args:
        socket: The worker's socket, which it must be able to make.

    Raises:
        EngineError: If there is no place for it.
    """
    try:
        return TemporaryDirectory()
    except EngineError as error:
        if socket is None:
            raise
        logger.warning("temporary files go to %s: %s", socket.parent, error)
        socket.parent.mkdir(parents=True, exist_ok=True)
        temporary.sweep(str(socket.parent))
        return TemporaryDirectory(socket.parent)


def habitable(environment: Mapping[str, str], directory: Path) -> dict[str, str]:
    """Variables with which programs find a place for their files, and a name for their user.

    Args:
        environment: The variables so far.
        directory: Where they are sent that have no other place.

    Example:
        >>> habitable({"HOME": "/home/me", "TMPDIR": "/tmp"}, Path("/cache/x"))
        {'HOME': '/home/me', 'TMPDIR': '/tmp'}
    """
    variables = dict(environment)
    try:
        temporary.temporary_root()
    except EngineError:
        variables["TMPDIR"] = str(directory)
    if not _has_name():
        variables.setdefault("LOGNAME", str(os.getuid()))
        # A container's own may be the root directory, which is nobody's to write to.
        if not os.access(variables.get("HOME") or "", os.W_OK):
            variables["HOME"] = str(directory)
    return variables


def _has_name() -> bool:
    try:
        pwd.getpwuid(os.getuid())
    except KeyError:
        return False
    return True
