"""Room on the disk that new work leaves free, and that its journal is still there.

What deletes data is written, too, before the data goes: on a disk that is full nothing could be
deleted any more. So new work is refused a while before. A journal whose directory was removed, or
moved away, can be written all the same, and nobody would find what is in it after the next start.
"""

from __future__ import annotations

import errno
import logging
import os
import time
from pathlib import Path
from typing import Final

from armoflow.config import MIB
from armoflow.engine.faults import StorageError
from armoflow.engine.records import StateError

logger = logging.getLogger(__name__)

SHARE: Final = 16
"""Of a small disk, one byte of so many is left free."""

LOOKS: Final = 0.1
"""Seconds for which enough room is believed to last."""


class Room:
    """Looks whether there is enough.

    Args:
        directory: On the disk.
        least: Bytes that are left free, where the disk is not a small one; 0: nothing is looked at.
        journal: A file that must stay where it is.
    """

    def __init__(self, directory: Path, least: int, journal: Path | None = None) -> None:
        self._directory = directory
        self._journal = journal
        self._inode = None if journal is None else journal.stat().st_ino
        self._least = least
        self._until = 0.0 if least else float("inf")
        self._told = False

    def lack(self) -> StateError | None:
        """Why new work is refused; None if there is room for it."""
        now = time.monotonic()
        if now < self._until:
            return None
        fault = self._is_lost() or self._is_full()
        if fault is None:
            self._until = now + LOOKS
        if (fault is not None) is not self._told:
            self._told = fault is not None
            if fault is None:
                logger.warning("there is room again: new work is taken")
            else:
                logger.error("%s", fault)
        return fault

    def _is_lost(self) -> StateError | None:
        if self._journal is None:
            return None
        try:
            there = self._journal.stat().st_ino == self._inode
        except (FileNotFoundError, NotADirectoryError):
            there = False
        except OSError:  # not to be looked at now
            there = True
        if there:
            return None
        return StateError(
            "FAILED_PRECONDITION",
            f"new work is refused, for {self._journal} was removed, moved or replaced while the "
            "engine runs: after its end nobody would find what it writes. Move the directory back, "
            "or stop the engine and start it where its state is (armoflow up --state)",
        )

    def _is_full(self) -> StateError | None:
        least, free = self._look()
        if free >= least:
            return None
        return StorageError(
            OSError(
                errno.ENOSPC,
                f"new work is refused while less than {least / MIB:,.1f} MiB are free, which it "
                "may take to end and delete (`armoflow purge`) what is there",
            ),
            self._directory,
        )

    def _look(self) -> tuple[int, int]:
        """Bytes that should be free, and that are; a disk that does not tell has enough."""
        try:
            found = os.statvfs(self._directory)
        except OSError:
            return 0, 0
        unit = found.f_frsize
        return min(self._least, found.f_blocks * unit // SHARE), found.f_bavail * unit
