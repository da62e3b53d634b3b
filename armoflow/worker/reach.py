"""How far a function reaches: whether what it names can change anything in its process.

A function that names only builtins, constants, tasks (to call one only describes a call), what
makes tasks, functions of ``math`` and ``time``, and other such functions has nothing in hand by
which it could. It is found out once; later only whether the names still mean the same.
"""

from __future__ import annotations

import builtins
import dis
import sys
from collections.abc import Iterable, Iterator
from itertools import pairwise
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType
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

_TASKS: Final = "armoflow.graph.task"
"""Where the classes of tasks are from; most workers never load it."""

_OWN: Final = "armoflow"

_DESCRIBING: Final = {
    "task": _TASKS,
    "items": "armoflow.graph.collection",
    "zip_items": "armoflow.graph.collection",
}
"""Functions of armoflow that only describe what is to run, and the modules that they are from."""

_HARMLESS: Final = frozenset({"math", "cmath", "time", _OWN})
"""Modules whose functions change nothing, but for these."""

_HARMFUL: Final = frozenset({"tzset", "clock_settime", "clock_settime_ns"})

_OF_MODULES: Final = frozenset({"LOAD_ATTR", "LOAD_METHOD"})
_GLOBAL: Final = "LOAD_GLOBAL"


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
        if kind is BuiltinFunctionType:
            return value.__module__ in _HARMLESS and value.__name__ not in _HARMFUL
        if kind.__module__ == _TASKS or (kind is FunctionType and _describes(value)):
            return True
        if kind is not FunctionType or value.__closure__ or value.__dict__:
            return False
        self._seen.add(id(value))
        defaults = (*(value.__defaults__ or ()), *(value.__kwdefaults__ or {}).values())
        return self._follow(defaults) and self._follow_code(value.__code__, value.__globals__)

    def _follow_code(self, code: CodeType, scope: dict[str, Any]) -> bool:
        harmless: set[str] = set()
        for module, name in _taken_of_modules(code, scope):
            if not self._follow_taken(scope[module], name):
                return False
            harmless.update((module, str(name)))
        names, imported = _names_of(code)
        if imported:
            own = sys.modules[_OWN]
            self._names.append((sys.modules, _OWN, own))
            if not all(self._follow_taken(own, name) for name in imported):
                return False
        for name in names:  # attributes, too: of them nothing is known
            meaning = scope.get(name, _MISSING)
            self._names.append((scope, name, meaning))
            if name in harmless:
                continue
            if meaning is _MISSING:
                if name in _REACHING or not hasattr(builtins, name):
                    return False
            elif not self._follow_value(meaning):
                return False
        inner = [constant for constant in code.co_consts if isinstance(constant, CodeType)]
        return all(self._follow_code(constant, scope) for constant in inner)

    def _follow_taken(self, module: ModuleType, name: str | None) -> bool:
        """Follow what is taken of a module by its name."""
        held = vars(module)
        if module.__name__ == _OWN and name in _DESCRIBING:
            getattr(module, name)  # which imports it
        if name is None or name not in held or not self._follow_value(held[name]):
            return False
        self._names.append((held, name, held[name]))
        return True


def _taken_of_modules(code: CodeType, scope: dict[str, Any]) -> Iterator[tuple[str, str | None]]:
    """What code takes of harmless modules, by their names there; None: a module itself."""
    named = {name for name in code.co_names if _is_harmless(scope.get(name))}
    if not named:
        return
    for one, following in pairwise(dis.get_instructions(code)):
        if one.opname == _GLOBAL and one.argval in named:
            yield one.argval, following.argval if following.opname in _OF_MODULES else None


def _names_of(code: CodeType) -> tuple[Iterable[str], set[str]]:
    """The names in code, and those that it imports of armoflow, which are none of them."""
    if _OWN not in code.co_names:
        return code.co_names, set()
    steps = list(dis.get_instructions(code))
    names: list[str] = []
    imported: set[str] = set()
    own = False
    for number, one in enumerate(steps):
        if one.opname == "IMPORT_NAME":
            level, taken = steps[number - 2].argval, steps[number - 1].argval
            own = one.argval == _OWN and level == 0 and bool(taken)
            if not own:
                names.append(one.argval)
        elif one.opname == "IMPORT_FROM" and own:
            imported.add(one.argval)
        elif one.opcode in dis.hasname:
            names.append(one.argval)
    return names, imported


def _describes(value: FunctionType) -> bool:
    """Whether a function is one of those that make tasks, or lists of calls."""
    name = value.__name__
    module = sys.modules.get(_DESCRIBING.get(name, ""))
    return module is not None and vars(module).get(name) is value


def _is_harmless(value: Any) -> bool:
    return type(value) is ModuleType and value.__name__ in _HARMLESS
