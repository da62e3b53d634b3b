"""The last lines that were written, for errors."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from armoflow.agent.passages import Passage, Writer
from armoflow.codec.clipping import clip
from armoflow.config import OUTPUT_LINE, OUTPUT_LINES

_KEPT = 4 * OUTPUT_LINES
"""Lines: the stack that a dying process writes stands behind what its task has written."""


class LastLines:
    r"""Keeps the last lines, with their writers.

    Example:
        >>> from armoflow.agent.passages import STDOUT
        >>> lines, writer = LastLines(), Writer("id", "session", "f")
        >>> lines.add([Passage(writer, STDOUT, "", "\n".join(map(str, range(100))))])
        >>> lines.of(writer).split("\n")[0], lines.of(Writer())
        ('20', '')
    """

    def __init__(self) -> None:
        self._lines: deque[tuple[Writer, str]] = deque(maxlen=_KEPT)

    def add(self, passages: Iterable[Passage]) -> None:
        """They were written."""
        for passage in passages:
            lines = passage.text.rsplit("\n", _KEPT)[-_KEPT:]
            self._lines.extend((passage.writer, clip(line, OUTPUT_LINE)) for line in lines)

    def of(self, writer: Writer | None = None) -> str:
        """The last ones of a writer, or of all."""
        return "\n".join(line for who, line in self._lines if writer in (None, who))
