"""The names that code looks up, as far as it spells them out."""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from armoflow.codec.contents import WIDEST, in_fixed_order
from armoflow.codec.references import names_and_texts, words_of_code
from armoflow.system.importing import MAIN

_BY_NAME = frozenset(
    {
        *("getattr", "hasattr", "setattr", "__getattribute__", "attrgetter", "methodcaller"),
        *("import_module", "__import__", "vars", "__dict__", "globals"),
    }
)
ANY_NAME = "*"
"""Stands among names for those that code looks up where it spells out none."""


def names_in(code: types.CodeType) -> tuple[str, ...]:
    """The names that code may look up, nested code's too, each once, in order.

    Example:
        >>> names_in((lambda name: getattr(enum, name)).__code__)
        ('getattr', 'enum', '*')
        >>> names_in((lambda: [getattr(enum, name) for name in ("Enum", "Flag")]).__code__)
        ('getattr', 'enum', 'Enum', 'Flag')
    """
    known = _names.get(code)
    if known is None:
        if len(_names) >= WIDEST:
            _names.clear()
        known = _names[code] = tuple(dict.fromkeys(_read_names(code)))
    return known


_names: dict[types.CodeType, tuple[str, ...]] = {}


def _read_names(code: types.CodeType) -> Iterator[str]:
    names, texts = names_and_texts(code)
    by_name = not _BY_NAME.isdisjoint(names)
    yield from _names_in_order(code, by_name=by_name)
    yield from sorted(words_of_code(code))
    if by_name and not any(map(str.isidentifier, texts)):
        yield ANY_NAME


def _names_in_order(code: types.CodeType, *, by_name: bool) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names_in_order(constant, by_name=by_name)
        elif by_name:
            yield from _words_of(constant)


def _words_of(constant: Any) -> Iterator[str]:
    """Names that a constant spells out."""
    if isinstance(constant, str):
        yield from (part for part in constant.split(".") if part.isidentifier())
    elif isinstance(constant, (tuple, frozenset)):
        for part in in_fixed_order(constant) if isinstance(constant, frozenset) else constant:
            yield from _words_of(part)


def names_there(names: Sequence[str], scope: Mapping[str, Any]) -> Sequence[str]:
    """The names that code looks up in one of the user's own modules.

    Args:
        names: Those that it spells out; :data:`ANY_NAME` stands for all that the module has.
        scope: The module's dictionary.

    Example:
        >>> names_there(("a", ANY_NAME), {"__name__": "m", "a": 1, "b": 2})
        ['a', '*', 'b']
    """
    if "__getattr__" in scope and not all(map(scope.__contains__, names)):
        names = *names, "__getattr__"  # which makes them when they are asked for
    if ANY_NAME not in names or scope.get("__name__") in MAIN:
        return names
    own = [name for name in scope if not (name[:2] == "__" == name[-2:])]
    return list(dict.fromkeys([*names, *own]))
