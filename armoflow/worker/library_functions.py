"""Functions of the standard library that a task puts something else in the place of.

A task that patches one (``time.time``, ``ssl._create_default_https_context``) and does not put it
back would change what later tasks compute, whoever's they are, and what armoflow itself does here.
What a module replaces when it is imported stays, as all that it sets.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from operator import itemgetter
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any, NamedTuple

_WATCHED = (
    *("builtins", "codecs", "copyreg", "datetime", "hashlib", "io", "json", "math", "msgpack"),
    *("pickle", "random", "signal", "socket", "ssl", "struct", "subprocess", "threading", "time"),
    *("urllib.request", "uuid", "warnings", "zlib"),
)
"""Modules whose functions are replaced most often, and those that armoflow leans on."""

_FUNCTIONS = (FunctionType, BuiltinFunctionType, type)


class _Functions(NamedTuple):
    """The functions and classes of a module, as it was loaded."""

    scope: dict[str, Any]
    values: dict[str, Any]
    get: Callable[[Mapping[str, Any]], tuple[Any, ...]]
    all: tuple[Any, ...]

    def replaced(self) -> dict[str, Any]:
        """Those that are something else now, by name."""
        try:
            if self.get(self.scope) == self.all:
                return {}
        except KeyError:  # one was deleted
            pass
        found = {name: self.scope.get(name) for name in self.values}
        return {name: now for name, now in found.items() if now is not self.values[name]}


class LibraryFunctions:
    """What stands in the places of functions of the standard library.

    Example:
        >>> import zlib
        >>> functions, crc32 = LibraryFunctions(), zlib.crc32
        >>> functions.read()
        >>> zlib.crc32 = len
        >>> functions.read()
        {'zlib': {'crc32': <built-in function len>}}
        >>> functions.write(None)
        >>> zlib.crc32 is crc32
        True
    """

    def __init__(self) -> None:
        self._known: dict[str, _Functions] = {}

    def read(self) -> dict[str, dict[str, Any]] | None:
        """What is not as its module was loaded, by module and name; None: nothing."""
        for name in _WATCHED:
            module = sys.modules.get(name) if name not in self._known else None
            if module is not None and not _is_loading(module):
                self._known[name] = _functions_of(module)
        replaced = {name: functions.replaced() for name, functions in self._known.items()}
        return {name: found for name, found in replaced.items() if found} or None

    def write(self, value: dict[str, dict[str, Any]] | None) -> None:
        """Let what was read stand there again."""
        for name, functions in self._known.items():
            functions.scope.update(functions.values)
            functions.scope.update((value or {}).get(name, {}))


def _is_loading(module: ModuleType) -> bool:
    return bool(getattr(getattr(module, "__spec__", None), "_initializing", False))


def _functions_of(module: ModuleType) -> _Functions:
    scope = vars(module)
    values = {name: value for name, value in scope.items() if isinstance(value, _FUNCTIONS)}
    get = itemgetter(*values)
    return _Functions(scope, values, get, get(scope))
