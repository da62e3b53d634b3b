"""One engine per state directory."""

from __future__ import annotations

import os
from pathlib import Path

from armoflow.errors import EngineError
from armoflow.system.locks import try_lock


class DirectoryLock:
    """A lock that the kernel frees when the process ends, however it ends.

    Raises:
        EngineError: If another process holds it; names the directory and the process. Also if the
            file system has no locks.
    """

    def __init__(self, directory: Path) -> None:
        self._descriptor = os.open(directory / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            if not try_lock(self._descriptor, directory):
                holder = os.read(self._descriptor, 32).decode("ascii", "replace").strip()
                raise EngineError(
                    f"the state directory {directory} is in use by another engine "
                    f"(process {holder or 'unknown'}); stop it, or use another directory",
                    "FAILED_PRECONDITION",
                )
        except BaseException:
            os.close(self._descriptor)
            raise
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Free the directory."""
        os.ftruncate(self._descriptor, 0)
        os.close(self._descriptor)
