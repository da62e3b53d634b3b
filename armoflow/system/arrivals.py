"""Where files go that arrive in this process."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from armoflow.system.temporary import TemporaryDirectory

_named: str | None = None
_own: TemporaryDirectory | None = None
_lock = threading.Lock()


def arrive_in(directory: str) -> None:
    """Have what arrives go into a directory that somebody removes when this process has ended.

    Args:
        directory: Of this process; who started it removes it, also if it was killed.
    """
    global _named  # noqa: PLW0603 - one place for the process, said at its start
    _named = os.path.abspath(directory)  # noqa: PTH100 - no pathlib in children


def arrivals() -> str:
    """That directory; where none was named, one that goes with this process, however that ends.

    Raises:
        EngineError: If there is no place for it.
    """
    global _own  # noqa: PLW0603 - one for the process, made when something arrives
    if _named is not None:
        return _named
    with _lock:
        if _own is None:
            from armoflow.system.process_end import AtEnd  # children go without
            from armoflow.system.temporary import TemporaryDirectory

            _own = TemporaryDirectory()
            AtEnd(_remove)
    return str(_own.path)


def _remove() -> None:
    if _own is not None:
        _own.remove()


def _forked() -> None:
    """What the parent has is the parent's."""
    global _own, _lock
    _own, _lock = None, threading.Lock()


os.register_at_fork(after_in_child=_forked)
