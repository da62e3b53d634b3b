"""Bars in a notebook: HTML that is replaced while somebody waits, and stays as it was at last."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from armoflow.client.notebook_html import bars_html
from armoflow.orchestrator.tally import Count

INTERVAL = 0.5
"""Seconds between two pictures: each is a message to the browser."""


class NotebookBars:
    """The bars of one wait."""

    def __init__(self) -> None:
        self._drawn = 0.0
        self._handle: Any = None
        self._counts: Mapping[str, Count] = {}
        self._rates: Mapping[str, float] = {}

    def draw(self, counts: Mapping[str, Count], rates: Mapping[str, float], reason: str) -> None:
        """Show what is so now."""
        self._counts, self._rates = counts, rates
        if self._handle is None or time.monotonic() - self._drawn >= INTERVAL:
            self._show(reason)

    def write(self, stream: Any, text: str) -> None:
        """Write whole lines: they stand below."""
        stream.write(text)
        stream.flush()

    def close(self) -> None:
        """Leave what was so at last."""
        if self._handle is not None:
            self._show("")

    def _show(self, reason: str) -> None:
        from IPython.display import HTML, display

        self._drawn = time.monotonic()
        picture = HTML(bars_html(self._counts, reason, self._rates))
        if self._handle is None:
            self._handle = display(picture, display_id=True)
        else:
            self._handle.update(picture)
