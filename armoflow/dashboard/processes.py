"""What an engine's processes take of this machine (Linux)."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from armoflow.system.descendants import descendants_of


class ProcessRow(NamedTuple):
    """A process.

    Attributes:
        pid: Its id.
        role: What it is there for.
        share: Of one processor, since it was looked at before; None at the first time.
        memory: Bytes that it keeps in memory.
    """

    pid: int
    role: str
    share: float | None
    memory: int


class Processes:
    """An engine's processes.

    Args:
        engine: Its process.
        clock: Tells seconds.
    """

    def __init__(self, engine: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._engine = engine
        self._clock = clock
        self._ticks = os.sysconf("SC_CLK_TCK")
        self._page = os.sysconf("SC_PAGE_SIZE")
        self._before: dict[int, tuple[float, float]] = {}
        self._own = os.getpid()

    def look(self) -> list[ProcessRow]:
        """What they take now: the engine first, and not this process itself."""
        rows = []
        before, self._before = self._before, {}
        for pid in (self._engine, *sorted(descendants_of(self._engine))):
            found = None if pid == self._own else _read(pid)
            if found is None:
                continue
            ticks, pages, role = found
            now, used = self._clock(), ticks / self._ticks
            self._before[pid] = now, used
            then, spent = before.get(pid, (now, used))
            share = (used - spent) / (now - then) if now > then else None
            rows.append(ProcessRow(pid, role, share, pages * self._page))
        return rows


def _read(pid: int) -> tuple[int, int, str] | None:
    """Ticks of processor time, pages in memory, and the role of a process; None if it is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return None
    # The name in parentheses may hold anything: what follows it counts.
    fields = stat[stat.rindex(")") + 2 :].split()
    return int(fields[11]) + int(fields[12]), int(fields[21]), _role(words)


def _role(words: list[str]) -> str:
    """What a process is there for, by its command line.

    Example:
        >>> _role(["python", "-m", "armoflow.worker.child", "3"]), _role(["sleep", "9"])
        ('worker', 'sleep')
    """
    line = " ".join(words)
    for part, role in (
        ("armoflow.worker.child", "worker"),
        ("guardian", "guardian"),
        (" up", "engine"),
    ):
        if part in line:
            return role
    return os.path.basename(words[0])[:40] or "process"  # noqa: PTH119
