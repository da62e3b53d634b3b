"""Bars in a notebook: HTML that is replaced while somebody waits, and stays as it was at last."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from armoflow.client.html import bars_html
from armoflow.orchestrator.tally import Count

INTERVAL = 0.5
"""Seconds between two pictures: each is a message to the browser."""


class NotebookBars:
    """The bars of one wait."""

    def __init__(self) -> None:
        self._begun = self._drawn = time.monotonic()
        self._before: dict[str, int] | None = None
        self._handle: Any = None
        self._last: tuple[Mapping[str, Count], str] = ({}, "")

    def draw(self, counts: Mapping[str, Count], reason: str) -> None:
        """Show what is so now."""
        self._last = counts, reason
        if self._before is None:
            self._before = {name: count.ended for name, count in counts.items()}
        if self._handle is None or time.monotonic() - self._drawn >= INTERVAL:
            self._show()

    def write(self, stream: Any, text: str) -> None:
        """Write whole lines: they stand below."""
        stream.write(text)
        stream.flush()

    def close(self) -> None:
        """Leave what was so at last."""
        self._last = self._last[0], ""
        if self._handle is not None:
            self._show()

    def _show(self) -> None:
        from IPython.display import HTML, display

        self._drawn = time.monotonic()
        counts, reason = self._last
        before, seconds = self._before or {}, self._drawn - self._begun
        rates = {
            name: (count.ended - before.get(name, 0)) / seconds
            for name, count in counts.items()
            if seconds
        }
        picture = HTML(bars_html(counts, reason, rates))
        if self._handle is None:
            self._handle = display(picture, display_id=True)
        else:
            self._handle.update(picture)
