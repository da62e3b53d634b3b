"""Bars in a terminal: drawn over and over, and gone when whoever waits goes on."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from armoflow.client.streams import is_terminal
from armoflow.orchestrator.tally import Count
from armoflow.report.wording import pace

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID


class TerminalBars:
    """The bars of one wait.

    Args:
        console: Where to draw; by default the standard error.
    """

    def __init__(self, console: Console | None = None) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        self._bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("[progress.download]{task.fields[done]}"),
            TextColumn("{task.fields[more]}"),
            TextColumn("{task.fields[pace]}"),
            console=console or Console(stderr=True),
            transient=True,
            auto_refresh=False,
            # What the program prints comes above the bars, unless it goes elsewhere.
            redirect_stdout=is_terminal(sys.stdout),
            redirect_stderr=is_terminal(sys.stderr),
        )
        self._rows: dict[str, TaskID] = {}
        self._bars.start()

    def draw(self, counts: Mapping[str, Count], rates: Mapping[str, float], reason: str) -> None:
        """Show what is so now."""
        bars = self._bars
        for task in bars.tasks:
            bars.update(task.id, visible=False)
        for name, count in counts.items():
            bars.update(
                self._row(name),
                total=count.planned,
                completed=count.ended + count.part,
                done=f"{count.ended}/{count.planned}",
                visible=True,
                more=_more(count),
                pace=pace(count.left, rates.get(name, 0.0)),
            )
        if reason:
            bars.update(self._row(""), description=reason, visible=True)
        bars.refresh()

    def write(self, stream: Any, text: str) -> None:
        """Write whole lines above."""
        console = self._bars.console
        console.print(text, end="", markup=False, highlight=False, soft_wrap=True)

    def close(self) -> None:
        """Leave nothing on the screen, and standard streams as the program has set them."""
        from rich.file_proxy import FileProxy

        found = sys.stdout, sys.stderr
        try:
            self._bars.stop()
        finally:
            for name, stream in zip(("stdout", "stderr"), found, strict=True):
                if not isinstance(stream, FileProxy):
                    setattr(sys, name, stream)

    def _row(self, name: str) -> TaskID:
        row = self._rows.get(name)
        if row is None:
            row = self._rows[name] = _hidden_row(self._bars, name)
        return row


def _more(count: Count) -> str:
    """What else is known of a name, in rich's markup."""
    from rich.markup import escape

    parts = (
        (count.running, "running", "cyan"),
        (count.failed, "failed", "red"),
        (count.repeated, "retried", "yellow"),
    )
    words = [f"[{style}]{number:,} {word}[/]" for number, word, style in parts if number]
    return " ".join([*words, escape(count.told)] if count.told else words)


def _hidden_row(bars: Progress, name: str) -> TaskID:
    """A new row; it is shown once it says something."""
    return bars.add_task(name, total=None, visible=False, done="", more="", pace="")
