"""What running tasks write, kept for their clients: see :mod:`armoflow.codec.written`."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from armoflow.agent.passages import STDERR, Passage
from armoflow.codec.clipping import clip
from armoflow.codec.written import PREFIX, WrittenText, pack_written, wanted_level
from armoflow.config import WRITTEN_BYTES

_NAME = 200
"""Characters of a result's name."""


class OutputKeeper:
    """The output of running tasks, as far as somebody wants it.

    Args:
        options: The options of a running task, by its id; None if it does not run (any more).

    Example:
        >>> from armoflow.agent.passages import STDOUT, Writer
        >>> written = OutputKeeper({"t": {"armoflow.logs": "0"}}.get)
        >>> written.hear([Passage(Writer("t", "s", "f[1]"), STDOUT, "", "hot")])
        >>> result = written.take("t")
        >>> result.name, written.take("t")
        ('written/f', None)
    """

    def __init__(self, options: Callable[[str], Mapping[str, str] | None]) -> None:
        self._options = options
        self._tasks: dict[str, _Text] = {}

    def hear(self, passages: Iterable[Passage]) -> None:
        """Tasks have written something."""
        for passage in passages:
            task_id = passage.writer.task_id
            text = self._tasks.get(task_id)
            if text is None:
                level = wanted_level(self._options(task_id) or {})
                if level is None:
                    continue
                text = self._tasks[task_id] = _Text(level)
            text.add(passage)

    def take(self, task_id: str) -> WrittenResult | None:
        """A task is over: the result for what it has written, if it has and that is wanted."""
        text = self._tasks.pop(task_id, None) if self._tasks else None
        return text.result() if text is not None and text.parts else None


class WrittenResult(NamedTuple):
    """A result to be: its name and its data."""

    name: str
    data: bytes


class _Text:
    """What one task has written, the newest of it."""

    def __init__(self, level: int) -> None:
        self.parts: deque[WrittenText] = deque()
        self._level = level
        self._size = self._left_out = 0

    def add(self, passage: Passage) -> None:
        writer, level, logger, text = passage
        if level < self._level:
            return
        self.parts.append(WrittenText(time.time(), writer.name, level, logger, text))
        self._size += len(text)
        while self._size > WRITTEN_BYTES and len(self.parts) > 1:
            oldest = self.parts.popleft()
            self._size -= len(oldest.text)
            self._left_out += oldest.text.count("\n") + 1

    def result(self) -> WrittenResult:
        first = self.parts[0]
        parts: Sequence[WrittenText] = self.parts
        if self._left_out:
            text = f"[{self._left_out:,} lines left out: only the newest are stored]"
            parts = [WrittenText(first.time, first.name, STDERR, "armoflow", text), *parts]
        name = clip(PREFIX + first.name.partition("[")[0], _NAME)
        return WrittenResult(name, b"".join(pack_written(parts)))
