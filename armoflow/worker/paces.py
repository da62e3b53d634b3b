"""How long the functions of one process take, measured as they run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

_KEPT = 4096
_WEIGHT = 0.5
"""Of the last call: what a first one pays for imports is soon forgotten."""


class Paces:
    """Seconds that a call takes, by the code that runs.

    Example:
        >>> paces = Paces()
        >>> paces.of(len) is None
        True
        >>> paces.note(len, 4.0); paces.note(len, 2.0); paces.of(len)
        3.0
    """

    def __init__(self) -> None:
        self._known: dict[int, tuple[Any, float]] = {}

    def of(self, function: Callable[..., Any]) -> float | None:
        """What calls of a function take on average, lately; None if there were none."""
        code = getattr(function, "__code__", function)
        known = self._known.get(id(code))
        return None if known is None else known[1]

    def note(self, function: Callable[..., Any], seconds: float) -> None:
        """A call of a function took so long."""
        code = getattr(function, "__code__", function)
        known = self._known.get(id(code))
        if known is not None:
            seconds = _WEIGHT * seconds + (1 - _WEIGHT) * known[1]
        elif len(self._known) >= _KEPT:
            del self._known[next(iter(self._known))]
        self._known[id(code)] = code, seconds  # held, so that its id stays its own
