"""What tasks write, shown at the client while they run."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, Literal

from armoflow.agent.passages import STDERR, Passage, Writer
from armoflow.agent.throttle import Throttle
from armoflow.client.progress import Display
from armoflow.client.streams import is_notebook, is_terminal, write
from armoflow.codec.unprintable import printable
from armoflow.system.printer import Printer

Logs = Literal["errors"] | bool

_CATCH_UP = 0.2
"""Seconds that a value waits for the output of its task to be shown."""


def least_level(logs: Logs | None) -> int | None:
    """From which level on output is shown; None: none is.

    By default all is where a person watches the standard output: a terminal, or a notebook.
    """
    if logs is None:
        logs = is_terminal(sys.stdout) or is_notebook(sys.stdout)
    if logs == "errors":
        return STDERR
    return logging.NOTSET if logs else None


class ShownOutput:
    """Shows lines, each after the name of its task.

    Args:
        least: The level from which on they are shown.
        display: The bars, between which they must not come; or nothing.
    """

    def __init__(self, least: int, display: Callable[[], Display | None]) -> None:
        self._least = least
        self._display = display
        self._throttle = Throttle()
        self._shown = False
        self._printer: Printer[str] = Printer(
            self._print, lambda count: f"{STDERR:02}armoflow | [{count:,} lines left out]"
        )

    def hear(self, passages: Sequence[Sequence[Any]]) -> None:
        """Show what tasks have written: task id, name, level, logger and text of each passage."""
        wanted = [
            Passage(Writer(task_id, "", name), level, logger, text)
            for task_id, name, level, logger, text in passages
            if level >= self._least
        ]
        self._show(self._throttle.take(wanted, time.monotonic()))

    def catch_up(self) -> None:
        """Wait a moment until all is shown that was heard: what comes next belongs behind it."""
        if self._shown:
            self._printer.wait(_CATCH_UP)

    def close(self) -> None:
        """Show no more; say how much was left out."""
        self._show(self._throttle.rest())
        self._printer.close()

    def _show(self, passages: Sequence[Passage]) -> None:
        for writer, level, _, text in passages:
            self._shown = True
            stream = f"{STDERR if level >= STDERR else 0:02}"
            prefix = f"{stream}{printable(writer.name or 'armoflow')} | "
            self._printer.put(prefix + printable(line) for line in text.split("\n"))

    def _print(self, lines: Sequence[str]) -> None:
        """Write lines, which begin with the stream that they go to."""
        display = self._display()
        some: list[str] = []
        for number, line in enumerate(lines, 1):
            some.append(line[2:] + "\n")
            if number == len(lines) or lines[number][:2] != line[:2]:
                stream = sys.stderr if line[:2] == f"{STDERR:02}" else sys.stdout
                text = "".join(some)
                some.clear()
                if display is None:
                    write(stream, text)
                else:
                    display.write(stream, text)
