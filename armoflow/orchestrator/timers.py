"""Tells paces what calls took that nobody packs: the first of a function, those of a subgraph."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from armoflow import config
from armoflow.orchestrator.paces import Paces

_LEAST = 1e-6
"""Seconds that a call takes at least, so that what it is of others is not lost."""


class CallTimer:
    """Told how long tasks ran that call some functions; see ``sizes.BatchSizer``.

    Which function took how much of it is taken to be as it was known before.

    Args:
        paces: Told what one call takes.
        calls: How often each function is called.
        each: What a call costs besides what the function takes.

    Example:
        >>> paces = Paces()
        >>> CallTimer(paces, {len: 1}).measured(1, 4.0); round(paces.of(len), 3)
        4.0
        >>> CallTimer(paces, {len: 2}).measured(1, 6.0); round(paces.of(len), 3)
        3.5
    """

    fixed = False

    def __init__(
        self, paces: Paces, calls: Mapping[Callable[..., Any], int], each: float = 0.0
    ) -> None:
        self.curious = True
        self._paces = paces
        self._calls = calls
        self._before = {function: paces.of(function) or 0.0 for function in calls}
        expected = (count * (self._before[function] + each) for function, count in calls.items())
        self._expected = sum(expected)

    @property
    def known(self) -> bool:
        """Whether something is known of all functions."""
        return all(self._paces.of(function) is not None for function in self._calls)

    def next(self, position: int) -> int:
        """Always one."""
        return 1

    def planned(self, items: int, size: int) -> None:
        """Changes nothing."""

    def measured(self, items: int, seconds: float) -> None:
        """The task of all calls took so long."""
        seconds = max(seconds - config.TASK_SECONDS, 0.0)
        for function, before in self._before.items():
            each = before * seconds / self._expected if self._expected else seconds
            self._paces.note(function, max(each, _LEAST), self._calls[function])

    def weighed(self, items: int, size: int) -> None:
        """The task's value, which is that of its only call if it has one, has so many bytes."""
        if len(self._calls) == 1:
            for function, count in self._calls.items():
                if count == 1:
                    self._paces.note_size(function, size)

    def unmeasurable(self) -> None:
        """Then nobody knows."""
        self.curious = False

    def finish(self) -> None:
        """It is not asked for any more."""
        self.curious = False
