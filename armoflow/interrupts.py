"""Which exceptions are somebody's Ctrl-C, and which only look like one."""

from __future__ import annotations

import signal
import threading


def is_interrupt(error: BaseException) -> bool:
    """Whether somebody has pressed Ctrl-C, as far as that can be.

    Of another thread than the main one, or of a process that ignores it as workers do, it is an
    exception of somebody's code as any other.

    Example:
        >>> is_interrupt(KeyboardInterrupt()), is_interrupt(SystemExit())
        (True, False)
    """
    return (
        issubclass(type(error), KeyboardInterrupt)
        and threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGINT) != signal.SIG_IGN
    )
