"""What tells one worker resource from another: what its function says, closes over, and uses.

A function comes to a process with each task that uses it, as another copy. Copies are the same, and
one that was edited, or finds another value under a global name, is not.
"""

from __future__ import annotations

import hashlib
import pickle
import sys
import types
from collections.abc import Callable, Hashable, Iterator
from typing import Any

import cloudpickle


class Same:
    """A value that is only the same as itself; holds it, so that nothing else takes its address.

    Example:
        >>> first, second = [], []
        >>> Same(first) == Same(first), Same(first) == Same(second)
        (True, False)
    """

    def __init__(self, value: object) -> None:
        self._value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same) and other._value is self._value

    def __hash__(self) -> int:
        return id(self._value)


def key_of_function(function: Callable[..., Any]) -> Hashable:
    """The same for each copy of a function, as long as what it uses is the same.

    Functions that it calls count if they are of its own module or came by value; what can be
    imported from elsewhere counts by its name.

    Example:
        >>> def of(value):
        ...     return lambda: value
        >>> key_of_function(of(1)) == key_of_function(of(1)), key_of_function(of(1)) == \
key_of_function(of(2))
        (True, False)
    """
    walk = _FunctionWalk(getattr(function, "__module__", None))
    walk.number(function)
    return tuple(walk.pieces)


class _FunctionWalk:
    """A function and those that it uses, each once; they refer to each other by their numbers.

    Args:
        module: Of the first one.
    """

    def __init__(self, module: str | None) -> None:
        self._module = module
        self.pieces: list[Hashable] = []
        self._numbers: dict[types.FunctionType, int] = {}

    def number(self, function: Any) -> Hashable:
        """The number of a function; of what else can be called, what stands for it."""
        if not isinstance(function, types.FunctionType):
            self.pieces.append(self._value(function))
        elif function not in self._numbers:
            number = self._numbers[function] = len(self.pieces)
            self.pieces.append(None)
            self.pieces[number] = self._piece(function)
        return self._numbers.get(function)

    def _piece(self, function: types.FunctionType) -> Hashable:
        code = function.__code__
        cells = zip(code.co_freevars, function.__closure__ or (), strict=True)
        found = function.__globals__
        return (
            *(function.__module__, function.__qualname__, code),
            tuple((name, self._cell(cell)) for name, cell in cells),
            self._value((function.__defaults__, function.__kwdefaults__)),
            tuple((name, self._value(found.get(name))) for name in sorted(set(_names(code)))),
        )

    def _is_elsewhere(self, value: Any) -> bool:
        """Whether it can be imported, from another module than the script or that of the first."""
        module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", "")
        if module in ("__main__", self._module):
            return False
        found: Any = sys.modules.get(module or "")
        for part in name.split("."):
            found = getattr(found, part, None)
        return found is value

    def _cell(self, cell: types.CellType) -> Hashable:
        try:
            return self._value(cell.cell_contents)
        except ValueError:  # nothing was put into it yet
            return None

    def _value(self, value: Any) -> Hashable:
        """What stands for a value: how it is pickled; where that tells nothing, itself."""
        if isinstance(value, (types.ModuleType, type)):
            return value if isinstance(value, type) else value.__name__
        if isinstance(value, types.FunctionType) and not self._is_elsewhere(value):
            return self.number(value)
        inner = getattr(value, "__wrapped__", None)
        if inner is not None and not self._is_elsewhere(value):  # another resource, say
            return type(value), self._value(inner)
        try:
            return _digest(pickle.dumps(value))
        except Exception:  # it holds something that came by value
            pass
        try:
            return _digest(cloudpickle.dumps(value))
        except Exception:  # it is of this copy only
            return Same(value)


def _digest(data: bytes) -> bytes:
    """What is remembered of a value, which may be large."""
    return hashlib.blake2b(data, digest_size=16).digest()


def _names(code: types.CodeType) -> Iterator[str]:
    """The global names that a function may use, those of functions within it too."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names(constant)
