"""Bars for who waits, in a terminal or a notebook: drawn by the waiting thread itself.

But for ``await future`` and :func:`concurrent.futures.wait`, whose threads do not come back to us
before the wait is over: beside these a thread draws, one for all of a client's.

So a wait of less than a second shows nothing. Who takes one value after the other waits often and
never for long: between such waits the bars stand where they are, as long as work is left, and what
the program prints meanwhile comes above them.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

from armoflow.client.streams import GONE, cell_of, is_notebook, is_terminal, write
from armoflow.orchestrator.tally import Count

if TYPE_CHECKING:
    from rich.console import Console

PATIENCE = 1.0
"""Seconds of waiting before something is shown."""

PAUSE = 0.5
"""Seconds between two waits that are taken for one: as of who takes one value after the other."""

LOOK = 0.1
"""Seconds after which is looked whether bars that nobody waits under are to go."""

BESIDE = 0.2
"""Seconds between two looks of the thread that draws beside waits."""

SHARE = 0.04
"""Of the time: what drawing may take where values come one after the other."""

LATELY = 30
"""Seconds that count for how many items end in one."""

SHOWN = 12
"""Bars at most: of more names those that are not done are shown, the newest first."""


def is_wanted(progress: bool | None) -> bool:
    """Whether bars are drawn: as was said, else where a person watches a terminal or a notebook."""
    if progress is not None:
        return progress
    return (is_notebook(sys.stdout) or is_terminal(sys.stderr)) and not os.environ.get("CI")


class Waiting:
    """One wait: told now and then that it goes on.

    Args:
        display: Where it is shown; None: nowhere.
    """

    __slots__ = ("_begun", "_display")

    def __init__(self, display: Display | None) -> None:
        self._display = display
        self._begun = 0.0 if display is None else display.begin()

    def __enter__(self) -> Waiting:
        self.glance()
        return self

    def __exit__(self, error: object = None, *_: object) -> None:
        if self._display is not None:
            self._display.hide(self, for_good=error is not None)

    def glance(self) -> None:
        """Something has come, or is waited for next: it is shown now and then."""
        if self._display is not None:
            now = time.monotonic()
            if now >= self._display.due and now - self._begun >= PATIENCE:
                self._display.show(self)

    def tick(self) -> None:
        """It goes on."""
        if self._display is not None and time.monotonic() - self._begun >= PATIENCE:
            self._display.show(self)


class ShownWaiters(list[Any]):
    """Those of :func:`concurrent.futures.wait` that wait for a future, while bars are shown.

    Args:
        display: Where they are shown.
    """

    def __init__(self, display: Display) -> None:
        super().__init__()
        self._display = display

    def append(self, waiter: Any) -> None:
        """One comes."""
        super().append(waiter)
        self._display.enter()

    def remove(self, waiter: Any) -> None:
        """One goes."""
        super().remove(waiter)
        self._display.leave()


class Rates:
    """How many items of each name end in a second, lately.

    Example:
        >>> rates = Rates()
        >>> rates.of({"load": Count(10, 2)}, 100.0)
        {}
        >>> rates.of({"load": Count(10, 5), "clean": Count(9, 1)}, 102.0)
        {'load': 1.5, 'clean': 0.5}
    """

    def __init__(self) -> None:
        self._samples: deque[tuple[float, dict[str, int]]] = deque(maxlen=LATELY)

    def of(self, counts: Mapping[str, Count], now: float) -> dict[str, float]:
        """What they are now, as far as that can be said."""
        if not self._samples or now - self._samples[-1][0] >= 1.0:
            self._samples.append((now, {name: count.ended for name, count in counts.items()}))
        begun, before = self._samples[0]
        if now <= begun:
            return {}
        return {
            name: (count.ended - before.get(name, 0)) / (now - begun)
            for name, count in counts.items()
        }


class Bars(Protocol):
    """Where one wait is shown."""

    def draw(self, counts: Mapping[str, Count], rates: Mapping[str, float], reason: str) -> None:
        """Show how far each name is, how many end in a second, and what is waited for."""

    def write(self, stream: Any, text: str) -> None:
        """Write whole lines."""

    def close(self) -> None:
        """The wait is over."""


class Display:
    """Draws the bars of one client.

    Args:
        counts: How far the work is.
        reason: What is waited for, if nothing ends; or nothing.
        refresh: Called when somebody looks.
        console: Where to draw; by default the standard error, or the notebook.

    Attributes:
        due: When it may be drawn again for who takes one value after the other.
    """

    def __init__(
        self,
        counts: Callable[[], Mapping[str, Count]],
        reason: Callable[[], str],
        refresh: Callable[[], None] = lambda: None,
        *,
        console: Console | None = None,
    ) -> None:
        self._counts = counts
        self._reason = reason
        self._refresh = refresh
        self._console = console
        self._lock = threading.Lock()
        self._owner: Waiting | None = None
        self._begun = time.monotonic()
        self._used = False
        self._gone = False  # who watched: the terminal was closed, the program goes on
        self._bars: Bars | None = None
        self._lasting: tuple[float, Bars] | None = None  # of a notebook, and of which row of waits
        self._closer: threading.Thread | None = None
        self._waits = 0  # those beside which a thread draws
        self._beside: threading.Thread | None = None
        self._over = threading.Event()
        self._since = self._left = -PAUSE
        self._cell = 0
        self._settled: Mapping[str, Count] = {}  # when the last wait ended
        self._before: dict[str, Count] = {}  # what earlier rows of waits have seen the end of
        self.due = 0.0
        self._rates = Rates()

    def begin(self) -> float:
        """Somebody waits; returns since when, with the waits right before."""
        now = time.monotonic()
        cell = cell_of(sys.stdout)
        if now - self._left >= PAUSE or cell != self._cell:
            self._since, self._cell = now, cell
            counts = self._counts()
            self._before = {
                name: count
                for known in (self._before, self._settled, counts)
                for name, count in known.items()
                if name in counts and not count.left
            }
        return self._since

    def enter(self) -> None:
        """Somebody waits who cannot tell that it goes on: a thread does, until :meth:`leave`."""
        with self._lock:
            self._waits += 1
            if self._beside is None and not self._over.is_set():
                self._beside = threading.Thread(target=self._draw_beside, daemon=True)
                self._beside.start()

    def leave(self) -> None:
        """One who entered waits no more."""
        with self._lock:
            self._waits -= 1

    def show(self, waiting: Waiting) -> None:
        """Draw what is so now, for the first that waits."""
        with self._lock, self._while_watched():
            if self._owner is None and not self._gone:
                self._owner, self._bars = waiting, self._bars or self._start()
            if self._owner is waiting and self._bars is not None:
                begun = time.monotonic()
                self._refresh()
                self._draw(self._bars)
                now = time.monotonic()
                self.due = now + (now - begun) / SHARE

    def hide(self, waiting: Waiting, *, for_good: bool = False) -> None:
        """The caller goes on; ``for_good``: it is not about to wait for the next value."""
        self._left = time.monotonic()
        self._settled = self._counts()
        with self._lock:
            if self._owner is waiting:
                self._owner = None
                if for_good or not self._may_stand():
                    self._close()
                elif self._closer is None:
                    self._closer = threading.Thread(target=self._take_away, daemon=True)
                    self._closer.start()
            elif for_good and self._owner is None:
                self._close()

    def close(self) -> None:
        """Nobody waits any more."""
        self._over.set()
        if (beside := self._beside) is not None:
            beside.join()
        with self._lock:
            self._owner = None
            self._close()

    def write(self, stream: Any, text: str) -> None:
        """Write whole lines: above the bars, if there are any now."""
        with self._lock:
            if self._bars is not None:
                self._bars.write(stream, text)
            else:
                write(stream, text)

    def summary(self) -> str:
        """A line about what was done; empty if nothing was drawn."""
        if not self._used:
            return ""
        counts = self._counts().values()
        failed = sum(count.failed for count in counts)
        done = sum(count.ended for count in counts) - failed
        seconds = time.monotonic() - self._begun
        failures = f", {failed:,} failed" if failed else ""
        return f"armoflow: {done:,} done in {seconds:.1f} s{failures}"

    def _draw_beside(self) -> None:
        gone = False
        while not gone:
            with Waiting(self) as waiting:
                while self._waits and not self._over.wait(BESIDE):
                    waiting.tick()
            with self._lock:
                gone = not self._waits or self._over.is_set()
                if gone:
                    self._beside = None

    def _may_stand(self) -> bool:
        """Whether bars may stand while nobody waits: not where a prompt comes, or all is done."""
        prompting = self._lasting is not None or hasattr(sys, "ps1")
        return not prompting and any(count.left for count in self._counts().values())

    def _take_away(self) -> None:
        """Close bars that stand, once no wait follows soon."""
        gone = False
        while not gone:
            time.sleep(LOOK)
            with self._lock:
                late = time.monotonic() - self._left >= PAUSE
                if self._owner is None and (late or not self._may_stand()):
                    self._close()
                gone = self._bars is None
                if gone:
                    self._closer = None

    def _close(self) -> None:
        bars, self._bars = self._bars, None
        if bars is not None:
            with self._while_watched():
                if self._lasting is not None:  # it stays as it is now
                    self._draw(bars)
                bars.close()

    @contextmanager
    def _while_watched(self) -> Iterator[None]:
        """Nothing is shown any more once that fails: the work does not depend on it."""
        try:
            yield
        except GONE:
            self._gone = True
            bars, self._bars = self._bars, None
            if bars is not None:
                with suppress(*GONE):
                    bars.close()

    def _start(self) -> Bars:
        self._used = True
        # Imported here: most waits are short.
        if self._console is None and is_notebook(sys.stdout):
            from armoflow.client.notebook_bars import NotebookBars

            if self._lasting is None or self._lasting[0] != self._since:
                self._lasting = self._since, NotebookBars()
            return self._lasting[1]
        from armoflow.client.terminal_bars import TerminalBars

        return TerminalBars(self._console)

    def _draw(self, bars: Bars) -> None:
        counts = {
            name: _since(self._before.get(name), count) for name, count in self._counts().items()
        }
        counts = {name: count for name, count in counts.items() if count.planned}
        rates = self._rates.of(counts, time.monotonic())
        if len(counts) > SHOWN:
            left = [name for name, count in counts.items() if count.left][-SHOWN:]
            counts = {name: counts[name] for name in left}
        bars.draw(counts, rates, self._reason())


def _since(before: Count | None, count: Count) -> Count:
    """What has come to a count."""
    if before is None or before.planned > count.planned:  # it was forgotten, and began anew
        return count
    return replace(
        count,
        planned=count.planned - before.planned,
        ended=count.ended - before.ended,
        failed=count.failed - before.failed,
        repeated=count.repeated - before.repeated,
    )
