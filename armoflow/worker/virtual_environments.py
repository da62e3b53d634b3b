"""Virtual environments with what tasks need to have installed, kept on the worker's disk.

Each is made once, under a lock, where the processes of all workers of a machine and user find it,
and is never changed. It is of this worker's interpreter; what is installed where the worker runs is
seen from it, behind its own packages: armoflow, and what it needs, among them.

An environment is made where it stays, since the programs in it name that place, and is one only
when a file says so that is written last: what a killed installer has left is made anew.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
import sys
import sysconfig
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from armoflow import config
from armoflow.errors import EngineError, RequirementsError
from armoflow.system.interpreter import ROOT
from armoflow.system.locks import FileLock
from armoflow.system.temporary import temporary_root
from armoflow.worker.installer import Installer

logger = logging.getLogger(__name__)

VARIABLE = "ARMOFLOW_ENVIRONMENTS"
"""Names the directory that they are kept in."""

_MARKER = "armoflow-environment.json"
_LINK = "armoflow_worker.pth"
_MAKING, _USING = ".making", ".using"
_NAME = re.compile("[0-9a-f]{24}")
_FILE = re.compile(r"(?:^|@\s*)(file:\S+)")
_SITES = ("site-packages", "dist-packages")
_BUILD_FACTS = threading.Lock()


class VirtualEnvironment(NamedTuple):
    """One that can be used.

    Attributes:
        directory: Where it is.
        requirements: What was asked for.
    """

    directory: str
    requirements: tuple[str, ...]

    @property
    def python(self) -> str:
        """Its interpreter."""
        return f"{self.directory}/bin/python"

    def variables(self, environment: Mapping[str, str]) -> dict[str, str]:
        """Those of its processes: their programs are found first."""
        path = environment.get("PATH", os.defpath)
        named = {"VIRTUAL_ENV": self.directory, "PATH": f"{self.directory}/bin:{path}"}
        return {**environment, **named}


class KeptEnvironment(NamedTuple):
    """One on the disk.

    Attributes:
        directory: Where it is.
        requirements: What was asked for.
        python: The version of its Python.
        size: Bytes.
        used: When a worker began to use it last.
    """

    directory: Path
    requirements: Sequence[str]
    python: str
    size: int
    used: float


class Shelf:
    """The directory of all environments; several processes use it at once.

    Args:
        root: The directory.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def get(
        self, requirements: tuple[str, ...], installer: Installer, stop: threading.Event
    ) -> tuple[VirtualEnvironment, FileLock]:
        """An environment, made if it is not there; this may take minutes.

        Args:
            requirements: What it has to have.
            installer: Installs them.
            stop: Set when nobody waits any more.

        Returns:
            The environment, and what keeps others from removing it.

        Raises:
            RequirementsError: If it cannot be made.
        """
        _read_build_facts()
        directory = self.root / _name(requirements)
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            with FileLock(_making(directory)) as making:
                making.acquire(stop)
                made = not _is_complete(directory)
                if made:
                    self._make(directory, requirements, installer, making)
                using = _begin_to_use(directory, stop)
        except OSError as error:
            raise RequirementsError(
                f"no environment with {told(requirements)} can be made in {self.root}: {error}; "
                f"{VARIABLE} names another directory"
            ) from error
        if made:
            self.sweep()
        return VirtualEnvironment(str(directory), requirements), using

    def _make(
        self, directory: Path, requirements: tuple[str, ...], installer: Installer, lock: FileLock
    ) -> None:
        shutil.rmtree(directory, ignore_errors=True)
        logger.info("installing %s into %s", told(requirements), directory)
        import venv  # which few workers need

        try:
            venv.EnvBuilder(symlinks=True, with_pip=False).create(directory)
            installer.install(directory, requirements, lock)
            site = Path(sysconfig.get_path("purelib", "posix_prefix", {"base": str(directory)}))
            # Last: an installer must not take what the worker has for the environment's own.
            (site / _LINK).write_text(_link(), encoding="utf-8")
            installer.check(directory, requirements, lock)
            facts = {
                "requirements": requirements,
                "python": sys.version.split()[0],
                "size": _size(directory),
            }
            temporary = directory / f"{_MARKER}.new"
            temporary.write_text(json.dumps(facts), encoding="utf-8")
            temporary.replace(directory / _MARKER)
        except BaseException:
            shutil.rmtree(directory, ignore_errors=True)
            raise

    def kept(self) -> list[KeptEnvironment]:
        """Those that are complete, that which was used longest ago first."""
        found = [_read(marker) for marker in self.root.glob(f"*/{_MARKER}")]
        return sorted((one for one in found if one is not None), key=lambda one: one.used)

    def sweep(self, limit: int = config.ENVIRONMENTS_LIMIT) -> None:
        """Remove those that nobody has used for long, or that take more than the limit together."""
        kept = self.kept()
        total = sum(one.size for one in kept)
        for one in kept[:-1]:  # the newest was just asked for
            old = time.time() - one.used > config.ENVIRONMENTS_AGE
            if (old or total > limit) and self._remove_own(one.directory):
                total -= one.size
        self.remove_rest()

    def remove(self, directory: Path) -> bool:
        """Remove one, and its locks; False if it is in use."""
        with FileLock(_making(directory)) as making:
            if not making.try_acquire():
                return False
            with FileLock(_using(directory)) as using:
                if not using.try_acquire():
                    return False
                (directory / _MARKER).unlink(missing_ok=True)
                shutil.rmtree(directory, ignore_errors=True)
                using.remove()
            making.remove()
            return True

    def remove_rest(self) -> None:
        """Remove what is left of those that were removed, or never complete."""
        for lock in [*self.root.glob(f"*{_MAKING}"), *self.root.glob(f"*{_USING}")]:
            directory = lock.with_suffix("")
            if _NAME.fullmatch(directory.name) and not _is_complete(directory):
                self._remove_own(directory)

    def _remove_own(self, directory: Path) -> bool:
        """Remove one, unless it is in use or another user's."""
        try:
            return self.remove(directory)
        except OSError as error:  # whoever asked for another one has that all the same
            logger.debug("%s cannot be removed: %s", directory, error)
            return False


def environments_root(fallback: Path | None = None) -> Path:
    """Where environments are kept: what the variable says, the user's cache, or temporary files.

    Args:
        fallback: A directory of this process's own, where nothing else can be written to.

    Raises:
        RequirementsError: If the variable names a directory that depends on where a process runs.
    """
    said = os.environ.get(VARIABLE)
    if said:
        root = Path(said).expanduser()
        if not root.is_absolute():
            raise RequirementsError(
                f"{VARIABLE}={said} is no whole path, and so another one for each process: write "
                f"it from the root on, as {root.absolute()}"
            )
        return root
    base = os.environ.get("XDG_CACHE_HOME")
    cache = Path(base) if base else Path(os.path.expanduser("~/.cache"))  # noqa: PTH111 - no home
    candidates = [cache / "armoflow" / "environments"]
    with suppress(EngineError):
        candidates.append(Path(temporary_root()) / f"armoflow-environments-{os.getuid()}")
    for candidate in candidates:
        if _is_ours(candidate):
            return candidate
    return candidates[0] if fallback is None else fallback / "environments"


def _read_build_facts() -> None:
    """Have read how this Python was built: up to 3.11 other threads see it half read."""
    with _BUILD_FACTS:
        sysconfig.get_config_vars()


def told(requirements: Iterable[str]) -> str:
    """Requirements in a sentence."""
    return ", ".join(requirements)


def _is_ours(directory: Path) -> bool:
    """Whether it is there, or can be made, and nobody else can put something into it."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = directory.stat()
    except (OSError, RuntimeError):
        return False
    return status.st_uid == os.getuid() and os.access(directory, os.W_OK)


def _making(directory: Path) -> Path:
    return directory.with_name(directory.name + _MAKING)


def _using(directory: Path) -> Path:
    return directory.with_name(directory.name + _USING)


def _begin_to_use(directory: Path, stop: threading.Event) -> FileLock:
    """What keeps others from removing one, as long as it is not closed."""
    using = FileLock(_using(directory))
    try:
        using.acquire(stop, shared=True)
        os.utime(directory / _MARKER)
    except BaseException:
        using.close()
        raise
    return using


def _is_complete(directory: Path) -> bool:
    return (directory / _MARKER).is_file()


def _read(marker: Path) -> KeptEnvironment | None:
    try:
        facts: Any = json.loads(marker.read_text(encoding="utf-8"))
        used = marker.stat().st_mtime
        return KeptEnvironment(
            marker.parent, facts["requirements"], facts["python"], facts["size"], used
        )
    except (OSError, ValueError, KeyError, TypeError):  # just removed, or not ours
        return None


def _name(requirements: Sequence[str]) -> str:
    """What an environment is called: another one for whatever makes a difference to it."""
    facts = [
        *(list(requirements), [_content(text) for text in requirements]),
        *(sys.version, sysconfig.get_platform(), sys.prefix, _link()),
    ]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:24]


def _content(requirement: str) -> str:
    """What is in a file that a requirement names: the same name may hold another build."""
    path = _file_of(requirement)
    if path is None:
        return ""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:  # a directory; or the installer tells that it is not there
        return ""


def _file_of(requirement: str) -> Path | None:
    found = _FILE.search(requirement)
    try:
        return None if found is None else Path(unquote(urlsplit(found[1]).path))
    except ValueError:  # it is no URL, which whoever installs it says
        return None


def builds(requirements: Iterable[str]) -> dict[Path, tuple[int, int, int]]:
    """Of the files that requirements name, by which another build of one is noticed.

    A file that is not there, or not any more, is none.
    """
    found = {}
    for path in filter(None, map(_file_of, requirements)):
        with suppress(OSError):
            status = path.stat()
            found[path] = status.st_ino, status.st_mtime_ns, status.st_size
    return found


def _link() -> str:
    """A ``.pth`` file's line by which the worker's own packages are found, after all others."""
    sites = [path for path in sys.path if path.rstrip("/").endswith(_SITES)]
    return f"import site; list(map(site.addsitedir, {[*sites, ROOT]!r}))\n"


def _size(directory: Path) -> int:
    return sum(_sizes(directory))


def _sizes(directory: Path) -> Iterator[int]:
    for folder, _, files in os.walk(directory):
        for file in files:
            yield os.lstat(f"{folder}/{file}").st_size
