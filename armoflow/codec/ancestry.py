"""What stands above a class: its bases, and of an abstract one what was registered with it."""

from __future__ import annotations

import abc
import ast
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from armoflow.codec.modules import is_user_module
from armoflow.system.importing import MAIN

BASES = "__bases__"
"""The attribute that holds the bases of a class; it is in no dictionary."""

REGISTERED = "<registered>"
"""Stands as a name in an abstract class for what was registered with it: no attribute has it."""


def registered_with(cls: type) -> list[type]:
    """The classes that an abstract one was told of by ``register``, by their names.

    Example:
        >>> class Shape(abc.ABC): ...
        >>> _ = Shape.register(tuple)
        >>> registered_with(Shape), registered_with(int)
        ([<class 'tuple'>], [])
    """
    if not isinstance(cls, abc.ABCMeta):
        return []
    references, *_ = abc._get_dump(cls)  # type: ignore[attr-defined]
    found = [known for reference in references if (known := reference()) is not None]
    return sorted(found, key=_name_of)


def is_found(cls: type) -> bool:
    """Whether a class is what its module has under its name, at any depth."""
    return _found_as(cls) is cls


def has_other_bases(
    cls: type, declared: Sequence[ast.expr] | None, scope: Mapping[str, Any]
) -> bool:
    """Whether a class has others than importing its module would give it, as far as can be told.

    So it is where they were assigned, or where the module of one was loaded again since.

    Args:
        cls: The class.
        declared: Its bases as the source says them; None: it says nothing.
        scope: The module's names.
    """
    if declared is None or len(declared) != len(cls.__bases__):
        return False
    for expression, base in zip(declared, cls.__bases__, strict=True):
        expected = _resolve(expression, scope)
        if isinstance(expected, type) and (
            _name_of(expected) != _name_of(base) or _is_replaced(base)
        ):
            return True
    return False


def _name_of(cls: type) -> tuple[str, str]:
    return cls.__module__, cls.__qualname__


def _is_replaced(cls: type) -> bool:
    """Whether the module of a class of the user's own has another one under its name now.

    That it is not found there says nothing: it may be made in a function, or have the name of the
    class that is derived from it, as with named tuples.
    """
    name = cls.__module__
    if name in MAIN or not is_user_module(name):
        return False
    found = _found_as(cls)
    return isinstance(found, type) and cls not in found.__mro__


def _found_as(cls: type) -> Any:
    """What the module of a class has under its name."""
    found: Any = sys.modules.get(cls.__module__)
    for part in cls.__qualname__.split("."):
        found = getattr(found, "__dict__", {}).get(part)
    return found


def _resolve(expression: ast.expr, scope: Mapping[str, Any]) -> Any:
    """What a name, an attribute, or such with parameters stands for; None: something else."""
    if isinstance(expression, ast.Subscript):
        return _resolve(expression.value, scope)
    if isinstance(expression, ast.Attribute):
        owner = _resolve(expression.value, scope)
        return getattr(owner, "__dict__", {}).get(expression.attr)
    return scope.get(expression.id) if isinstance(expression, ast.Name) else None
