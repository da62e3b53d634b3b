"""What every exception has, read and set past what its own class makes of it.

A class may be frozen, or have a property, a ``__getattr__``, a ``__bool__`` that raises. None of
that may replace the error that a task has raised by another one, or end the process that looks at
it.
"""

from __future__ import annotations

from types import TracebackType
from typing import Any

_OF_ALL: dict[str, Any] = dict(BaseException.__dict__)


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


def attribute(error: BaseException, name: str) -> Any:
    """An attribute of its own; None if it has none, or will not say."""
    try:
        return getattr(error, name, None)
    except Exception:  # whatever its class does there
        return None


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
