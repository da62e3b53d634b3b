"""Who this process is, for others to find out whether it still lives."""

from __future__ import annotations

import os
import socket
from pathlib import Path

_BOOT = Path("/proc/sys/kernel/random/boot_id")
_EXITING = 0x4
"""Linux's PF_EXITING, of a process's flags."""


def machine() -> str:
    """This machine, since it was started."""
    try:
        boot = _BOOT.read_text(encoding="utf-8").strip()
    except OSError:  # not Linux: the name has to do
        boot = ""
    return f"{socket.gethostname()} {boot}".strip()


def started(process: int) -> str:
    """When a process of this machine was started, as the machine counts; empty: it is not known.

    Example:
        >>> started(os.getpid()) == started(os.getpid())
        True
    """
    try:
        return (
            Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19]
        )
    except (OSError, IndexError):
        return ""


def runs(process: int) -> bool:
    """Whether a process is known to run its program, and not to be on its way out.

    Example:
        >>> runs(os.getpid()) == Path("/proc").exists()
        True
    """
    try:
        fields = (
            Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        )
    except OSError:  # it is gone, or this is no Linux
        return False
    return fields[0] not in "ZX" and not int(fields[6]) & _EXITING


def lives(process: int, since: str) -> bool:
    """Whether a process of this machine lives that was started then.

    Example:
        >>> lives(os.getpid(), started(os.getpid())), lives(os.getpid(), "long ago")
        (True, False)
    """
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return not since or started(process) == since
