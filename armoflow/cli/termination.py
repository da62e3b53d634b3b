"""Commands that are told to end leave nothing behind, as those that Ctrl-C ends."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final, NoReturn

_NUMBERS: Final = (signal.SIGTERM, signal.SIGHUP)


@contextmanager
def ending_in_order() -> Iterator[None]:
    """TERM and HUP raise ``SystemExit`` meanwhile: what is under way is ended, and removed.

    A HUP that is ignored (``nohup``) stays ignored.
    """
    before = {number: signal.getsignal(number) for number in _NUMBERS}
    changed = [number for number in _NUMBERS if before[number] is not signal.SIG_IGN]
    for number in changed:
        signal.signal(number, _end)
    try:
        yield
    finally:
        for number in changed:
            signal.signal(number, before[number])


def _end(number: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)
