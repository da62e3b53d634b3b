"""How a worker's lines look: for ArmoniK's log collector, or for people.

The collector reads one JSON object a line, in CLEF: ``@t``, ``@m``, ``@l`` where the level is not
Information, then properties. Those that tell the task are named as ArmoniK's own services do it.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from typing import Any, Final, TypeAlias

from armoflow.agent.passages import Passage, Writer
from armoflow.codec.unprintable import printable

LEVELS: Final[dict[str | None, int]] = {
    "Fatal": logging.CRITICAL,
    "Error": logging.ERROR,
    "Warning": logging.WARNING,
    None: logging.INFO,  # Information, if nothing is said
    "Debug": logging.DEBUG,
}
"""Levels by their names in CLEF, the gravest first."""

Format: TypeAlias = Callable[[float, int, str, str, Writer], str]
"""Makes a line of a time, a level, a logger, a text and the task."""


def clef(moment: float, level: int, logger: str, text: str, writer: Writer) -> str:
    """A line for the collector.

    Example:
        >>> clef(0.0, logging.WARNING, "mine", "hot", Writer("id", "session", "f[3]"))
        ... # doctest: +NORMALIZE_WHITESPACE
        '{"@t": "1970-01-01T00:00:00.000000Z", "@m": "hot", "@l": "Warning",
        "SourceContext": "mine", "taskId": "id", "sessionId": "session", "taskName": "f[3]"}'
    """
    time = datetime.fromtimestamp(moment, timezone.utc).isoformat(timespec="microseconds")
    fields: dict[str, Any] = {
        "@t": time.replace("+00:00", "Z"),
        "@m": text,
        "@l": next((name for name, least in LEVELS.items() if level >= least), "Verbose"),
        "SourceContext": logger,
        "taskId": writer.task_id,
        "sessionId": writer.session_id,
        "taskName": writer.name,
    }
    return json.dumps({name: value for name, value in fields.items() if value})


def plain(moment: float, level: int, logger: str, text: str, writer: Writer) -> str:
    """A line for people.

    Example:
        >>> plain(0.0, logging.INFO, "", "done", Writer("id", "session", "f[3]"))
        'f[3] (id): done'
        >>> plain(0.0, logging.INFO, "armoflow", "ready", Writer())
        'INFO armoflow: ready'
    """
    if writer.name:
        return f"{writer.name} ({writer.task_id}): {printable(text)}"
    return f"{logging.getLevelName(level)} {logger}: {text}"


FORMATS: Final[dict[str, Format]] = {"clef": clef, "text": plain}


def lines_of(passage: Passage, moment: float, form: Format) -> Iterator[bytes]:
    """The lines of what a task wrote."""
    writer, level, logger, text = passage
    for line in text.split("\n"):
        yield form(moment, level, logger, line, writer).encode(errors="replace")


class LineHandler(logging.Handler):
    """Puts the worker's own log among the lines.

    Args:
        form: How they look.
        put: Prints them.
    """

    def __init__(self, form: Format, put: Callable[[list[bytes]], None]) -> None:
        super().__init__()
        self._form = form
        self._put = put

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record."""
        try:
            text = self.format(record)
            line = self._form(record.created, record.levelno, record.name, text, Writer())
            self._put([line.encode(errors="replace")])
        except Exception:
            self.handleError(record)
