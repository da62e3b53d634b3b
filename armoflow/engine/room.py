"""Room on the disk that new work leaves free.

What deletes data is written, too, before the data goes: on a disk that is full nothing could be
deleted any more. So new work is refused a while before.
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

logger = logging.getLogger(__name__)

SHARE: Final = 16
"""Of a small disk, one byte of so many is left free."""

LOOKS: Final = 0.1
"""Seconds for which enough room is believed to last."""


class Room:
    """Looks whether there is enough.

    Args:
        directory: On the disk.
        least: Bytes that are left free, where the disk is not a small one; 0: none.
    """

    def __init__(self, directory: Path, least: int) -> None:
        self._directory = directory
        self._least = least
        self._until = 0.0 if least else float("inf")
        self._told = False

    def lack(self) -> StorageError | None:
        """Why new work is refused; None if there is room for it."""
        now = time.monotonic()
        if now < self._until:
            return None
        least, free = self._look()
        if free >= least:
            self._until = now + LOOKS
            if self._told:
                self._told = False
                logger.warning("there is room again: new work is taken")
            return None
        fault = StorageError(
            OSError(
                errno.ENOSPC,
                f"new work is refused while less than {least / MIB:,.1f} MiB are free, which it "
                "may take to end and delete (`armoflow purge`) what is there",
            ),
            self._directory,
        )
        if not self._told:
            self._told = True
            logger.error("%s", fault)
        return fault

    def _look(self) -> tuple[int, int]:
        """Bytes that should be free, and that are; a disk that does not tell has enough."""
        try:
            found = os.statvfs(self._directory)
        except OSError:
            return 0, 0
        unit = found.f_frsize
        return min(self._least, found.f_blocks * unit // SHARE), found.f_bavail * unit
