"""What tasks write, no faster than somebody can read it."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from armoflow.agent.passages import NOBODY, Passage
from armoflow.config import OUTPUT_RATE


class Throttle:
    r"""Lets so many lines pass in each second, and counts the others.

    Example:
        >>> from armoflow.agent.passages import STDOUT
        >>> throttle, passage = Throttle(2), Passage(NOBODY, STDOUT, "", "a\nb\nc")
        >>> [one.text for one in throttle.take([passage, passage], 10.0)]
        ['a\nb']
        >>> [one.text for one in throttle.take([passage], 11.5)]
        ['[4 lines left out: too many in a second]', 'a\nb']
        >>> [one.text for one in throttle.rest()]
        ['[1 line left out: too many in a second]']
    """

    def __init__(self, rate: int = OUTPUT_RATE) -> None:
        self._rate = rate
        self._room = 0
        self._until = 0.0
        self._missing = 0

    def take(self, passages: Iterable[Passage], now: float) -> list[Passage]:
        """What of it is told."""
        told: list[Passage] = []
        if now >= self._until:
            self._until, self._room = now + 1.0, self._rate
            told += self.rest()
        for passage in passages:
            room = self._room
            lines = passage.text.split("\n") if room else ()
            if lines:
                self._room -= min(len(lines), room)
                told.append(passage._replace(text="\n".join(lines[:room])))
            self._missing += passage.text.count("\n") + 1 - min(len(lines), room)
        return told

    def rest(self) -> list[Passage]:
        """How many lines were left out since this was told last."""
        if not self._missing:
            return []
        lines = "1 line" if self._missing == 1 else f"{self._missing:,} lines"
        self._missing = 0
        text = f"[{lines} left out: too many in a second]"
        return [Passage(NOBODY, logging.WARNING, "armoflow", text)]
