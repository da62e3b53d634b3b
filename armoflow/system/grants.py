"""How much of this machine is for this process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path


def processors(root: Path = Path("/")) -> int:
    """Processors that this process may use: those it may run on, as far as its cgroups let it.

    Args:
        root: Where ``proc`` and ``sys`` are.

    Returns:
        At least 1.
    """
    return granted(root) or _visible()


def granted(root: Path = Path("/")) -> int | None:
    """Processors that its cgroups grant this process; None if they are all that it can see.

    Programs see the machine's, and start as many threads.

    Args:
        root: Where ``proc`` and ``sys`` are.
    """
    least = min(_quotas(root), default=None)
    return max(1, int(least)) if least is not None and least < _visible() else None


def _visible() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _quotas(root: Path) -> Iterator[float]:
    """The processors' worth of time that each cgroup of this process may use."""
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return  # no Linux
    for line in lines:
        _, controllers, path = line.split(":", 2)
        base = root / "sys/fs/cgroup"
        if not controllers:  # version 2
            for group in groups(base, path):
                yield from _quota_2(group)
        elif "cpu" in controllers.split(","):
            for name in {controllers, "cpu"}:
                for group in groups(base / name, path):
                    yield from _quota_1(group)


def groups(base: Path, path: str) -> list[Path]:
    """A cgroup and those around it; in a container the first may not be there by its outer name."""
    group = base / path.lstrip("/")
    return [group, *(parent for parent in group.parents if parent.is_relative_to(base))]


def _quota_2(group: Path) -> Iterator[float]:
    with suppress(OSError, ValueError, ZeroDivisionError):
        quota, period = (group / "cpu.max").read_text(encoding="utf-8").split()
        if quota != "max":
            yield int(quota) / int(period)


def _quota_1(group: Path) -> Iterator[float]:
    with suppress(OSError, ValueError, ZeroDivisionError):
        quota = int((group / "cpu.cfs_quota_us").read_text(encoding="utf-8"))
        if quota > 0:
            yield quota / int((group / "cpu.cfs_period_us").read_text(encoding="utf-8"))
