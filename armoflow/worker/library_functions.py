"""Functions and methods of the standard library that a task puts something else in the place of.

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

_CLASSES = (
    *("http.client.HTTPConnection", "json.decoder.JSONDecoder", "json.encoder.JSONEncoder"),
    *("random.Random", "socket.socket", "subprocess.Popen", "threading.Thread"),
)
"""Classes whose methods and settings are replaced most often."""

_ABSENT = object()

_FUNCTIONS = (FunctionType, BuiltinFunctionType, type)


class _Functions(NamedTuple):
    """The functions and classes of a module, or what is in a class, as it was loaded."""

    holder: Any
    scope: Mapping[str, Any]
    values: dict[str, Any]
    get: Callable[[Mapping[str, Any]], tuple[Any, ...]]
    all: tuple[Any, ...]
    size: int | None = None
    """How many names a class has; in a module more may come."""

    def replaced(self) -> dict[str, Any]:
        """Those that are something else now, by name."""
        try:
            if self.get(self.scope) == self.all and self.size in (None, len(self.scope)):
                return {}
        except KeyError:  # one was deleted
            pass
        found = {name: self.scope.get(name) for name in self.values}
        more = {} if self.size is None else {**self.scope, **found}
        return {
            name: now
            for name, now in (more or found).items()
            if now is not self.values.get(name, _ABSENT)
        }

    def restore(self) -> None:
        """Let all be there as it was loaded."""
        for name in self.replaced():
            if name in self.values:
                setattr(self.holder, name, self.values[name])
            else:
                delattr(self.holder, name)


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
        for name in _CLASSES:
            if name not in self._known and (kind := _loaded_class(name)):
                self._known[name] = _attributes_of(kind)
        replaced = {name: functions.replaced() for name, functions in self._known.items()}
        return {name: found for name, found in replaced.items() if found} or None

    def write(self, value: dict[str, dict[str, Any]] | None) -> None:
        """Let what was read stand there again."""
        for name, functions in self._known.items():
            functions.restore()
            for attribute, content in (value or {}).get(name, {}).items():
                setattr(functions.holder, attribute, content)


def _is_loading(module: ModuleType) -> bool:
    return bool(getattr(getattr(module, "__spec__", None), "_initializing", False))


def _functions_of(module: ModuleType) -> _Functions:
    scope = vars(module)
    values = {name: value for name, value in scope.items() if isinstance(value, _FUNCTIONS)}
    get = itemgetter(*values)
    return _Functions(module, scope, values, get, get(scope))


def _loaded_class(path: str) -> type | None:
    name, _, attribute = path.rpartition(".")
    module = sys.modules.get(name)
    if module is None or _is_loading(module):
        return None
    kind = getattr(module, attribute, None)
    return kind if isinstance(kind, type) else None


def _attributes_of(kind: type) -> _Functions:
    scope = vars(kind)
    get = itemgetter(*scope)
    return _Functions(kind, scope, dict(scope), get, get(scope), len(scope))
