"""How a service is told to end: by TERM, INT or HUP; the second time it ends on the spot.

One that has something to read again does that when a HUP comes, and does not end.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Ending(asyncio.Event):
    """Set when to end.

    Attributes:
        number: The signal that said so, if it was one.
    """

    number: signal.Signals | None = None


def watch_signals(force: Callable[[], None], *, hangup: Callable[[], None] | None = None) -> Ending:
    """An event that is set by the first signal; by the second, the process dies of it.

    A HUP that is ignored (``nohup``) stays ignored.

    Args:
        force: What must be done before it dies, which takes no time.
        hangup: What a HUP is for, if not for the end.
    """
    told = Ending()
    loop = asyncio.get_running_loop()

    def tell(number: signal.Signals) -> None:
        if told.is_set():
            force()
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            os._exit(128 + number)  # the first process of a container does not die of signals
        told.number = number
        told.set()

    if hangup is not None:
        loop.add_signal_handler(signal.SIGHUP, hangup)
    for number in _SIGNALS if hangup is None else _SIGNALS[:-1]:
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
            loop.add_signal_handler(number, tell, number)
    _let_through()
    return told


@contextmanager
def ending_at_once(*, hangup: bool = True) -> Iterator[None]:
    """Meanwhile the first signal ends the process, with code 0, though its event loop is held up.

    For work that a kill may cut short at any moment, before anything is served.

    Args:
        hangup: A HUP is for the end, too.
    """

    def end(number: int, frame: FrameType | None) -> None:
        os._exit(0)

    before = {
        number: signal.signal(number, end)
        for number in (_SIGNALS if hangup else _SIGNALS[:-1])
        if signal.getsignal(number) is not signal.SIG_IGN
    }
    _let_through()
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
            signal.siginterrupt(number, False)  # as event loops have it


def _let_through() -> None:
    """Let these signals come where the program that started this one holds them back for itself."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
