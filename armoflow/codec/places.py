"""Where the code of a function stands: the same for all copies of it, in whatever process."""

from __future__ import annotations

from collections.abc import Callable
from types import CodeType
from typing import Any, TypeAlias

CodePlace: TypeAlias = "tuple[str, str, int]"
"""Name, file and line."""


def place_of(function: Callable[..., Any]) -> CodePlace:
    """Where the code of a function stands.

    A function that is pickled by value is another object, with other code, in each process, and
    each time it is pickled anew.

    Example:
        >>> place_of(len)
        ('len', 'builtins', 0)
    """
    code = getattr(function, "__code__", None)
    if isinstance(code, CodeType):
        return code.co_name, code.co_filename, code.co_firstlineno
    kind = function if hasattr(function, "__qualname__") else type(function)
    return kind.__qualname__, str(getattr(kind, "__module__", "")), 0
