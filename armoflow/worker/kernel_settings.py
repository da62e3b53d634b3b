"""What Linux keeps for a process that only ``prctl`` and a file under ``/proc`` tell of.

By some of it a process ends with what has started it, and before that where memory runs out.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

_SCORE = "/proc/self/oom_score_adj"

_BY_VALUE = {"dumpable": (3, 4), "privileges": (39, 38), "slack": (30, 29), "pages": (42, 41)}
"""Settings that ``prctl`` returns: the numbers of getting and setting them."""

_BY_POINTER = {"death signal": (2, 1), "subreaper": (37, 36)}
"""Those that it writes to where one points."""


@functools.cache
def _prctl() -> Callable[..., int]:
    import ctypes

    function: Callable[..., int] = ctypes.CDLL(None).prctl
    return function


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
        else:
            prctl({**_BY_VALUE, **_BY_POINTER}[name][1], value[name], 0, 0, 0)
    if kernel_settings() != value:
        raise OSError("the kernel does not let its settings be put back")
