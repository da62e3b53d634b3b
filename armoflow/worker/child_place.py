"""What a task has of the worker process that it runs in."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from armoflow.running import PROGRESS

if TYPE_CHECKING:
    from armoflow.codec.payload import Settings
    from armoflow.options import TaskOptions
    from armoflow.resources import Resources
    from armoflow.worker.output import Output
    from armoflow.worker.process_state import ProcessState

_PAUSE = 0.1
"""Seconds between two lines that tell how far a task is."""


class ChildPlace:
    """The process, for all tasks that run in it.

    Args:
        output: Where lines are written.
        surroundings: What is put back after tasks, but for what resources have changed.
    """

    def __init__(self, output: Output, surroundings: ProcessState) -> None:
        self._output = output
        self._surroundings = surroundings
        self._next = 0.0

    @functools.cached_property
    def resources(self) -> Resources:
        """What tasks share here."""
        from armoflow.resources import Resources  # most processes have none

        return Resources(self._building)

    def of(self, settings: Settings) -> ChildTaskPlace:
        """As a task has it that runs with these."""
        return ChildTaskPlace(self, settings)

    def tell(self, line: str, *, last: bool) -> None:
        """Write how far a task is."""
        now = time.monotonic()
        if last or now >= self._next:
            self._next = now + _PAUSE
            self._output.tell(line, PROGRESS)

    def close(self) -> None:
        """Close what tasks have shared."""
        if "resources" in self.__dict__:
            self.resources.close()

    @contextmanager
    def _building(self) -> Iterator[None]:
        with self._surroundings.loading():
            yield
        self._surroundings.adopt_threads()


class ChildTaskPlace:
    """The process, for one task.

    Args:
        process: The process.
        settings: What the task runs with.
    """

    def __init__(self, process: ChildPlace, settings: Settings) -> None:
        self._process = process
        self._settings = settings
        self.tell = process.tell

    @property
    def resources(self) -> Resources:
        """What tasks share here."""
        return self._process.resources

    def options(self) -> TaskOptions:
        """The options that it runs with."""
        from armoflow.worker.job import options_of

        return options_of(self._settings)
