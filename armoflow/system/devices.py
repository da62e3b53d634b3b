"""The graphics processors of this machine."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

VISIBLE_DEVICES: Final = "CUDA_VISIBLE_DEVICES"
"""The variable that says which of them a process sees, by number or name."""

_NONE: Final = ("", "-1", "NoDevFiles")
"""Begins what CUDA reads no further; Slurm writes the last one."""

_DEVICE = re.compile(r"nvidia\d+")


def visible_devices(environment: Mapping[str, str], root: str = "/dev") -> tuple[str, ...]:
    """The graphics processors that processes with these variables see, as CUDA names them.

    Args:
        environment: Their variables; one of them may choose.
        root: Where the machine's devices are.

    Example:
        >>> visible_devices({"CUDA_VISIBLE_DEVICES": "2,GPU-8932f937,-1,3"})
        ('2', 'GPU-8932f937')
    """
    chosen = environment.get(VISIBLE_DEVICES)
    if chosen is not None:
        names = (name.strip() for name in chosen.split(","))
        return tuple(dict.fromkeys(itertools.takewhile(lambda name: name not in _NONE, names)))
    found: list[str] = []
    with suppress(OSError):
        found = [name for name in os.listdir(root) if _DEVICE.fullmatch(name)]  # noqa: PTH208
    return tuple(map(str, range(len(found))))
