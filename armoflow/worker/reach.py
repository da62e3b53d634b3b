"""How far a function reaches: whether what it names can change anything in its process.

A function that names only builtins, constants and other such functions has nothing in hand by which
it could. It is found out once; later only whether the names still mean the same.
"""

from __future__ import annotations

import builtins
from collections.abc import Iterable
from types import CodeType, FunctionType
from typing import Any, Final

_MISSING: Final = object()

_CONSTANTS: Final = frozenset({int, float, complex, bool, str, bytes, type(None)})

_REACHING: Final = frozenset(
    {
        *("exec", "eval", "compile", "__import__", "globals", "locals", "vars"),
        *("getattr", "setattr", "delattr"),
        *("open", "input", "breakpoint", "exit", "quit", "help"),
    }
)
"""Builtins that get at anything by its name, or at a file."""


class Reach:
    """What a function names, with what it calls.

    Example:
        >>> Reach(lambda number: abs(number) + 1).is_short(), Reach(lambda: builtins).is_short()
        (True, False)
    """

    def __init__(self, function: Any) -> None:
        self._names: list[tuple[dict[str, Any], str, Any]] = []
        self._seen: set[int] = set()
        self._short = self._follow([function])

    def is_short(self) -> bool:
        """Whether only an object that it is given could change something in this process."""
        for scope, name, value in self._names:
            if scope.get(name, _MISSING) is not value:
                return False
        return self._short

    def _follow(self, values: Iterable[Any]) -> bool:
        return all(self._follow_value(value) for value in values)

    def _follow_value(self, value: Any) -> bool:
        kind = type(value)
        if kind in _CONSTANTS or id(value) in self._seen:
            return True
        if kind is tuple or kind is frozenset:
            return self._follow(value)
        if kind is not FunctionType or value.__closure__ or value.__dict__:
            return False
        self._seen.add(id(value))
        defaults = (*(value.__defaults__ or ()), *(value.__kwdefaults__ or {}).values())
        return self._follow(defaults) and self._follow_code(value.__code__, value.__globals__)

    def _follow_code(self, code: CodeType, scope: dict[str, Any]) -> bool:
        for name in code.co_names:  # attributes, too: of them nothing is known
            meaning = scope.get(name, _MISSING)
            self._names.append((scope, name, meaning))
            if meaning is _MISSING:
                if name in _REACHING or not hasattr(builtins, name):
                    return False
            elif not self._follow_value(meaning):
                return False
        inner = [constant for constant in code.co_consts if isinstance(constant, CodeType)]
        return all(self._follow_code(constant, scope) for constant in inner)
