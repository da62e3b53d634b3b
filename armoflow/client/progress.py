"""Bars for who waits: drawn by the waiting thread itself, and gone when it goes on.

So nothing runs beside the user's program, nothing is drawn over what it prints, and a wait of less
than a second shows nothing.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from armoflow.orchestrator.tally import Count

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

PATIENCE = 1.0
"""Seconds of waiting before something is shown."""

SHOWN = 12
"""Bars at most: of more names those that are not done are shown, the newest first."""


def is_wanted(progress: bool | None) -> bool:
    """Whether bars are drawn: as was said, else where a person watches a terminal."""
    if progress is not None:
        return progress
    try:
        return sys.stderr.isatty() and not os.environ.get("CI")
    except (AttributeError, ValueError):  # there is none, one of the user's own, or it is closed
        return False


class Waiting:
    """One wait: told now and then that it goes on.

    Args:
        display: Where it is shown; None: nowhere.
    """

    __slots__ = ("_begun", "_display")

    def __init__(self, display: Display | None) -> None:
        self._display = display
        self._begun = time.monotonic()

    def __enter__(self) -> Waiting:
        return self

    def __exit__(self, *_: object) -> None:
        if self._display is not None:
            self._display.hide(self)

    def tick(self) -> None:
        """It goes on."""
        if self._display is not None and time.monotonic() - self._begun >= PATIENCE:
            self._display.show(self)


class Display:
    """Draws the bars of one client.

    Args:
        counts: How far the work is.
        reason: What is waited for, if nothing ends; or nothing.
        console: Where to draw; by default the standard error.
    """

    def __init__(
        self,
        counts: Callable[[], Mapping[str, Count]],
        reason: Callable[[], str],
        console: Console | None = None,
    ) -> None:
        self._counts = counts
        self._reason = reason
        self._console = console
        self._lock = threading.Lock()
        self._owner: Waiting | None = None
        self._begun = time.monotonic()
        self._used = False
        self._bars: Progress | None = None
        self._rows: dict[str, TaskID] = {}

    def show(self, waiting: Waiting) -> None:
        """Draw what is so now, for the first that waits."""
        with self._lock:
            if self._owner is None:
                self._owner, self._bars = waiting, self._start()
            if self._owner is waiting and self._bars is not None:
                self._draw(self._bars)

    def hide(self, waiting: Waiting) -> None:
        """Leave nothing on the screen: the caller goes on."""
        with self._lock:
            if self._owner is waiting:
                self._owner = None
                if self._bars is not None:
                    self._bars.stop()
                self._bars = None
                self._rows.clear()

    def write(self, stream: Any, text: str) -> None:
        """Write whole lines: above the bars, if there are any now."""
        with self._lock:
            if self._bars is not None:
                console = self._bars.console
                console.print(text, end="", markup=False, highlight=False, soft_wrap=True)
            else:
                write(stream, text)

    def close(self) -> None:
        """Say in a line what was done, if bars were drawn."""
        if not self._used:
            return
        counts = self._counts().values()
        ended, failed = sum(c.ended for c in counts), sum(c.failed for c in counts)
        seconds = time.monotonic() - self._begun
        failures = f", {failed:,} failed" if failed else ""
        print(f"armoflow: {ended:,} done in {seconds:.1f} s{failures}", file=sys.stderr)

    def _start(self) -> Progress:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
        from rich.progress import TimeRemainingColumn as Remaining

        self._used = True
        bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[more]}", style="red"),
            TextColumn("{task.fields[rate]}"),
            Remaining(compact=True),
            console=self._console or Console(stderr=True),
            transient=True,
            auto_refresh=False,
        )
        bars.start()
        return bars

    def _draw(self, bars: Progress) -> None:
        counts = self._counts()
        left = [name for name, count in counts.items() if count.left]
        shown = set(left[-SHOWN:]) if len(counts) > SHOWN else set(counts)
        for name, count in counts.items():
            row = self._rows.get(name)
            if row is None:
                row = self._rows[name] = _hidden_row(bars, name)
            speed = bars.tasks[bars.task_ids.index(row)].speed
            bars.update(
                row,
                total=count.planned,
                completed=count.ended,
                visible=name in shown,
                more=f"{count.failed:,} failed" if count.failed else "",
                rate=f"{speed:,.1f}/s" if speed else "",
            )
        self._tell(bars, self._reason())
        bars.refresh()

    def _tell(self, bars: Progress, reason: str) -> None:
        """A last line with what is waited for."""
        row = self._rows.get("")
        if row is None and reason:
            row = self._rows[""] = _hidden_row(bars, "")
        if row is not None:
            bars.update(row, description=reason, visible=bool(reason))


def write(stream: Any, text: str) -> None:
    """Write to a standard stream, whatever it is and can encode."""
    if stream is not None:
        encoding = getattr(stream, "encoding", None) or "utf-8"
        stream.write(text.encode(encoding, "replace").decode(encoding, "replace"))
        stream.flush()


def _hidden_row(bars: Progress, name: str) -> TaskID:
    """A new row; it is shown once it says something."""
    return bars.add_task(name, total=None, visible=False, more="", rate="")
