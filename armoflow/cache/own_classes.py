"""What a class of the user's own says itself, for the key of its code: attributes and fields."""

from __future__ import annotations

import enum
import functools
import inspect
import sys
import types
from collections.abc import Iterator
from typing import Any

from armoflow.cache.walk import Parts
from armoflow.codec.own_code import is_own
from armoflow.codec.usage import METHODS
from armoflow.system.packages import package_of

_DERIVED = frozenset(
    {
        *("__doc__", "__module__", "__qualname__", "__dict__", "__weakref__", "__annotations__"),
        *("__firstlineno__", "__static_attributes__", "__abstractmethods__", "_abc_impl"),
        *("__dataclass_fields__", "__dataclass_params__", "__parameters__"),
        *("__annotate__", "__annotate_func__", "__annotations_cache__", "__slotnames__"),
        # Of pydantic: what it makes of the fields and methods, which count, names addresses.
        *("__pydantic_core_schema__", "__pydantic_serializer__", "__pydantic_validator__"),
        *("__pydantic_decorators__", "__pydantic_parent_namespace__", "__signature__"),
        *("__pydantic_setattr_handlers__", "__pydantic_complete__"),
    }
)
"""Attributes of classes that are told by others, or make no difference."""

_FIELD_PARTS = ("default", "default_factory", "init", "repr", "hash", "compare", "kw_only")
"""What counts of what a dataclass says of a field."""


def attributes_of(cls: type) -> Iterator[tuple[str, Any]]:
    """What a class says itself, in an order that does not depend on where it stands in it."""
    generated = issubclass(cls, enum.Enum)
    if issubclass(cls, enum.Enum):
        yield "members", [(name, member.value) for name, member in cls.__members__.items()]
    for name, value in sorted(vars(cls).items()):
        if name in _DERIVED or _is_derived(name, value):
            continue
        if generated and (not isinstance(value, METHODS) or not _is_users(value)):
            continue
        yield name, _unwrapped(value)


def fields_of(cls: type) -> Any:
    """Names of annotated attributes in their order, and what a dataclass says of each.

    Their types count where an installed base or metaclass may read them.
    """
    annotations = _annotations_of(cls)
    kinds: list[type] = [*cls.__mro__, *inspect.getmro(type(cls))]
    read = any(package_of(kind.__module__) for kind in kinds if not is_own_class(kind))
    names: Any = list(annotations.items()) if read else list(annotations)
    fields = cls.__dict__.get("__dataclass_fields__", {})
    said = [
        (name, [getattr(field, part) for part in _FIELD_PARTS]) for name, field in fields.items()
    ]
    return [names, said, repr(cls.__dict__.get("__dataclass_params__"))]


def is_own_function(function: types.FunctionType) -> bool:
    """Whether a function is the user's own: where it was written, not where its name says."""
    return is_own(function.__globals__.get("__name__") or "")


def is_own_class(cls: type) -> bool:
    """Whether a class is the user's own."""
    return isinstance(cls.__module__, str) and is_own(cls.__module__)


def _is_derived(name: str, value: Any) -> bool:
    """Whether a library wrote a method.

    That is ``attrs``, from fields, which count, and from the seed of hashes; or ``typing``.
    """
    if name == "__subclasshook__":
        return not _is_users(getattr(value, "__func__", value))
    code = getattr(value, "__code__", None)
    return code is not None and code.co_filename.startswith("<attrs generated")


def _is_users(value: Any) -> bool:
    return not isinstance(value, types.FunctionType) or is_own_function(value)


def _unwrapped(value: Any) -> Any:
    """What a descriptor is made of."""
    if isinstance(value, (classmethod, staticmethod)):
        return Parts(type(value).__name__, [value.__func__])
    if isinstance(value, property):
        return Parts("property", [value.fget, value.fset, value.fdel])
    if isinstance(value, functools.cached_property):
        return Parts("cached_property", [value.func])
    if isinstance(value, functools.partialmethod):
        return Parts("partialmethod", [value.func, value.args, value.keywords])
    if isinstance(value, (types.MemberDescriptorType, types.GetSetDescriptorType)):
        return Parts("slot", [])
    return value


def _annotations_of(cls: type) -> dict[str, Any]:
    if sys.version_info >= (3, 14):
        import annotationlib

        return annotationlib.get_annotations(cls, format=annotationlib.Format.STRING)
    return inspect.get_annotations(cls)
