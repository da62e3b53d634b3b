"""Which failures of an attempt are tried again, and after what pause."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from armoflow.errors import OptionError, shown
from armoflow.interrupts import is_interrupt

RetryOn: TypeAlias = "tuple[type[BaseException], ...] | Callable[[BaseException], bool]"
"""The types of what is tried again, or a function that says so of an exception."""


def make_retry_on(value: Any) -> RetryOn:
    """Check what is said.

    Raises:
        OptionError: Says what may be said.

    Example:
        >>> make_retry_on(OSError)
        (<class 'OSError'>,)
        >>> make_retry_on("OSError")
        Traceback (most recent call last):
        armoflow.errors.OptionError: retry_on must be an exception type, several, or a function ...
    """
    types = value if isinstance(value, (tuple, list, set, frozenset)) else (value,)
    if types and all(isinstance(kind, type) and issubclass(kind, BaseException) for kind in types):
        return tuple(types)
    if callable(value) and not isinstance(value, type):
        function: Callable[[BaseException], bool] = value
        check_takes_one("retry_on", function)
        return function
    raise OptionError(
        "retry_on must be an exception type, several, or a function of the exception, not "
        f"{shown(value)}"
    )


def check_takes_one(option: str, function: Callable[..., Any]) -> None:
    """Refuse a function that cannot be called with an exception alone, or is to be awaited.

    Raises:
        OptionError: If it cannot.

    Example:
        >>> check_takes_one("retry_on", lambda: True)
        Traceback (most recent call last):
        armoflow.errors.OptionError: retry_on is called with the exception: ... takes ()
    """
    import inspect  # it is slow to import, and workers need it for nothing

    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        name = getattr(function, "__qualname__", repr(function))
        raise OptionError(f"{option} is called, and not awaited: {name!r} is asynchronous")
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return  # some built-in functions have none
    try:
        signature.bind(None)
    except TypeError:
        name = getattr(function, "__qualname__", repr(function))
        raise OptionError(
            f"{option} is called with the exception: {name!r} takes {signature}"
        ) from None


def final_error(retry_on: RetryOn | None, error: BaseException) -> BaseException | None:
    """What is told of an attempt that failed and is not tried again, or None if it may be.

    Args:
        retry_on: What is said; None: everything is tried again.
        error: What was raised. If the function that says so raises itself, that is told.

    Example:
        >>> final_error((OSError,), FileNotFoundError())
        >>> final_error((OSError,), ValueError("no"))
        ValueError('no')
        >>> final_error(lambda error: error.code == 503, ValueError("no"))
        AttributeError("'ValueError' object has no attribute 'code'")
    """
    if retry_on is None:
        return None
    try:
        again = _is_any(type(error), retry_on) if isinstance(retry_on, tuple) else retry_on(error)
        return None if again else error
    except BaseException as broken:
        if is_interrupt(broken):
            raise
        return broken


def retries_error(retry_on: RetryOn | None, kind: type[BaseException]) -> bool:
    """Whether attempts are that their owner ended so: it runs no code of the user's.

    Example:
        >>> from armoflow.errors import TaskTimeoutError
        >>> retries_error((TimeoutError,), TaskTimeoutError)
        True
        >>> retries_error((ValueError,), TaskTimeoutError)
        False
    """
    return not isinstance(retry_on, tuple) or _is_any(kind, retry_on)


def _is_any(kind: type, types: tuple[type, ...]) -> bool:
    """As ``except`` sees it, whatever the error, or a metaclass, says."""
    return any(type.__subclasscheck__(base, kind) for base in types)


def shorten(pause: float, jitter: float) -> float:
    """A pause, less a part of it by chance.

    Args:
        pause: Seconds.
        jitter: The largest part, from 0 to 1.
    """
    return pause * (1.0 - jitter * _draw()) if jitter else pause


def _draw() -> float:
    import random  # half of what this module would take to import, and mostly not needed

    # Not the process's own generator: tasks may have seeded it, and count on what comes next.
    return random.SystemRandom().random()
