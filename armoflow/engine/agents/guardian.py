"""Ends worker processes when the engine that started them is gone.

A worker of somebody else does not watch its parent, and a killed engine cannot end it. So the
engine starts this program once and tells it on its standard input which process groups live:
``+123`` a new one, ``-123`` one that ended. At the end of the input, which is the engine's own end
however it came, the groups that still live are terminated, and killed if they do not end.

The program is run by path, with nothing but the standard library: it imports no package.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterable

GRACE = 2.0
"""Seconds between SIGTERM and SIGKILL."""


def watch(lines: Iterable[str]) -> set[int]:
    """The groups that live when the input ends.

    Example:
        >>> watch(["+12", "+34", "-12"])
        {34}
    """
    groups: set[int] = set()
    for line in lines:
        group = int(line[1:])
        if line.startswith("+"):
            groups.add(group)
        else:
            groups.discard(group)
    return groups


def signal_groups(groups: set[int], number: int) -> set[int]:
    """Signal each group; returns those that still exist."""
    alive = set()
    for group in groups:
        try:
            os.killpg(group, number)
        except ProcessLookupError:
            continue
        alive.add(group)
    return alive


def main() -> None:
    """Watch the standard input, then end what is left."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the terminal's Ctrl-C is the engine's to handle
    groups = signal_groups(watch(sys.stdin), signal.SIGTERM)
    deadline = time.monotonic() + GRACE
    while groups and time.monotonic() < deadline:
        time.sleep(0.05)  # these are no children of ours: there is no event to wait for
        groups = signal_groups(groups, 0)
    signal_groups(groups, signal.SIGKILL)


if __name__ == "__main__":
    main()
