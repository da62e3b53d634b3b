"""How long the functions of one process take, measured as they run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from armoflow.codec.places import CodePlace, place_of

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
        self._known: dict[CodePlace, float] = {}
        self._expanding: set[CodePlace] = set()
        self._places: dict[int, tuple[Any, CodePlace]] = {}

    def of(self, function: Callable[..., Any]) -> float | None:
        """What calls of a function take on average, lately; None if there were none."""
        return self._known.get(self._place(function))

    def note(self, function: Callable[..., Any], seconds: float) -> None:
        """A call of a function took so long."""
        place = self._place(function)
        known = self._known.get(place)
        if known is not None:
            seconds = _WEIGHT * seconds + (1 - _WEIGHT) * known
        elif len(self._known) >= _KEPT:
            del self._known[next(iter(self._known))]
        self._known[place] = seconds

    def expands(self, function: Callable[..., Any]) -> bool:
        """Whether calls of a function have returned graphs."""
        return self._place(function) in self._expanding

    def note_graph(self, function: Callable[..., Any]) -> None:
        """A call of a function returned a graph."""
        if len(self._expanding) >= _KEPT:
            self._expanding.clear()
        self._expanding.add(self._place(function))

    def _place(self, function: Callable[..., Any]) -> CodePlace:
        code = getattr(function, "__code__", function)
        known = self._places.get(id(code))
        if known is None:
            if len(self._places) >= _KEPT:
                self._places.clear()
            # Held, so that its id stays its own.
            known = self._places[id(code)] = code, place_of(function)
        return known[1]
