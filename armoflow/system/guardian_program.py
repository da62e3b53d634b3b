"""The program of the guardian, a file run by itself: ``ROOT MARK DIRECTORY...`` as arguments.

It starts together with its owner, whose work it would hold up: so it imports next to nothing, least
of all the package, which is at ``ROOT``, until its owner has begun, or has ended.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterable

GRACE = 2.0
"""Seconds between SIGTERM and SIGKILL."""

BEGUN = 2
"""Seconds after which its owner has begun: what earlier ones have left is swept away then."""


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


def sweep() -> None:
    """Remove what other owners have left."""
    from armoflow.system import meeting, temporary

    temporary.sweep()
    meeting.sweep_meeting_places()


def clean_up(mark: str, directories: Iterable[str]) -> None:
    """End what carries the mark; remove the directories when nobody has them any more."""
    from pathlib import Path

    from armoflow.system import descendants, temporary

    descendants.end_marked(mark)
    for directory in directories:
        temporary.remove_when_free(Path(directory))


def main() -> None:
    """Watch the standard input, then clean up."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # they are the owner's to handle
    root, mark, *directories = sys.argv[1:]
    sys.path.append(root)
    signal.signal(signal.SIGALRM, lambda *_: sweep())
    signal.alarm(BEGUN)
    groups = signal_groups(watch(sys.stdin), signal.SIGTERM)
    signal.alarm(0)
    deadline = time.monotonic() + GRACE
    while groups and time.monotonic() < deadline:
        time.sleep(0.05)  # these are no children of ours: there is no event to wait for
        groups = signal_groups(groups, 0)
    signal_groups(groups, signal.SIGKILL)
    clean_up(mark, directories)
    sweep()  # what its owner's owner has left, which may have ended with it


if __name__ == "__main__":
    main()
