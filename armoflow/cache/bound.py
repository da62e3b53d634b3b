"""What a function is, where its code is no part of the key: its name, and the data bound to it.

A version, or a policy without ``code``, stands for what is written, and for nothing else: functions
that one ``def`` has made twice, of other data, are two.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Iterator
from typing import Any, NamedTuple

from armoflow.cache.bytecode import shape_of
from armoflow.cache.code import TOLD_BY_NAME
from armoflow.graph.callables import name_of
from armoflow.texts import as_text

_LAMBDA = "<lambda>"


class Bound(NamedTuple):
    """A function by its name.

    Attributes:
        name: Module and qualified name.
        given: Data that calls of it are given besides their arguments: this counts.
        kept: Data that it has from where it was made: what of this has no key is left to the name.
    """

    name: str
    given: list[Any]
    kept: list[Any]


def bound_to(function: Any, called: str) -> Bound:
    """What tells a function from others, without its code.

    Args:
        function: What a task calls.
        called: The task's name.

    Example:
        >>> power = functools.partial(pow, 2)
        >>> bound_to(power, "power").given
        [(2,), {}]
        >>> def scale(factor):
        ...     return lambda number: factor * number
        >>> bound_to(scale(3), "scale").kept
        [3]
    """
    given: list[Any] = []
    own_name = called == name_of(function)
    while isinstance(function, (functools.partial, types.MethodType)):
        if isinstance(function, functools.partial):
            given.extend((function.args, function.keywords))
            function = function.func
        else:
            given.append(_object(function.__self__))
            function = function.__func__
    name = as_text(f"{getattr(function, '__module__', '')}:{_qualname(function)}")
    if not isinstance(function, types.FunctionType):
        given.extend(_objects(function))
        return Bound(name, given, [])
    if function.__name__ == _LAMBDA:  # nobody has named it; at least its task may have a name
        given.append(shape_of(function.__code__).digest if own_name else called)
    return Bound(name, given, list(_kept(function)))


def _kept(function: types.FunctionType) -> Iterator[Any]:
    """Data that a function has from where it was made; not the code that it names."""
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    for _, cell in sorted(cells, key=lambda pair: pair[0]):
        try:
            value = cell.cell_contents
        except ValueError:  # it is not bound yet
            continue
        if not isinstance(value, TOLD_BY_NAME):
            yield value
    yield from function.__defaults__ or ()
    yield from (function.__kwdefaults__ or {}).values()


def _objects(function: Any) -> Iterator[Any]:
    """What is called, where that is no function of Python's: an object, or a method of one."""
    owner = getattr(function, "__self__", None)
    if owner is not None and not isinstance(owner, types.ModuleType):  # that of built-in functions
        yield _object(owner)
    elif not hasattr(function, "__name__"):
        yield function


def _object(value: Any) -> Any:
    """What a method belongs to: of a class, its name."""
    return f"{value.__module__}:{value.__qualname__}" if isinstance(value, type) else value


def _qualname(function: Any) -> str:
    return getattr(function, "__qualname__", None) or type(function).__qualname__
