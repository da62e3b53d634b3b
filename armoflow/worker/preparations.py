"""The environments that the tasks of one owner need: each is made once, while other tasks run."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from armoflow import config
from armoflow.errors import RequirementsError
from armoflow.requirements import LABEL, from_label
from armoflow.system.locks import FileLock
from armoflow.worker.installer import Installer
from armoflow.worker.virtual_environments import (
    Shelf,
    VirtualEnvironment,
    builds,
    environments_root,
)

logger = logging.getLogger(__name__)


class Prepared(NamedTuple):
    """What came of requirements.

    Attributes:
        virtual_environment: What has them; None: nothing does, or there are none.
        refused: Why nothing does.
    """

    virtual_environment: VirtualEnvironment | None = None
    refused: str = ""


_NOTHING = Prepared()

_AT_ONCE = 4
"""Environments that are made at the same time; each may take minutes."""


class _Made(NamedTuple):
    """What came of requirements, and when.

    Attributes:
        prepared: What came of them.
        since: When it was known.
        builds: The files that they name, as they were before.
    """

    prepared: Prepared
    since: float
    builds: Mapping[Path, object]


def requirements_of(options: Mapping[str, str] | None) -> tuple[str, ...]:
    """What a task needs, by the options that it has for ArmoniK."""
    label = options.get(LABEL) if options else None
    return () if label is None else from_label(label)


class Preparations:
    """Makes environments, or finds them.

    Args:
        fallback: A directory of the owner's, for where there is no better place.
        installer: Installs into them.
    """

    def __init__(self, fallback: Path, installer: Installer | None = None) -> None:
        self._fallback = fallback
        self._installer = installer or Installer()
        self._known: dict[tuple[str, ...], _Made] = {}
        self._making: dict[tuple[str, ...], asyncio.Task[None]] = {}
        self._locks: list[FileLock] = []
        self._stop = threading.Event()
        # Threads of its own: those of the event loop are for what takes milliseconds.
        self._threads = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="armoflow-install")

    def lacks(self, requirements: tuple[str, ...]) -> bool:
        """Whether what has them is still to be made."""
        if not requirements:
            return False
        known = self._known.get(requirements)
        if known is None:
            return True
        virtual_environment = known.prepared.virtual_environment
        if virtual_environment is None:
            return time.monotonic() - known.since > config.INSTALL_AGAIN
        if not Path(virtual_environment.python).exists():  # somebody has removed it
            return True
        # What is there in another build; one that is gone was installed from.
        return not builds(requirements).items() <= known.builds.items()

    def found(self, requirements: tuple[str, ...]) -> Prepared:
        """What has them, once that was made."""
        return self._known[requirements].prepared if requirements else _NOTHING

    async def get(self, requirements: tuple[str, ...]) -> Prepared:
        """What has them; it is made for all who wait for it, and on if one waits no more."""
        if self.lacks(requirements):
            making = self._making.get(requirements)
            if making is None:
                making = asyncio.get_running_loop().create_task(self._make(requirements))
                self._making[requirements] = making
            await asyncio.shield(making)
        return self.found(requirements)

    async def _make(self, requirements: tuple[str, ...]) -> None:
        loop, before = asyncio.get_running_loop(), builds(requirements)
        try:
            found, lock = await loop.run_in_executor(self._threads, self._find, requirements)
        except RequirementsError as error:
            prepared = Prepared(refused=str(error))
        except Exception as error:  # whatever it is: nobody else would end the tasks that wait
            logger.exception("an environment with %s cannot be made", ", ".join(requirements))
            wanted = ", ".join(requirements)
            prepared = Prepared(refused=f"{wanted} cannot be installed: {error!r}")
        else:
            prepared = Prepared(found)
            self._locks.append(lock)
        self._known[requirements] = _Made(prepared, time.monotonic(), before)
        del self._making[requirements]

    def _find(self, requirements: tuple[str, ...]) -> tuple[VirtualEnvironment, FileLock]:
        if self._stop.is_set():
            raise RequirementsError("the worker is ending")
        shelf = Shelf(environments_root(self._fallback))
        return shelf.get(requirements, self._installer, self._stop)

    async def stop(self) -> None:
        """End what is being made; once no process runs in any of them."""
        self._stop.set()
        self._installer.stop()
        await asyncio.gather(*self._making.values(), return_exceptions=True)
        self._threads.shutdown(wait=False)
        for lock in self._locks:
            lock.close()
        self._locks.clear()
