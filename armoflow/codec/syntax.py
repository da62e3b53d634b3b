"""Syntax trees, made by one thread at a time.

CPython counts how deep the tree is that it builds in one place for all threads (python/cpython
issue 106905): where the collector lets another thread in, which builds one too, both fail.
"""

from __future__ import annotations

import ast
import threading
from types import CodeType
from typing import Final

_lock: Final = threading.Lock()

TRIES: Final = 5
"""How often a tree is begun anew: threads of the user's own do not wait for this lock."""


def parse(text: str) -> ast.Module:
    r"""The syntax tree of a module's source.

    Raises:
        SyntaxError: If it is no Python.
        ValueError: If it cannot be source at all, such as one with a NUL in it.

    Example:
        >>> [type(part).__name__ for part in parse("import a\nb = 1").body]
        ['Import', 'Assign']
    """
    with _lock:
        for _ in range(TRIES - 1):
            try:
                return ast.parse(text)
            except SystemError:  # noqa: PERF203 - it is rare
                continue
        return ast.parse(text)


def compile_expression(value: ast.expr) -> CodeType:
    """The code of an expression out of a syntax tree."""
    with _lock:
        code: CodeType = compile(ast.Expression(value), "<constant>", "eval", dont_inherit=True)
    return code
