"""What lies in a value: elements, attributes, slots."""

from __future__ import annotations

import types
import weakref
from collections import deque
from collections.abc import Iterable
from typing import Any

from armoflow.codec.own_code import is_own

WIDEST = 10_000
"""Elements of a container up to which they are looked at."""
LEAVES = frozenset(
    {
        *(types.NoneType, bool, int, float, complex, str, bytes, bytearray, range, slice),
        *(type(...), types.NotImplementedType, types.BuiltinFunctionType, types.CodeType),
        *(types.MemberDescriptorType, types.GetSetDescriptorType, types.WrapperDescriptorType),
        *(types.MethodDescriptorType, types.MethodWrapperType, types.ClassMethodDescriptorType),
    }
)
"""Classes of values in which nothing lies."""
SETS = (set, frozenset)
CONTAINERS = (list, tuple, dict, deque, *SETS)


def contents_of(value: Any) -> list[Any]:
    """What lies in a value, and its class.

    Example:
        >>> contents_of([1, "two"])
        [1, 'two']
        >>> contents_of(object())
        [<class 'object'>]
    """
    kind = type(value)
    attributes = list(getattr(value, "__dict__", {}).values())
    if kind not in CONTAINERS:
        attributes += [getattr(value, name, None) for name in slots_of(kind)]
    if not isinstance(value, CONTAINERS) or len(value) > WIDEST:
        return [*attributes, kind]  # which may be replaced, too
    if isinstance(value, dict):
        return [*value.keys(), *value.values(), *attributes]
    return [*value, *attributes]


def is_generator(kind: type) -> bool:
    """Whether what a class makes gives random numbers, as one of Python's own or of NumPy's.

    Example:
        >>> import random
        >>> is_generator(random.Random), is_generator(int)
        (True, False)
    """
    module = str(kind.__module__)
    return module == "random" or module.startswith("numpy.random.")


def slots_of(kind: type) -> tuple[str, ...]:
    """The names of the slots of the user's own classes that a class has.

    Example:
        >>> script = {"__name__": "__main__"}
        >>> exec("class Point: __slots__ = ('x', 'y')", script)
        >>> slots_of(script["Point"]), slots_of(int)
        (('x', 'y'), ())
    """
    known = _slots.get(kind)
    if known is None:
        known = _slots[kind] = tuple(
            name
            for base in kind.__mro__
            if isinstance(base.__module__, str) and is_own(base.__module__)
            for name, value in base.__dict__.items()
            if type(value) is types.MemberDescriptorType
        )
    return known


_slots: weakref.WeakKeyDictionary[type, tuple[str, ...]] = weakref.WeakKeyDictionary()


def in_fixed_order(parts: Iterable[Any]) -> list[Any]:
    """Elements in an order that does not depend on their hashes."""

    def key(part: Any) -> tuple[str, str, str]:
        named = part if hasattr(part, "__qualname__") else type(part)
        text = repr(part) if type(part) in LEAVES else ""
        return named.__module__ or "", named.__qualname__, text

    return sorted(parts, key=key)
