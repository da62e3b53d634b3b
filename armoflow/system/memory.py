"""How much memory the container around this process grants, and how much of it is taken, by whom.

What a process maps of files is not counted as its own: the kernel takes that back where memory runs
short. What it shares with those that it has forked is counted once.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from armoflow.system.descendants import descendants_of
from armoflow.system.grants import groups

_UNLIMITED = 1 << 60
"""Bytes from which a limit is none: cgroups of version 1 write the largest number there is."""

_PAGE = os.sysconf("SC_PAGE_SIZE")


class _Files(NamedTuple):
    """The names of a cgroup's files, in one of the two versions."""

    limit: str
    usage: str
    prefix: str


_VERSION_1 = _Files("memory.limit_in_bytes", "memory.usage_in_bytes", "total_")
_VERSION_2 = _Files("memory.max", "memory.current", "")


class ContainerMemory:
    """The memory of one cgroup.

    Args:
        group: Its directory.
        files: The names of its files.
        limit: What it grants.

    Attributes:
        limit: What it grants, in bytes.
    """

    def __init__(self, group: Path, files: _Files, limit: int) -> None:
        self.limit = limit
        self._group = group
        self._prefix = files.prefix
        self._usage = group / files.usage
        self._stat = group / "memory.stat"

    def taken(self, enough: int = 0) -> int:
        """Bytes that nobody can give back: files that are only cached do not count.

        Args:
            enough: A number of bytes below which nobody needs to know better.

        Returns:
            0 where it cannot be told.
        """
        with suppress(OSError, ValueError):
            usage = int(self._usage.read_text(encoding="utf-8"))
            return usage if usage < enough else usage - self._cached()
        return 0

    def _cached(self) -> int:
        prefix = self._prefix
        cached = {f"{prefix}active_file", f"{prefix}inactive_file"}
        total = 0
        for line in self._stat.read_text(encoding="utf-8").splitlines():
            name, value = line.split()
            if name in cached:
                total += int(value)
        return total

    def is_largest(self, pid: int) -> bool:
        """Whether a process, with those below it, has more memory than any other one here."""
        family = {pid, *descendants_of(pid)}
        own = sum(map(_resident, family))
        return all(_resident(other) <= own for other in self._processes() if other not in family)

    def _processes(self) -> Iterator[int]:
        for directory, _, _ in os.walk(self._group):
            with suppress(OSError):
                yield from map(
                    int, (Path(directory) / "cgroup.procs").read_text(encoding="utf-8").split()
                )


def machine_memory() -> int | None:
    """What programs of this process may have together; None where that cannot be told."""
    memory = container_memory()
    if memory is not None:
        return memory.limit
    with suppress(ValueError, OSError):
        return os.sysconf("SC_PHYS_PAGES") * _PAGE
    return None


def memory_of(pid: int, enough: int = 0) -> int:
    """Bytes that a process has of its own, with those that it has started.

    Args:
        pid: The process.
        enough: A number of bytes below which nobody needs to know better.

    Returns:
        0 where it cannot be told.
    """
    family = (pid, *descendants_of(pid))
    own = sum(map(_own, family))
    return own if own < enough or len(family) == 1 else sum(map(_share, family))


def _own(pid: int) -> int:
    """Bytes of a process that are no file's; what it shares with others, too."""
    return _sum_of(f"/proc/{pid}/status", ("RssAnon:", "RssShmem:"))


def _share(pid: int) -> int:
    """The same, of what it shares with others only its part: that takes long to find out."""
    return _sum_of(f"/proc/{pid}/smaps_rollup", ("Pss_Anon:", "Pss_Shmem:"))


def _sum_of(path: str, names: tuple[str, ...]) -> int:
    with suppress(OSError, ValueError, IndexError):  # it has ended, or this is no Linux
        lines = Path(path).read_text(encoding="utf-8").splitlines()
        return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(names))
    return 0


def container_memory(root: Path = Path("/")) -> ContainerMemory | None:
    """The tightest limit on the memory of this process; None if there is none.

    Args:
        root: Where ``proc`` and ``sys`` are.
    """
    found = [
        ContainerMemory(group, files, limit)
        for base, path, files in _hierarchies(root)
        for group in groups(base, path)
        if (limit := _limit(group / files.limit)) is not None
    ]
    return min(found, key=lambda one: one.limit, default=None)


def _hierarchies(root: Path) -> Iterator[tuple[Path, str, _Files]]:
    base = root / "sys/fs/cgroup"
    with suppress(OSError):  # no Linux
        for line in (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines():
            _, controllers, path = line.split(":", 2)
            if not controllers:
                yield base, path, _VERSION_2
            elif "memory" in controllers.split(","):
                yield base / "memory", path, _VERSION_1


def _limit(file: Path) -> int | None:
    with suppress(OSError, ValueError):  # there is no such file, or it says "max"
        limit = int(file.read_text(encoding="utf-8"))
        return limit if 0 < limit < _UNLIMITED else None
    return None


def _resident(pid: int) -> int:
    with suppress(OSError, ValueError, IndexError):  # it has ended
        return int(Path(f"/proc/{pid}/statm").read_text(encoding="utf-8").split()[1]) * _PAGE
    return 0
