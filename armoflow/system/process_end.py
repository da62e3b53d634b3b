"""What is done when this process ends in good order, as far as Python is there to do it."""

from __future__ import annotations

import atexit
import sys
import threading
from collections.abc import Callable


def is_ending() -> bool:
    """Whether the interpreter ends, and begins nothing more: no thread, and no executor.

    Example:
        >>> is_ending()
        False
    """
    return not threading.main_thread().is_alive()


class AtEnd:
    """Calls a function when the process ends, however its program is run.

    A process of ``multiprocessing`` (of a pool, of an executor) ends without ``atexit``, but for a
    spawned one; it has finalizers of its own.

    Args:
        function: What to call; after it was called once, that does nothing.
    """

    def __init__(self, function: Callable[[], object]) -> None:
        self._function = function
        self._finalizer = None
        atexit.register(function)
        processes = sys.modules.get("multiprocessing")  # such a process has loaded it
        if processes is not None and processes.parent_process() is not None:
            from multiprocessing.util import Finalize

            self._finalizer = Finalize(None, function, exitpriority=0)

    def cancel(self) -> None:
        """It need not be called any more."""
        atexit.unregister(self._function)
        if self._finalizer is not None:
            self._finalizer.cancel()
