"""TERM and HUP end what clients have under way, as Ctrl-C does; then the process dies of them.

A handler is set while a client is open, from the main thread, and where the signal would have ended
the process at once: a program's own handler stays, and so does an ignored HUP (``nohup``).
"""

from __future__ import annotations

import _thread
import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from types import FrameType

from armoflow.client.nudging import Nudge
from armoflow.config import ENDING_SECONDS

_ENDING = (signal.SIGTERM, signal.SIGHUP)

_open: dict[int, Callable[[], None]] = {}
"""What ends each open client, by its id."""

_seen: set[int] = set()
"""Signals whose handler has begun."""

_nudge: Nudge | None = None


def watch(client: int, end: Callable[[], None]) -> None:
    """A client is open.

    Args:
        client: Its id.
        end: Ends what it has under way, in any thread; may be called again.
    """
    _open[client] = end
    if threading.current_thread() is threading.main_thread():
        for number in _ENDING:
            if signal.getsignal(number) is signal.SIG_DFL:
                signal.signal(number, _end_all)
        _begin_to_nudge()


def forget(client: int) -> None:
    """A client is closed; after the last one, signals do what they did before."""
    if _open.pop(client, None) is not None and not _open:
        _restore()


def _begin_to_nudge() -> None:
    global _nudge  # noqa: PLW0603 - one for the process
    if _nudge is None:
        with suppress(RuntimeError):  # who else is told of signals sees to it that they are seen
            _nudge = Nudge(_waits)


def _waits(number: int) -> bool | None:
    """Whether a signal has come whose handler has not begun; None if that is not ours."""
    return number not in _seen if signal.getsignal(number) is _end_all else None


def _restore() -> None:
    global _nudge  # noqa: PLW0603
    # Elsewhere it stays, and does what the signal would do.
    if threading.current_thread() is threading.main_thread():
        if _nudge is not None:
            _nudge.stop()
            _nudge = None
        for number in _ENDING:
            if signal.getsignal(number) is _end_all:
                signal.signal(number, signal.SIG_DFL)


def _end_all(number: int, frame: FrameType | None) -> None:
    """End all clients, as far as that can be done soon, then the process.

    This thread may have been interrupted in the middle of anything, with any lock in its hands. So
    another one does the work, and is waited for with a limit; and it is started by what takes no
    lock. A second signal does not wait.
    """
    _seen.add(number)
    signal.signal(number, signal.SIG_DFL)
    done = _thread.allocate_lock()
    done.acquire()

    def end() -> None:
        try:
            for end_client in list(_open.values()):
                end_client()
        finally:
            done.release()

    if _open:
        _thread.start_new_thread(end, ())
        done.acquire(timeout=ENDING_SECONDS)
    os.kill(os.getpid(), number)
    os._exit(128 + number)  # the first process of a container does not die of signals


_masks: dict[int, set[signal.Signals]] = {}
"""What forking threads had blocked before."""


def _hold() -> None:
    # Python drops in a forked process what arrives before the fork is over: it is held till then.
    if _open:
        mask = set(signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING))
        _masks[threading.get_ident()] = mask  # type: ignore[assignment]


def _let_go() -> None:
    mask = _masks.pop(threading.get_ident(), None)
    if mask is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _forked() -> None:
    global _nudge  # noqa: PLW0603
    _open.clear()  # they are the parent's
    if _nudge is not None:
        _nudge.forked()
        _nudge = None
    _restore()
    _let_go()


os.register_at_fork(before=_hold, after_in_parent=_let_go, after_in_child=_forked)
