"""A signal that has come is seen, whatever the main thread is in.

Python's own handler in C only notes a signal; what is to be done is done when the main thread
comes to it. Just before that thread sleeps, or waits for anything in C, it gives away the
interpreter's lock; a signal that arrives then interrupts nothing, and is seen when the thread
wakes by itself: never, where it sleeps for long. So does one that the system hands to another
thread. Here a thread is told of each signal by a pipe (:func:`signal.set_wakeup_fd`), and
interrupts the main thread once more: by a signal that does nothing, after which Python looks for
others, and goes on with what it was in.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType

from armoflow.errors import ThreadLimitError
from armoflow.system.new_threads import start_thread

PAUSE = 0.05
"""Seconds in which the main thread usually comes to a signal."""

TRIES = 100

NOTHING = signal.SIGURG
"""The signal that does nothing, which hardly anybody uses; Go's runtime takes it for that, too."""

FEW_TRIES = 4
"""Of signals that are not ours, of which nobody can tell whether they were seen."""


def _do_nothing(number: int, frame: FrameType | None) -> None:
    """That it has come is enough."""


class Nudge:
    """Interrupts the main thread again until it has seen its signals; made in that thread.

    Args:
        waits: Whether a signal still waits for its handler; None: it cannot be known.

    Raises:
        RuntimeError: If another library is told of signals already.
    """

    def __init__(self, waits: Callable[[int], bool | None]) -> None:
        self._waits = waits
        self._main = threading.main_thread().ident or 0
        self._reading, self._writing = os.pipe()
        os.set_blocking(self._writing, False)
        previous = signal.set_wakeup_fd(self._writing, warn_on_full_buffer=False)
        if previous != -1:
            signal.set_wakeup_fd(previous, warn_on_full_buffer=False)
            self._close()
            raise RuntimeError("another library is told of signals already")
        try:
            self._thread = start_thread(self._run, "armoflow-signals", "hear of signals")
        except ThreadLimitError:
            self._take_back()
            self._close()
            raise
        self._harmless = signal.getsignal(NOTHING) is signal.SIG_DFL
        if self._harmless:
            signal.signal(NOTHING, _do_nothing)

    def stop(self) -> None:
        """Interrupt nobody any more; in the main thread."""
        self._take_back()
        os.close(self._writing)  # the thread comes to the end of the pipe

    def forked(self) -> None:
        """In a forked process: what is written to the pipe there is not for its parent."""
        self._take_back()
        self._close()

    def _take_back(self) -> None:
        current = signal.set_wakeup_fd(-1)
        if current != self._writing:  # an event loop's, set later
            signal.set_wakeup_fd(current, warn_on_full_buffer=False)
        if signal.getsignal(NOTHING) is _do_nothing:
            signal.signal(NOTHING, signal.SIG_DFL)

    def _close(self) -> None:
        os.close(self._reading)
        os.close(self._writing)

    def _run(self) -> None:
        while numbers := os.read(self._reading, 64):
            for number in numbers:
                if number != NOTHING:
                    self._see_to(number)
        os.close(self._reading)

    def _see_to(self, number: int) -> None:
        # Asked again and again: a handler may take no lock, so that it cannot tell.
        for count in range(TRIES):
            time.sleep(PAUSE)
            waits = self._waits(number)
            if waits is None:
                waits = self._harmless and count < FEW_TRIES
            if not waits:
                return
            with contextlib.suppress(ProcessLookupError):
                signal.pthread_kill(self._main, NOTHING if self._harmless else number)
