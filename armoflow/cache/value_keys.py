"""What values are made of, as far as their keys are concerned: the rules of ``docs/caching.md``.

A key is the same in every process: it depends on no address, hash seed, locale or order of sets.
What has no rule of its own is taken to what pickle makes it of again. Functions and the user's own
classes are told by their code, which is somebody else's to say (``refer``).
"""

from __future__ import annotations

import collections
import copyreg
import enum
import functools
import inspect
import types
import weakref
from collections.abc import Callable, Hashable, Mapping
from pathlib import PurePath
from typing import Any, Final, cast

from armoflow.cache.walk import (
    NoKey,
    Parts,
    RuleResult,
    Walk,
    atom_digest,
    digest_of,
    is_plain,
    text_digest,
)
from armoflow.codec.pickler import CachedFunction
from armoflow.graph.base_task import BaseTask
from armoflow.system.packages import origin

KEY_METHOD: Final = "__armoflow_key__"
"""A method that gives what an object is known by: any value that has a key."""

_PROTOCOL = 4  # of pickle: with 5, large data comes apart from the rest
_SHORT = 40

Refer = Callable[[Any], RuleResult]
"""Tells functions and classes."""

_REFERRED = (types.FunctionType, type, types.ModuleType)

_LIBRARIES: Final = {
    "numpy": "arrays",
    "pandas": "data_frames",
    "polars": "data_frames",
    "pyarrow": "data_frames",
}
"""Packages whose values have rules of their own, by the module here that holds these."""


def make_walk(
    refer: Refer,
    rules: Mapping[type, Callable[[Any], RuleResult]] | None = None,
    replace: Callable[[Any], bytes] | None = None,
) -> Walk:
    """A walk over values by these rules.

    Args:
        refer: Tells functions, classes and modules.
        rules: More of them, by exact type.
        replace: See :class:`Walk`.
    """
    own = {**_RULES, **(rules or {})}

    def rule(value: Any) -> RuleResult:
        kind = type(value)
        found = own.get(kind)
        if found is not None:
            return found(value)
        if issubclass(kind, _REFERRED):
            return refer(value)
        return _rule_of(kind)(value)

    return Walk(rule, replace)


def described(value: Any) -> str:
    """What an error calls a value: its type."""
    kind = type(value)
    module = kind.__module__
    return kind.__qualname__ if module == "builtins" else f"{module}.{kind.__qualname__}"


def _rule_of(kind: type) -> Callable[[Any], RuleResult]:
    """The rule for a type that has none of its own."""
    known = _kinds.get(kind)
    if known is None:
        known = _kinds[kind] = _choose(kind)
    return known


_kinds: weakref.WeakKeyDictionary[type, Callable[[Any], RuleResult]] = weakref.WeakKeyDictionary()


def _choose(kind: type) -> Callable[[Any], RuleResult]:
    if hasattr(kind, KEY_METHOD):
        return _by_method
    for base in kind.__mro__:
        # A type may have a slot of that name, as that of Cython's functions has in Python 3.10.
        library = _LIBRARIES.get(str(base.__module__).partition(".")[0])
        if library is not None:
            found = _library_rule(library, kind)
            if found is not None:
                return found
    for base, rule in _BASES.items():
        if issubclass(kind, base):
            return rule
    return _reduced


def _library_rule(library: str, kind: type) -> Callable[[Any], RuleResult] | None:
    import importlib

    module = importlib.import_module(f"armoflow.cache.{library}")
    rule: Callable[[Any], RuleResult] | None = module.rule_of(kind)
    return rule


# --- rules --------------------------------------------------------------------------------------


def _by_method(value: Any) -> RuleResult:
    try:
        content = getattr(value, KEY_METHOD)()
    except Exception as error:
        told = f"{type(error).__name__}: {error}"
        raise NoKey(f"{KEY_METHOD} of {described(value)} raised {told}") from error
    return Parts("key", [type(value), content], lambda _: f".{KEY_METHOD}()")


def _list(value: Any) -> RuleResult:
    return Parts("list", value, _at_index)


def _tuple(value: Any) -> RuleResult:
    return Parts("tuple", value, _at_index)


def _at_index(index: int) -> str:
    return f"[{index}]"


def _bytes(value: Any) -> RuleResult:
    return digest_of(type(value).__name__.encode(), b"\0", value)


def _view(value: memoryview) -> RuleResult:
    return Parts("memoryview", [value.format, value.shape, value.tobytes()])


def _dict(value: dict[Any, Any]) -> RuleResult:
    """Equal ones have equal keys, whatever order they are in."""
    if _are_sortable(value):
        names = sorted(value)
        parts = [value[name] for name in names]
        if is_plain(parts):  # most, quickly
            return digest_of(b"plain dict", atom_digest(names), atom_digest(parts))
        return Parts("dict", [names, Parts("values", parts, lambda at: _at_key(names[at]))])
    return Parts("items", [_pair(*item) for item in value.items()], ordered=False)


def _are_sortable(keys: Any) -> bool:
    """Whether elements are all texts, or all integers: they are sorted as they are."""
    kinds = set(map(type, keys))
    return len(kinds) == 1 and kinds <= {str, int}


def _pair(key: Any, value: Any) -> Parts:
    return Parts("pair", [key, value], lambda at: _at_key(key) if at else f", key {_short(key)}")


def _at_key(key: Any) -> str:
    return f"[{_short(key)}]"


def _short(value: Any) -> str:
    text = repr(value) if type(value) in (str, int, float, bool, bytes) else f"<{described(value)}>"
    return text if len(text) <= _SHORT else text[: _SHORT - 3] + "..."


def _set(value: Any) -> RuleResult:
    if _are_sortable(value):
        return Parts(f"sorted {type(value).__name__}", [sorted(value)])
    return Parts(type(value).__name__, _in_order(value), _in_set, ordered=False)


def _in_set(_: int) -> str:
    return ", in the set"


def _in_order(parts: Any) -> list[Any]:
    """Elements of a set: functions of one name are told apart by which is met first."""
    return sorted(parts, key=lambda part: getattr(part, "__qualname__", ""))


def _set_subclass(value: Any) -> RuleResult:
    """Pickle makes it of a list of its elements, in any order."""
    elements = Parts("elements", _in_order(value), _in_set, ordered=False)
    return Parts("set subclass", [type(value), elements, _state_of(getattr(value, "__dict__", {}))])


def _enum(value: enum.Enum) -> RuleResult:
    return Parts("enum", [type(value), value.value])


def task_parts(value: BaseTask[..., Any]) -> RuleResult:
    """How it runs makes no difference to what it gives, but for what is said of that itself."""
    options = value.task_options
    given = [options.env, options.requirements, getattr(options.on_failure, "value", None)]
    return Parts("task", [value.function, value.outputs, *given])


def _path(value: PurePath) -> RuleResult:
    return text_digest("path", str(value))


def _proxy(value: Any) -> RuleResult:
    return Parts("mappingproxy", [dict(value)])


def _cached(value: Any) -> RuleResult:
    """What ``functools.lru_cache`` makes."""
    return Parts("cached", [value.__wrapped__, value.cache_parameters()])


def _cell(value: types.CellType) -> RuleResult:
    try:
        return Parts("cell", [value.cell_contents])
    except ValueError:
        return text_digest("empty cell")


def _slice(value: slice) -> RuleResult:
    return Parts("slice", [value.start, value.stop, value.step])


def _reduced(value: Any) -> RuleResult:
    """The general rule: what pickle makes an object of, which is said by its class."""
    kind = type(value)
    special = copyreg.dispatch_table.get(kind)
    try:
        reduced = special(value) if special is not None else value.__reduce_ex__(_PROTOCOL)
    except Exception as error:
        reason = str(error) or type(error).__name__
        raise NoKey(f"{described(value)} has no key: {reason}{_REMEDY}") from error
    if isinstance(reduced, str):
        return _global(value, reduced)
    make, args, *rest = reduced
    state, items, pairs, setter = (*rest, None, None, None, None)[:4]
    parts: list[Any] = [make, Parts("args", args, _in_state), _state_of(state, value)]
    if items is not None:
        parts.append(Parts("appended", list(items), _at_index))
    if pairs is not None:
        ordered = isinstance(value, collections.OrderedDict)
        pairs = [_pair(*pair) for pair in pairs]
        parts.append(Parts("set", pairs, ordered=ordered))
    if setter is not None:
        parts.append(setter)
    return Parts("object", parts)


_REMEDY = (
    ". Leave the argument out with ignore=[...] if it makes no difference, give its class a "
    f"method {KEY_METHOD} that returns what it stands for, or do not cache the task"
)


def _in_state(_: int) -> str:
    return ", in its state"


def _global(value: Any, name: str) -> bytes:
    """What is the same object everywhere, under this name."""
    module = getattr(value, "__module__", None)
    if not isinstance(module, str):
        module = type(value).__module__
    return text_digest("global", *origin(module), name)


def _state_of(state: Any, value: Any = None) -> Any:
    """The state of an object, by attribute; what is only remembered does not count."""
    if type(state) is tuple and len(state) == 2 and all(type(x) in _STATES for x in state):
        return Parts("slots", [_state_of(part, value) for part in state])
    if type(state) is not dict or not all(type(name) is str for name in state):
        return state
    names = sorted(state.keys() - _remembered_names(cast("Hashable", type(value))))
    parts = [state[name] for name in names]
    return Parts("state", [names, Parts("values", parts, lambda at: f".{names[at]}")])


_STATES = (dict, types.NoneType)
_PICKLING = ("__reduce_ex__", "__reduce__", "__getstate__")


@functools.lru_cache(maxsize=1024)
def _remembered_names(kind: Hashable) -> frozenset[str]:
    if any(getattr(kind, name, None) is not getattr(object, name, None) for name in _PICKLING):
        return frozenset()  # it says itself what its state is
    return frozenset(
        name
        for base in inspect.getmro(cast("type", kind))
        for name, attribute in vars(base).items()
        if isinstance(attribute, functools.cached_property)
    )


_RULES: dict[type, Callable[[Any], RuleResult]] = {
    list: _list,
    tuple: _tuple,
    bytes: _bytes,
    bytearray: _bytes,
    memoryview: _view,
    dict: _dict,
    set: _set,
    frozenset: _set,
    slice: _slice,
    types.MappingProxyType: _proxy,
    types.CellType: _cell,
    CachedFunction: _cached,
}

_BASES: dict[type, Callable[[Any], RuleResult]] = {
    enum.Enum: _enum,
    PurePath: _path,
    BaseTask: task_parts,
    set: _set_subclass,
    frozenset: _set_subclass,
}
