"""Methods that dataclasses and named tuples write for a class, with the defaults of its fields."""

from __future__ import annotations

import dataclasses
import operator
import types
from typing import Any, NamedTuple

GENERATED = ("<string>", "<attrs generated")
"""How the file of code begins that a library has written."""

_FACTORY: Any = vars(dataclasses)["_HAS_DEFAULT_FACTORY"]


class _Defaults(NamedTuple):
    """What a function has where an argument is left out: by position, and by name."""

    given: tuple[Any, ...]
    named: dict[str, Any]


def has_other_defaults(cls: Any, name: str, function: types.FunctionType) -> bool:
    """Whether a method that was written for a class has other defaults than its fields say.

    Example:
        >>> @dataclasses.dataclass
        ... class Settings:
        ...     rate: float = 0.5
        >>> has_other_defaults(Settings, "__init__", Settings.__init__)
        False
        >>> Settings.__init__.__defaults__ = (0.7,)
        >>> has_other_defaults(Settings, "__init__", Settings.__init__)
        True
    """
    expected = None
    if name == "__init__" and dataclasses.is_dataclass(cls):
        expected = _of_fields(cls)
    elif name == "__new__" and isinstance(getattr(cls, "_field_defaults", None), dict):
        expected = _Defaults(tuple(cls._field_defaults.values()), {})
    if expected is None:
        return False
    given, named = function.__defaults__ or (), function.__kwdefaults__ or {}
    return (
        len(given) != len(expected.given)
        or not all(map(operator.is_, given, expected.given))
        or named.keys() != expected.named.keys()
        or any(named[key] is not value for key, value in expected.named.items())
    )


def _of_fields(cls: Any) -> _Defaults:
    given: list[Any] = []
    named: dict[str, Any] = {}
    for field in cls.__dataclass_fields__.values():  # those of the constructor alone, too
        default = field.default
        if field.default_factory is not dataclasses.MISSING:
            default = _FACTORY
        if not field.init or default is dataclasses.MISSING or _is_of_class(field):
            continue
        if field.kw_only:
            named[field.name] = default
        else:
            given.append(default)
    return _Defaults(tuple(given), named)


def _is_of_class(field: Any) -> bool:
    return bool(field._field_type is vars(dataclasses)["_FIELD_CLASSVAR"])
