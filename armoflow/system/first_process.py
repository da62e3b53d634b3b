"""What the first process of a container does itself, which the system does for others.

The kernel drops signals for which it has no handler, and gives it the processes that have lost
their parent: it has to wait for them, or they are counted for ever.
"""

from __future__ import annotations

import os
import signal
import threading
from contextlib import suppress
from types import FrameType
from typing import TYPE_CHECKING

from armoflow.system.descendants import children_of, has_ended

if TYPE_CHECKING:
    import asyncio

_NUMBERS = (signal.SIGTERM, signal.SIGHUP)

_BETWEEN = 10.0
"""Seconds between two looks. What had ended at both nobody waits for: parents do so at once."""


def is_first() -> bool:
    """Whether this process is the first of its container."""
    return os.getpid() == 1


def die_of_signals() -> None:
    """Have signals end it that end others, until somebody else looks after them."""
    if is_first() and threading.current_thread() is threading.main_thread():
        for number in _NUMBERS:
            if signal.getsignal(number) is signal.SIG_DFL:
                signal.signal(number, _die)


def _die(number: int, frame: FrameType | None) -> None:
    os._exit(128 + number)


def bury_adopted() -> None:
    """Wait for adopted processes that have ended, now and then; in the event loop."""
    if is_first():
        import asyncio  # commands begin with this module

        _bury(asyncio.get_running_loop(), set())


def _bury(loop: asyncio.AbstractEventLoop, before: set[int]) -> None:
    loop.call_later(_BETWEEN, _bury, loop, bury(before))


def bury(before: set[int]) -> set[int]:
    """Wait for those that had ended the last time, and have still not been waited for.

    Args:
        before: What was found the last time.

    Returns:
        What else has ended.
    """
    found = {pid for pid in children_of(os.getpid()) if has_ended(pid)}
    for pid in found & before:
        with suppress(ChildProcessError):  # its parent was quicker
            os.waitpid(pid, os.WNOHANG)
    return found - before
