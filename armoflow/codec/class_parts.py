"""What a class pickled by value consists of, to tell whether it has changed."""

from __future__ import annotations

import enum
import types
from collections.abc import Iterator
from typing import Any

from armoflow.codec.modules import is_user_module
from armoflow.codec.references import content_of, is_reachable
from armoflow.system.importing import MAIN, is_importable

_METHODS = (types.FunctionType, classmethod, staticmethod, property)
_CONSTANT = frozenset(
    {
        *(types.NoneType, bool, int, float, complex, str, bytes, range, type(...)),
        *(types.NotImplementedType, types.ModuleType, types.BuiltinFunctionType),
        *(types.MemberDescriptorType, types.GetSetDescriptorType, types.WrapperDescriptorType),
    }
)


class ClassParts:
    """Everything that may be replaced in a class: attributes, globals, closure variables, code."""

    __slots__ = ("cells", "classes", "functions", "scopes")

    def __init__(self) -> None:
        self.classes: list[type] = []
        self.functions: list[types.FunctionType] = []
        self.cells: list[types.CellType] = []
        self.scopes: dict[int, tuple[dict[str, Any], list[str]]] = {}

    def values(self) -> list[Any]:
        """What these are now."""
        values: list[Any] = []
        for cls in self.classes:
            values.extend((cls.__bases__, *cls.__dict__.values()))
        for function in self.functions:
            values.extend((function.__code__, function.__defaults__, function.__kwdefaults__))
            values.extend(function.__dict__.values())
        for scope, names in self.scopes.values():
            values.extend(map(scope.get, names))
        values.extend(map(content_of, self.cells))
        return values


def find_parts(cls: type) -> ClassParts | None:
    """The parts of a class; None if one of them can change without being replaced."""
    parts = ClassParts()
    pending: list[Any] = [cls]
    seen: set[int] = set()
    while pending:
        value = pending.pop()
        kind = type(value)
        if kind in _CONSTANT or id(value) in seen:
            continue
        seen.add(id(value))
        if kind is types.FunctionType:
            if not is_reachable(value):
                pending.extend(_in_function(value, parts))
        elif kind in (classmethod, staticmethod):
            pending.append(value.__func__)
        elif kind is property:
            pending.extend((value.fget, value.fset, value.fdel))
        elif kind in (tuple, frozenset):
            pending.extend(value)
        elif isinstance(value, type):
            if not is_reachable(value):
                parts.classes.append(value)
                pending.extend(_in_class(value))
        elif isinstance(value, enum.Enum):
            pending.append(kind)
        else:
            return None
    return parts


def _in_function(function: types.FunctionType, parts: ClassParts) -> Iterator[Any]:
    cells = function.__closure__ or ()
    parts.functions.append(function)
    parts.cells.extend(cells)
    scope = function.__globals__
    module = scope.get("__name__", "")
    if module not in MAIN and is_importable(module) and not is_user_module(module):
        # What a library's decorator made: its own state is its own business.
        for cell in cells:
            if type(content_of(cell)) is types.FunctionType:
                yield content_of(cell)
        return
    yield from map(content_of, cells)
    names = [name for name in _names(function.__code__) if name in scope]
    parts.scopes.setdefault(id(scope), (scope, []))[1].extend(names)
    yield from map(scope.get, names)
    yield from function.__defaults__ or ()
    yield from (function.__kwdefaults__ or {}).values()
    yield from function.__dict__.values()


def _in_class(cls: type) -> Iterator[Any]:
    generated = issubclass(cls, enum.Enum)  # whose own tables do not change
    yield from cls.__bases__
    for name, value in cls.__dict__.items():
        special = generated or name == "_abc_impl" or (name[:2] == "__" == name[-2:])
        if not special or type(value) in _METHODS:
            yield value


def _names(code: types.CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if type(constant) is types.CodeType:
            yield from _names(constant)
