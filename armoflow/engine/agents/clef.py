"""What tasks have written, found again in the lines of a worker (see ``worker.log_format``)."""

from __future__ import annotations

from collections.abc import Iterator

from armoflow.agent.passages import STDOUT, Passage, Writer
from armoflow.config import MIB
from armoflow.texts import as_text, read_json
from armoflow.worker.log_format import LEVELS

_BEGINS = b'{"@t"'
_LONGEST = MIB
_FIELDS = ("taskId", "sessionId", "taskName", "SourceContext", "@l", "@m")


class ClefReader:
    r"""Reads a worker's output; what is no line about a task of a session is left out.

    Example:
        >>> line = '{"@t": "...", "@m": "hot", "@l": "Warning", "sessionId": "s", "taskId": "t"}'
        >>> reader = ClefReader()
        >>> (found,) = reader.feed(f"something else\n{line}\n".encode())
        >>> found.writer.task_id, found.level, found.text
        ('t', 30, 'hot')
    """

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[Passage]:
        """Take bytes; yields what stands in the lines that are whole."""
        *lines, rest = (self._rest + data).split(b"\n")
        self._rest = rest if len(rest) <= _LONGEST else b""
        for line in lines:
            passage = _read(line) if line.startswith(_BEGINS) else None
            if passage is not None:
                yield passage


def _read(line: bytes) -> Passage | None:
    fields = read_json(line)
    if not isinstance(fields, dict) or not fields.get("sessionId") or "@m" not in fields:
        return None
    texts = [fields.get(name, "") for name in _FIELDS]
    if not all(isinstance(one, str) for one in texts):
        return None
    *who, logger, level, text = map(as_text, texts)
    return Passage(Writer.of(*who), LEVELS.get(level or None, STDOUT), logger, text)
