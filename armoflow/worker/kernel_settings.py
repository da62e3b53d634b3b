"""What Linux keeps for a process that only ``prctl`` and a file under ``/proc`` tell of.

Its name and what it shares with other processes are there, too. By some of it a process ends with
what has started it, and before that where memory runs out.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

_SCORE = "/proc/self/oom_score_adj"

_PLACES = tuple(f"/proc/self/ns/{name}" for name in ("ipc", "mnt", "net", "uts"))
"""Where it says what this process shares with others; what has left that cannot come back."""

_NAME = (16, 15)
"""The numbers of ``prctl`` of getting and setting the name that tools show."""

_AS_IT_IS = 0xFFFFFFFF
"""A personality that changes nothing."""

_PRIORITIES = {"x86_64": (252, 251), "aarch64": (31, 30)}
"""System calls that read and set whose disk accesses go first: the C library does not name them."""

_BY_VALUE = {"dumpable": (3, 4), "privileges": (39, 38), "slack": (30, 29), "pages": (42, 41)}
"""Settings that ``prctl`` returns: the numbers of getting and setting them."""

_BY_POINTER = {"death signal": (2, 1), "subreaper": (37, 36)}
"""Those that it writes to where one points."""


@functools.cache
def _library() -> Any:
    import ctypes

    return ctypes.CDLL(None)


@functools.cache
def _prctl() -> Callable[..., int]:
    function: Callable[..., int] = _library().prctl
    return function


@functools.cache
def _priority() -> tuple[int, int] | None:
    return _PRIORITIES.get(os.uname().machine)


def kernel_settings() -> dict[str, Any] | None:
    """All of them by their names; None where there are none."""
    if not sys.platform.startswith("linux"):
        return None
    import ctypes

    prctl = _prctl()
    found: dict[str, Any] = {name: prctl(get, 0, 0, 0, 0) for name, (get, _) in _BY_VALUE.items()}
    for name, (get, _) in _BY_POINTER.items():
        number = ctypes.c_int()
        prctl(get, ctypes.byref(number), 0, 0, 0)
        found[name] = number.value
    text = ctypes.create_string_buffer(16)
    prctl(_NAME[0], text, 0, 0, 0)
    found["name"] = text.value
    found["personality"] = _library().personality(_AS_IT_IS)
    if priority := _priority():
        found["priority"] = _library().syscall(priority[0], 1, 0)
    with suppress(OSError):
        found["places"] = tuple(map(os.readlink, _PLACES))
    with suppress(OSError):
        fd = os.open(_SCORE, os.O_RDONLY)
        try:
            found["score"] = os.read(fd, 16).strip()
        finally:
            os.close(fd)
    return found


def set_kernel_settings(value: dict[str, Any] | None) -> None:
    """Set what :func:`kernel_settings` has read.

    Raises:
        OSError: If the kernel does not allow it: the process is of no use any more.
    """
    if value is None:
        return
    prctl = _prctl()
    for name, now in (kernel_settings() or {}).items():
        if now == value.get(name):
            continue
        if name == "score":
            fd = os.open(_SCORE, os.O_WRONLY)
            try:
                os.write(fd, value[name])
            finally:
                os.close(fd)
        elif name == "name":
            prctl(_NAME[1], value[name], 0, 0, 0)
        elif name == "personality":
            _library().personality(value[name])
        elif name == "priority" and (numbers := _priority()):
            _library().syscall(numbers[1], 1, 0, value[name])
        elif name != "places":
            prctl({**_BY_VALUE, **_BY_POINTER}[name][1], value[name], 0, 0, 0)
    if kernel_settings() != value:
        raise OSError("the kernel does not let its settings be put back")
