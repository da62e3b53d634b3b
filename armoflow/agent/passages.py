r"""What tasks write, cut into passages: whole lines, each with the task and item that wrote them.

All that a worker's process and what it starts write goes into one file, in order. Between it the
process puts *marks*, which say whose the text is: one that **opens**, before what it writes itself
or before it starts another process; and one that **closes**, at the end of a task, which takes what
nobody has opened. A mark begins with a byte that texts do not have and a token that only this
process has, so that whatever tasks write is text, or at worst a mark of their own.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from armoflow.codec.clipping import clip

LINE_LIMIT = 16 * 1024
"""Bytes of a line; a longer one is told in pieces."""

LOOSE_LIMIT = 256 * 1024
"""Bytes that wait for the mark that says whose they are."""

STDOUT, STDERR = 20, 30
"""Levels, as those of ``logging``, of what is no record of a log."""

_NAME = 1000
"""Characters of a name in a mark."""

_MARK_LIMIT = 16 * 1024
"""Bytes of a mark: what goes on for longer is none."""

_BEGIN, _BETWEEN, _END = b"\x1e", "\x1f", b"\n"
_CONTROL = dict.fromkeys((*range(32), 127), " ")


class Writer(NamedTuple):
    """Who wrote something.

    Attributes:
        task_id: The engine's task; empty where it is not known.
        session_id: Its session.
        name: The item, as errors name it.
    """

    task_id: str = ""
    session_id: str = ""
    name: str = ""

    @staticmethod
    def of(task_id: str, session_id: str, name: str) -> Writer:
        """Who is named so, in the form that marks have."""
        return Writer(task_id, session_id, clip(name.translate(_CONTROL), _NAME))


NOBODY = Writer()


class Passage(NamedTuple):
    """Lines of one writer.

    Attributes:
        writer: Who wrote them.
        level: ``STDOUT``, ``STDERR``, or that of the log's record.
        logger: Who logged it, if it is a record.
        text: The lines, without the last one's end.
    """

    writer: Writer
    level: int
    logger: str
    text: str


class _Mark(NamedTuple):
    opens: bool
    writer: Writer
    level: int
    logger: str


def open_mark(token: bytes, writer: Writer, level: int = STDOUT, logger: str = "") -> bytes:
    """What follows is theirs, until the next mark."""
    name = clip(logger.translate(_CONTROL), _NAME)
    return _pack(token, "+", writer, level, name)


def close_mark(token: bytes, writer: Writer) -> bytes:
    """What nobody has opened is theirs; what follows is not."""
    return _pack(token, "-", writer, STDOUT, "")


def _pack(token: bytes, kind: str, writer: Writer, level: int, logger: str) -> bytes:
    text = _BETWEEN.join([kind, *writer, str(level), logger])
    return b"".join([_BEGIN, token, text.encode(errors="replace"), _END])


class Passages:
    r"""Cuts what comes out of the file.

    Args:
        token: That of the process's marks.

    Attributes:
        last: Who was marked last.

    Example:
        >>> passages = Passages(b"token")
        >>> data = open_mark(b"token", Writer("id", "session", "f[1]")) + b"one\ntwo\nthr"
        >>> [(passage.writer.name, passage.text) for passage in passages.feed(data)]
        [('f[1]', 'one\ntwo')]
        >>> [passage.text for passage in passages.feed(close_mark(b"token", NOBODY))]
        ['thr']
    """

    def __init__(self, token: bytes) -> None:
        self.last = NOBODY
        self._start = _BEGIN + token
        self._rest = b""
        self._open: _Mark | None = None
        self._line = b""
        self._loose = b""

    def feed(self, data: bytes) -> list[Passage]:
        """Take bytes; returns the lines that are whole."""
        data = self._rest + data
        self._rest = b""
        found: list[Passage] = []
        begin = 0
        while (at := data.find(self._start, begin)) >= 0:
            found.extend(self._take(data[begin:at]))
            mark, begin = self._read(data, at + len(self._start))
            if begin < 0:  # the rest of the mark has not come
                self._rest = data[at:]
                return found
            if mark is not None:
                found.extend(self._heed(mark))
        kept = _beginning(data[begin:], self._start)
        self._rest = data[len(data) - kept :]
        found.extend(self._take(data[begin : len(data) - kept]))
        return found

    @property
    def unmarked(self) -> bool:
        """Whether there is text that nobody has opened."""
        return bool(self._loose)

    def settle(self, writer: Writer) -> list[Passage]:
        """What nobody has opened is theirs: returns the whole lines of it."""
        end = self._loose.rfind(b"\n") + 1
        lines, self._loose = self._loose[:end], self._loose[end:]
        return _passages(_Mark(True, writer, STDOUT, ""), lines)

    def skip(self) -> list[Passage]:
        """Something was left out, marks among it: nobody knows whose the rest is."""
        found, self._open, self._rest = self._finish(), None, b""
        return found

    def end(self, writer: Writer) -> list[Passage]:
        """Nothing more comes: what is left, whole or not; what nobody has opened is theirs."""
        found = self._finish()
        loose, self._loose = self._loose + self._rest, b""
        self._rest = b""
        return [*found, *_passages(_Mark(True, writer, STDOUT, ""), loose)]

    def _read(self, data: bytes, at: int) -> tuple[_Mark | None, int]:
        """The mark that goes on here, None if it is none; and where it ends, -1 if it does not."""
        end = data.find(_END, at, at + _MARK_LIMIT)
        if end < 0:
            return None, at if len(data) - at >= _MARK_LIMIT else -1
        try:
            kind, *who, level, logger = data[at:end].decode(errors="replace").split(_BETWEEN)
            return _Mark(kind == "+", Writer(*who), int(level), logger), end + 1
        except (ValueError, TypeError):  # a task has written it itself
            return None, at

    def _heed(self, mark: _Mark) -> Iterator[Passage]:
        yield from self._finish()
        loose, self._loose = self._loose, b""
        yield from _passages(mark._replace(level=STDOUT, logger=""), loose)
        self._open = mark if mark.opens else None
        self.last = mark.writer

    def _finish(self) -> list[Passage]:
        line, self._line = self._line, b""
        return [] if self._open is None else _passages(self._open, line)

    def _take(self, text: bytes) -> list[Passage]:
        if self._open is None:
            self._loose += text
            surplus = len(self._loose) - LOOSE_LIMIT
            if surplus <= 0:
                return []
            lines, self._loose = self._loose[:surplus], self._loose[surplus:]
            return _passages(_Mark(True, NOBODY, STDOUT, ""), lines)
        self._line += text
        end = self._line.rfind(b"\n") + 1
        if len(self._line) - end > LINE_LIMIT:
            end = len(self._line)
        lines, self._line = self._line[:end], self._line[end:]
        return _passages(self._open, lines)


def _beginning(data: bytes, start: bytes) -> int:
    """How many bytes at the end of some data may be the beginning of a mark."""
    at = data.rfind(start[:1], max(0, len(data) - len(start) + 1))
    return len(data) - at if at >= 0 and start.startswith(data[at:]) else 0


def _passages(mark: _Mark, lines: bytes) -> list[Passage]:
    if not lines:
        return []
    text = lines.decode(errors="replace").removesuffix("\n")
    if len(text) > LINE_LIMIT:
        text = "\n".join(piece for line in text.split("\n") for piece in _cut(line))
    if "\r" in text:  # what a terminal would show: a bar that was drawn over and over is one line
        text = "\n".join(map(_last_drawn, text.split("\n")))
    return [Passage(mark.writer, mark.level, mark.logger, text)]


def _cut(line: str) -> Iterator[str]:
    for begin in range(0, max(len(line), 1), LINE_LIMIT):
        yield line[begin : begin + LINE_LIMIT]


def _last_drawn(line: str) -> str:
    return line.rstrip("\r").rpartition("\r")[2]
