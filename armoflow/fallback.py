"""What stands in the place of a value that all attempts have failed to make."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from armoflow.errors import GraphError, OptionError, shown
from armoflow.retrying import check_takes_one

_RAISE = "raise"
_SKIP = "skip"


class Fallback:
    """What an option ``on_failure`` says; two are equal if their values are of one type, and equal.

    Attributes:
        value: ``"raise"``, ``"skip"``, a function of the exception, or the value itself.

    Example:
        >>> Fallback(0) == Fallback(0), Fallback(0) == Fallback(False)
        (True, False)
    """

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    @property
    def replaces(self) -> bool:
        """Whether the error is not raised."""
        return not self._is(_RAISE)

    @property
    def skips(self) -> bool:
        """Whether items that failed are left out."""
        return self._is(_SKIP)

    def of(self, exception: Callable[[], BaseException]) -> Any:
        """The value that stands for one that could not be made.

        Args:
            exception: Gives what the task ended with.
        """
        return self.value(exception()) if callable(self.value) else self.value

    def _is(self, word: str) -> bool:
        return isinstance(self.value, str) and self.value == word

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Fallback)
            and type(self.value) is type(other.value)
            and (self.value is other.value or _are_equal(self.value, other.value))
        )

    def __hash__(self) -> int:
        return hash(self.value)

    def __repr__(self) -> str:
        return repr(self.value)


def _are_equal(value: Any, other: Any) -> bool:
    try:
        return bool(value == other)
    except Exception:  # as of what cannot be compared: then they are two
        return False


def make_fallback(value: Any) -> Fallback:
    """Check what is said.

    Raises:
        OptionError: Says what may be said.

    Example:
        >>> make_fallback("skip").skips
        True
        >>> make_fallback("none")
        Traceback (most recent call last):
        armoflow.errors.OptionError: on_failure='none' is neither 'raise' nor 'skip': for a text ...
    """
    if isinstance(value, str):
        if value not in (_RAISE, _SKIP):
            raise OptionError(
                f"on_failure={shown(value)} is neither 'raise' nor 'skip': for a text write "
                f"on_failure=lambda error: {shown(value)}"
            )
        return Fallback(value)
    try:
        hash(value)
    except TypeError:
        raise OptionError(
            f"on_failure={shown(value)} can be changed by whoever gets it: write a function "
            f"that makes it, on_failure=lambda error: {shown(value)}"
        ) from None
    if callable(value):
        check_takes_one("on_failure", value)
    return Fallback(value)


def lazy_fallback() -> GraphError:
    """What is told of a function that gives a graph for a value that could not be made."""
    return GraphError(
        "what on_failure= gives stands for a value, and cannot be lazy: let the function compute "
        "it, as by some_task.local(...), or return a graph from a task that catches the error"
    )
