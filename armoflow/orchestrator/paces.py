"""How long functions take, as it was measured here or as others have told.

The process that runs a task uses it to decide which calls of a returned graph it begins itself, and
how many of the others travel together. A payload carries what is known of the tasks that its
function may call; so what the client, or another worker, has measured is not measured again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from types import CodeType, FunctionType
from typing import Any, NamedTuple, TypeAlias

from armoflow import config

CodePlace: TypeAlias = "tuple[str, str, int]"
"""Name, file and line."""

_KEPT = 4096
_WEIGHT = 0.5
"""Of the last call: what a first one pays for imports is soon forgotten."""

_EXPANDS, _LARGE = 1, 2
"""What is told of a function's calls besides numbers."""

_LOOKED_AT = 64
"""Functions that are looked at, at most, to find out which tasks one may call."""


def place_of(function: Callable[..., Any]) -> CodePlace:
    """Where the code of a function stands.

    A function that is pickled by value is another object, with other code, in each process, and
    each time it is pickled anew.

    Example:
        >>> place_of(len)
        ('len', 'builtins', 0)
    """
    code = getattr(function, "__code__", None)
    if isinstance(code, CodeType):
        return code.co_name, code.co_filename, code.co_firstlineno
    kind = function if hasattr(function, "__qualname__") else type(function)
    return kind.__qualname__, str(getattr(kind, "__module__", "")), 0


class FunctionPace(NamedTuple):
    """What is known of a function's calls.

    Attributes:
        seconds: What one takes.
        calls: How many were measured.
        expands: They have returned graphs.
        large: Their values are so large that each is a result of its own.
    """

    seconds: float
    calls: int
    expands: bool = False
    large: bool = False


class Paces:
    """Seconds that a call takes, by the code that runs.

    Example:
        >>> paces = Paces()
        >>> paces.of(len) is None
        True
        >>> paces.note(len, 4.0); paces.note(len, 2.0); paces.of(len)
        3.0
        >>> paces.find(len).calls
        2
    """

    def __init__(self) -> None:
        self._known: dict[CodePlace, tuple[float, int]] = {}
        self._expanding: set[CodePlace] = set()
        self._large: set[CodePlace] = set()
        self._places: dict[int, tuple[Any, CodePlace]] = {}
        self._called: dict[int, tuple[Any, Sequence[CodePlace]]] = {}
        self._waiting = 0
        self._told = threading.Condition()

    def of(self, function: Callable[..., Any]) -> float | None:
        """What calls of a function take on average, lately; None if there were none."""
        known = self._known.get(self._place(function))
        return None if known is None else known[0]

    def find(self, function: Callable[..., Any]) -> FunctionPace | None:
        """All that is known of a function's calls; None if there were none."""
        place = self._place(function)
        known = self._known.get(place)
        if known is None:
            return None
        return FunctionPace(*known, place in self._expanding, place in self._large)

    def note(self, function: Callable[..., Any], seconds: float, calls: int = 1) -> None:
        """So many calls of a function took so long each."""
        place = self._place(function)
        known = self._known.get(place)
        if known is None:
            self._set(place, seconds, calls)
        else:
            before, more = known
            self._known[place] = _WEIGHT * seconds + (1 - _WEIGHT) * before, calls + more

    def wait(self, function: Callable[..., Any], seconds: float) -> bool:
        """Wait until something is known of a function, for so long at most; whether it is."""
        place = self._place(function)
        with self._told:
            self._waiting += 1
            try:
                return self._told.wait_for(lambda: place in self._known, seconds)
            finally:
                self._waiting -= 1

    def expands(self, function: Callable[..., Any]) -> bool:
        """Whether calls of a function have returned graphs."""
        return self._place(function) in self._expanding

    def note_size(self, function: Callable[..., Any], size: float) -> None:
        """The value of a call has so many bytes."""
        if size > config.INLINE_DATA_LIMIT:
            _add(self._large, self._place(function))

    def note_graph(self, function: Callable[..., Any]) -> None:
        """A call of a function returned a graph."""
        _add(self._expanding, self._place(function))

    # --- what others are told, and tell ---------------------------------------------------------

    def names_tasks(self, function: Callable[..., Any]) -> bool:
        """Whether a function may call tasks, as far as its names tell."""
        return bool(self._called_by(function))

    def tell(self, function: Callable[..., Any]) -> Sequence[Sequence[Any]]:
        """What is known of the tasks that a function may call, as it travels."""
        return self._tell(self._called_by(function))

    def known(self, functions: Iterable[Callable[..., Any]]) -> Sequence[Sequence[Any]]:
        """What is known of some functions, as it travels."""
        return self._tell(map(self._place, functions))

    def _tell(self, places: Iterable[CodePlace]) -> Sequence[Sequence[Any]]:
        known = self._known
        return [
            [*place, seconds, self._traits(place), calls]
            for place in places
            if place in known
            for seconds, calls in [known[place]]
        ]

    def _traits(self, place: CodePlace) -> int:
        return _EXPANDS * (place in self._expanding) + _LARGE * (place in self._large)

    def _called_by(self, function: Callable[..., Any]) -> Sequence[CodePlace]:
        code = getattr(function, "__code__", function)
        called = self._called.get(id(code))
        if called is None:
            if len(self._called) >= _KEPT:
                self._called.clear()
            called = self._called[id(code)] = code, [*dict.fromkeys(_called_by(function))]
        return called[1]

    def hear(self, told: Sequence[Sequence[Any]]) -> None:
        """Take what another process has told; what calls take only where nothing is known here."""
        for name, file, line, seconds, traits, calls in told:
            place = (name, file, line)
            if place not in self._known:
                self._set(place, seconds, calls)
            if traits & _EXPANDS:
                _add(self._expanding, place)
            if traits & _LARGE:
                _add(self._large, place)

    def _set(self, place: CodePlace, seconds: float, calls: int) -> None:
        if place not in self._known and len(self._known) >= _KEPT:
            del self._known[next(iter(self._known))]
        self._known[place] = seconds, calls
        if self._waiting:
            with self._told:
                self._told.notify_all()

    def _place(self, function: Callable[..., Any]) -> CodePlace:
        code = getattr(function, "__code__", function)
        known = self._places.get(id(code))
        if known is None:
            if len(self._places) >= _KEPT:
                self._places.clear()
            # Held, so that its id stays its own.
            known = self._places[id(code)] = code, place_of(function)
        return known[1]


def _add(places: set[CodePlace], place: CodePlace) -> None:
    if len(places) >= _KEPT:
        places.clear()
    places.add(place)


def _called_by(function: Callable[..., Any]) -> Iterator[CodePlace]:
    """Where the tasks stand that a function names, or one that it calls."""
    from armoflow.graph.base_task import BaseTask  # most workers run none of a graph

    stack: list[Any] = [function]
    seen: set[int] = set()
    while stack and len(seen) < _LOOKED_AT:
        value = stack.pop()
        if isinstance(value, BaseTask):
            yield place_of(value.function)
            value = value.function
        if type(value) is FunctionType and id(value) not in seen:
            seen.add(id(value))
            stack.extend(_named_by(value))


def _named_by(function: FunctionType) -> Iterator[Any]:
    """What the names in a function stand for, outside of it."""
    for cell in function.__closure__ or ():
        with suppress(ValueError):  # it may not be filled yet
            yield cell.cell_contents
    codes = [function.__code__]
    while codes:
        code = codes.pop()
        codes.extend(constant for constant in code.co_consts if isinstance(constant, CodeType))
        for name in code.co_names:
            if name in function.__globals__:
                yield function.__globals__[name]
