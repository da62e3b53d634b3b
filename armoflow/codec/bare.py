"""What every exception has, read and set past what its own class makes of it.

A class may be frozen, or have a property, a ``__getattr__``, a ``__bool__`` that raises. None of
that may replace the error that a task has raised by another one, or end the process that looks at
it.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable
from types import TracebackType
from typing import Any, TypeGuard, TypeVar

from armoflow.interrupts import is_interrupt

T = TypeVar("T")

_GROUP = getattr(builtins, "BaseExceptionGroup", None)  # from Python 3.11 on
_OF_ALL: dict[str, Any] = dict(BaseException.__dict__)
_OF_TYPES: dict[str, Any] = dict(type.__dict__)


def is_a(value: object, kind: type[T] | tuple[type[T], ...]) -> TypeGuard[T]:
    """Whether a value is of a type, or of one of several, as ``except`` sees it.

    That is, whatever its class says that it is.

    Example:
        >>> class Pretends(Exception):
        ...     __class__ = KeyError
        >>> isinstance(Pretends(), KeyError), is_a(Pretends(), KeyError)
        (True, False)
    """
    return issubclass(type(value), kind)


def looked(look: Callable[[], T], otherwise: T) -> T:
    """What is seen of an exception; something else where its own code does not let it be seen.

    Example:
        >>> looked(lambda: exit(3), "nothing")
        'nothing'
    """
    try:
        return look()
    except BaseException as error:
        if is_interrupt(error):
            raise
        return otherwise


def path_of(kind: type) -> str:
    """A type's import path, past its metaclass; builtins without their module.

    Example:
        >>> path_of(KeyError), path_of(TracebackType)
        ('KeyError', 'traceback')
    """
    name: str = _OF_TYPES["__qualname__"].__get__(kind)
    module = looked(lambda: _OF_TYPES["__module__"].__get__(kind), None)
    return name if module == "builtins" or type(module) is not str else f"{module}.{name}"


def cause_of(error: BaseException) -> BaseException | None:
    """What it was raised from."""
    found: BaseException | None = _OF_ALL["__cause__"].__get__(error)
    return found


def earlier_of(error: BaseException) -> BaseException | None:
    """What Python prints above it: what it was raised from, or while what was handled."""
    found: BaseException | None = cause_of(error)
    if found is None and not _OF_ALL["__suppress_context__"].__get__(error):
        found = _OF_ALL["__context__"].__get__(error)
    return found


def traceback_of(error: BaseException) -> TracebackType | None:
    """Where it was raised."""
    found: TracebackType | None = _OF_ALL["__traceback__"].__get__(error)
    return found


def arguments_of(error: BaseException) -> tuple[Any, ...]:
    """Its ``args``."""
    found: tuple[Any, ...] = _OF_ALL["args"].__get__(error)
    return found


def members_of(error: BaseException) -> tuple[BaseException, ...] | None:
    """The exceptions in a group; None if it is none."""
    if _GROUP is None or not is_a(error, _GROUP):
        return None
    found: tuple[BaseException, ...] = _GROUP.__dict__["exceptions"].__get__(error)
    return found


def attribute(error: BaseException, name: str) -> Any:
    """An attribute of its own; None if it has none, or will not say."""
    return looked(lambda: getattr(error, name, None), None)


def set_cause(error: BaseException, cause: BaseException | None) -> None:
    """As ``raise error from cause`` does."""
    _OF_ALL["__cause__"].__set__(error, cause)


def set_traceback(error: BaseException, trace: TracebackType | None) -> None:
    """As ``raise`` does."""
    _OF_ALL["__traceback__"].__set__(error, trace)


def set_state(error: BaseException, args: tuple[Any, ...], attributes: dict[str, Any]) -> None:
    """Its arguments and attributes, also where it lets nobody set them.

    Example:
        >>> from dataclasses import dataclass
        >>> @dataclass(frozen=True)
        ... class Refused(Exception):
        ...     code: int
        >>> error = Refused.__new__(Refused)
        >>> set_state(error, (503,), {"code": 503})
        >>> error
        Refused(code=503)
    """
    _OF_ALL["args"].__set__(error, args)
    for name, value in attributes.items():
        object.__setattr__(error, name, value)
