"""A process that cleans up after another one, however that one ends.

A killed process cannot end what it has started, nor remove its files. So each that starts workers
starts this program first, and holds the other end of its standard input. At the end of the input
the process groups that it was told of are ended, then every process that carries the owner's mark,
and then the owner's directories are removed, as soon as no other process has them.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from armoflow.system import temporary
from armoflow.system.descendants import MARK, end_marked
from armoflow.system.interpreter import python_command
from armoflow.system.meeting import sweep_meeting_places

GRACE = 2.0
"""Seconds between SIGTERM and SIGKILL."""


class Guardian:
    """Starts the program.

    Args:
        mark: The mark of the processes that it ends, with those whose marks begin with it.
        directories: Directories to remove in the end.
    """

    def __init__(self, mark: str, directories: Sequence[Path] = ()) -> None:
        environment = {name: value for name, value in os.environ.items() if name != MARK}
        self._process = subprocess.Popen(
            python_command(__name__, mark, *map(str, directories), options=("-I", "-S")),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment,
            cwd="/",
            start_new_session=True,
        )

    def tell(self, sign: str, group: int) -> None:
        """``+`` for a process group that lives, ``-`` for one that has ended."""
        assert self._process.stdin is not None
        with suppress(OSError):  # it was killed
            self._process.stdin.write(f"{sign}{group}\n".encode())
            self._process.stdin.flush()

    def stop(self) -> None:
        """Let it do its work, now."""
        assert self._process.stdin is not None
        with suppress(OSError):
            self._process.stdin.close()

    def wait(self) -> None:
        """Wait for its end."""
        self._process.wait()


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


def main() -> int:
    """Watch the standard input, then clean up: ``MARK DIRECTORY...`` as arguments."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # they are the owner's to handle
    mark, *directories = sys.argv[1:]
    temporary.sweep()
    sweep_meeting_places()
    groups = signal_groups(watch(sys.stdin), signal.SIGTERM)
    deadline = time.monotonic() + GRACE
    while groups and time.monotonic() < deadline:
        time.sleep(0.05)  # these are no children of ours: there is no event to wait for
        groups = signal_groups(groups, 0)
    signal_groups(groups, signal.SIGKILL)
    end_marked(mark)
    for directory in directories:
        temporary.remove_when_free(Path(directory))
    return 0
