"""Finds and ends what a process has started, by a mark that its descendants inherit.

Tasks may start processes that leave their group, their session and their parent. On Linux they are
found by a variable of their environment, a path of names: of the owner, of its agent, of the child
that ran the task, and within it again where that is an owner itself. Where there is no ``/proc``
only the process group is ended.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress

MARK = "ARMOFLOW_PROCESS"
"""The variable."""

_ROUNDS = 20
"""How often is looked for processes that were started meanwhile."""


def new_mark(environment: Mapping[str, str] = os.environ) -> str:
    """A mark for what is started from here on, within the mark of this process.

    Example:
        >>> new_mark({MARK: "a"})[:2], len(new_mark({}))
        ('a/', 16)
    """
    outer = environment.get(MARK)
    name = os.urandom(8).hex()
    return f"{outer}/{name}" if outer else name


def descendants_of(pid: int) -> list[int]:
    """The processes that a process has started, with theirs, as far as none has lost its parent."""
    found = []
    parents = [pid]
    while parents:
        children = children_of(parents.pop())
        parents += children
        found += children
    return found


def kill_all(pids: Iterable[int]) -> None:
    """Kill processes, those that are still there."""
    for pid in pids:
        with suppress(OSError):
            os.kill(pid, signal.SIGKILL)


def end_marked(mark: str) -> None:
    """Kill every process with this mark, or one within it, but this one."""
    for _ in range(_ROUNDS):
        found = [pid for pid in _marked(mark) if pid != os.getpid()]
        if not found:
            return
        kill_all(found)


def _marked(mark: str) -> Iterator[int]:
    exact = f"\0{MARK}={mark}".encode()
    for pid in _processes():
        try:
            with open(f"/proc/{pid}/environ", "rb") as file:  # noqa: PTH123
                content = b"\0" + file.read()
        except OSError:
            continue  # it has ended, or is another user's
        place = content.find(exact)
        end = place + len(exact)
        if place >= 0 and content[end : end + 1] in (b"\0", b"/", b""):
            yield pid


def children_of(pid: int) -> list[int]:
    """The processes that a process is the parent of, by birth or because they lost theirs."""
    children: list[int] = []
    with suppress(OSError):  # it ends just now
        for thread in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208
            with open(f"/proc/{pid}/task/{thread}/children", encoding="utf-8") as file:  # noqa: PTH123
                children += map(int, file.read().split())
    return children


def has_ended(pid: int) -> bool:
    """Whether a process has ended, and its parent has not waited for it."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:  # noqa: PTH123
            return file.read().rpartition(")")[2].split()[0] == "Z"
    except OSError:  # it is gone
        return False


def _processes() -> list[int]:
    try:
        return [int(name) for name in os.listdir("/proc") if name.isdecimal()]  # noqa: PTH208
    except OSError:
        return []
