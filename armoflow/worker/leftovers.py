"""Task folders that a killed agent has left in the directory that it shared with its worker.

An agent makes a folder for each task and removes it in the end; one that is killed cannot. The
directory outlives the containers of a pod, and may be memory. What is older than the socket of the
agent that now calls belongs to an agent before it, for a socket has one owner at a time.
"""

from __future__ import annotations

import logging
import os
import shutil
import stat
import uuid
from pathlib import Path

logger = logging.getLogger(__name__)

_MARGIN = 1.0
"""Seconds that a folder must be older: clocks of files are coarse."""


def sweep_leftovers(folder: Path, agent: Path | None, worker: Path | None) -> None:
    """Remove what is certainly left over beside the folder of the present agent's task.

    Nothing is removed where other agents may be at work, or where the clock seems to have been set.

    Args:
        folder: The task's folder.
        agent: The agent's socket; None if it listens on TCP: then nobody can tell.
        worker: The worker's socket, if it has one.
    """
    shared = folder.parent
    if agent is None or agent.parent not in (shared, shared.parent):
        return
    try:
        made = agent.lstat().st_mtime
        if folder.lstat().st_mtime < made or _others(shared, {agent, worker}):
            return
        left = [
            path
            for path in shared.iterdir()
            if path.name != folder.name and _is_token(path.name) and _is_older(path, made)
        ]
    except OSError as error:
        logger.warning("cannot look for leftover folders in %s: %s", shared, error)
        return
    for path in left:
        shutil.rmtree(path, ignore_errors=True)
    if left:
        logger.info("removed %d task folders of an agent that was killed: %s", len(left), shared)


def _others(shared: Path, known: set[Path | None]) -> bool:
    """Whether sockets of others are there."""
    return any(
        (found := _look_at(path)) is not None and stat.S_ISSOCK(found.st_mode)
        for place in (shared, shared.parent)
        for path in place.iterdir()
        if path not in known
    )


def _look_at(path: Path) -> os.stat_result | None:
    """What is there; None: it has gone since it was listed, as others' files may at any moment."""
    try:
        return path.lstat()
    except FileNotFoundError:
        return None


def _is_token(name: str) -> bool:
    """Whether a folder's name is one that agents give: their token for the task."""
    try:
        return str(uuid.UUID(name)) == name
    except ValueError:
        return False


def _is_older(path: Path, made: float) -> bool:
    found = _look_at(path)
    return found is not None and stat.S_ISDIR(found.st_mode) and found.st_mtime < made - _MARGIN
