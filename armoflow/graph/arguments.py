"""Finding and replacing lazy values inside arguments, to any depth.

Looked into: lists, tuples, sets, frozensets, dicts (keys too), their subclasses, named tuples, and
the fields of dataclass instances.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterable
from itertools import chain
from types import BuiltinFunctionType, FunctionType
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from armoflow.errors import ArgumentCycleError, GraphError
from armoflow.graph.lazy import Lazy

if TYPE_CHECKING:
    from armoflow.graph.collection import DelayedList
    from armoflow.graph.delayed import Delayed

Reference: TypeAlias = "Delayed[Any] | DelayedList[Any]"

ATOMS = frozenset(
    {
        *(bool, int, float, complex, str, bytes, bytearray, memoryview, range, slice, type),
        *(type(None), type(...), FunctionType, BuiltinFunctionType),
    }
)
"""Types that hold nothing to look into: the way past most arguments, quickly."""

_SEQUENCES = (list, tuple, set, frozenset)


def find_dependencies(value: object) -> list[Reference]:
    """Every lazy value inside ``value``, each once, in the order of appearance.

    Raises:
        ArgumentCycleError: If there are some and a container contains itself.

    Example:
        >>> from armoflow.graph.task import task
        >>> one = task(int)("1")
        >>> find_dependencies({"a": [one, (one, 2)]}) == [one]
        True
    """
    if type(value) in ATOMS:
        return []
    found, containers = _search(value, (Lazy,))
    if found:
        _check_cycles(containers)
    return cast("list[Reference]", found)


def _search(value: object, kinds: tuple[type, ...]) -> tuple[list[Any], dict[int, object]]:
    """The instances of some types in a value, and the containers by their ids.

    Not by recursion: arguments may be nested deeper than Python's stack. What a container holds is
    not kept: so many lists would have Python look for garbage again and again.
    """
    found: dict[int, object] = {}
    containers: dict[int, object] = {}
    todo: list[Any] = [value]
    while todo:
        part = todo.pop()
        kind = type(part)
        if kind is list or kind is tuple:  # as most are
            parts: Iterable[object] | None = part
        elif issubclass(kind, kinds):
            found[id(part)] = part
            continue
        else:
            parts = _parts(part)
        if parts is not None and id(part) not in containers:
            containers[id(part)] = part
            inner = [item for item in parts if type(item) not in ATOMS]
            if inner:
                inner.reverse()
                todo += inner
    return list(found.values()), containers


def _check_cycles(containers: dict[int, object]) -> None:
    done: set[int] = set()
    open_: set[int] = set()
    todo = list(containers)
    while todo:
        identity = todo[-1]
        if identity in done or identity in open_:
            todo.pop()
            open_.discard(identity)
            done.add(identity)
            continue
        open_.add(identity)
        for part in _parts(containers[identity]) or ():
            if id(part) in open_:
                raise ArgumentCycleError(f"a {type(part).__name__} contains itself")
            if id(part) in containers and id(part) not in done:
                todo.append(id(part))


def contains_lazy(value: object) -> bool:
    """Whether there is a lazy value inside ``value``, which may contain itself.

    A task may return data that contains itself; it only must not hold a ``Delayed`` as well.
    """
    seen: dict[int, object] = {}
    todo = [value]
    while todo:
        part = todo.pop()
        if type(part) in ATOMS or id(part) in seen:
            continue
        if issubclass(type(part), Lazy):
            return True
        parts = _parts(part)
        if parts is not None:
            seen[id(part)] = part
            todo.extend(inner for inner in parts if type(inner) not in ATOMS)
    return False


def _parts(value: object) -> Iterable[object] | None:
    kind = type(value)  # whatever the value says that it is: a mock may claim to be a list
    if issubclass(kind, _SEQUENCES):
        return cast("Iterable[object]", value)
    if issubclass(kind, dict):
        held = cast("dict[object, object]", value)
        return chain(held, held.values())
    if hasattr(kind, "__dataclass_fields__"):
        return _fields(value).values()
    return None


def _fields(value: Any) -> dict[str, object]:
    # A field without a value (init=False, never set) is none of our business.
    return {
        field.name: getattr(value, field.name)
        for field in dataclasses.fields(value)
        if hasattr(value, field.name)
    }


def substitute(value: Any, function: Callable[[Any], Any], *, kinds: tuple[type, ...] = ()) -> Any:
    """Replace each lazy value inside ``value`` by what ``function`` makes of it.

    Containers are rebuilt on the way, their types kept; what holds nothing lazy stays the same
    object.

    Args:
        value: Any value.
        function: What stands for a lazy value, or for an instance of ``kinds``.
        kinds: Further types of which instances are replaced.

    Raises:
        ArgumentCycleError: If something is to be replaced and a container contains itself.

    Example:
        >>> from armoflow.graph.task import task
        >>> substitute({"a": [task(int)("1"), 2]}, lambda delayed: 1)
        {'a': [1, 2]}
    """
    replaced = (Lazy, *kinds)
    if type(value) in ATOMS or not _search(value, replaced)[0]:
        return value
    return _Substitution(function, replaced).apply(value)


_OPEN = object()


class _Substitution:
    def __init__(self, function: Callable[[Any], Any], kinds: tuple[type, ...]) -> None:
        self._function = function
        self._kinds = kinds
        self._done: dict[int, Any] = {}
        self._originals: list[object] = []  # kept alive: `_done` knows them by id

    def apply(self, value: Any) -> Any:
        if type(value) in ATOMS:
            return value
        identity = id(value)
        known = self._done.get(identity)
        if known is _OPEN:
            raise ArgumentCycleError(f"a {type(value).__name__} contains itself")
        if identity in self._done:
            return known
        self._originals.append(value)
        if issubclass(type(value), self._kinds):
            result = self._function(value)
        else:
            self._done[identity] = _OPEN
            result = self._rebuild(value)
        self._done[identity] = result
        return result

    def _rebuild(self, value: Any) -> Any:
        if issubclass(type(value), _SEQUENCES):
            old = list(value)
            new = [self.apply(part) for part in old]
            return _sequence_like(value, new) if _differ(old, new) else value
        if issubclass(type(value), dict):
            old = list(chain(value, value.values()))
            new = [self.apply(part) for part in old]
            count = len(value)
            pairs = zip(new[:count], new[count:], strict=True)
            return _dict_like(value, pairs) if _differ(old, new) else value
        if hasattr(type(value), "__dataclass_fields__"):
            fields = _fields(value)
            new = [self.apply(part) for part in fields.values()]
            return _dataclass_like(value, fields, new) if _differ(fields.values(), new) else value
        return value


def _differ(old: Iterable[object], new: list[object]) -> bool:
    # A lazy part counts as changed even if it stays: `substitute` is also how containers around
    # lazy values are copied.
    return any(
        before is not after or isinstance(before, Lazy)
        for before, after in zip(old, new, strict=True)
    )


def _sequence_like(value: Any, parts: list[Any]) -> Any:
    kind: Any = type(value)
    if kind in _SEQUENCES:
        return kind(parts)
    if isinstance(value, tuple):
        return kind._make(parts) if hasattr(kind, "_make") else kind(parts)
    if isinstance(value, frozenset):
        return kind(parts)
    result = copy.copy(value)  # a subclass: whatever else it holds stays
    if isinstance(value, list):
        result[:] = parts
    else:
        result.clear()
        result.update(parts)
    return result


def _dict_like(value: dict[Any, Any], pairs: Iterable[tuple[Any, Any]]) -> dict[Any, Any]:
    if type(value) is dict:
        return dict(pairs)
    result = copy.copy(value)
    result.clear()
    for key, part in pairs:
        result[key] = part
    return result


def _dataclass_like(value: Any, names: Iterable[str], parts: list[Any]) -> Any:
    result = copy.copy(value)
    for name, part in zip(names, parts, strict=True):
        object.__setattr__(result, name, part)  # frozen ones too
    return result


def freeze(
    task: str, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any], tuple[Reference, ...]]:
    """Find the lazy values in the arguments of a task, and copy the containers around them.

    Without the copy, appending a result to a list that was an argument of it would close a cycle.
    Containers that hold nothing lazy are not copied: they may be large, and shared by many calls.
    """
    lazy: dict[Lazy, None] = {}
    nested = False
    for value in chain(args, kwargs.values()) if kwargs else args:
        if type(value) in ATOMS:
            continue
        if isinstance(value, Lazy):
            lazy[value] = None
        else:
            nested = True
    if not nested:
        return args, kwargs, cast("tuple[Reference, ...]", tuple(lazy))
    try:
        found = find_dependencies((args, kwargs))
    except ArgumentCycleError as error:
        message = f"task {task!r}: an argument contains itself: {error}"
        raise ArgumentCycleError(message) from None
    if found:
        try:
            args, kwargs = substitute((args, kwargs), lambda reference: reference)
        except RecursionError:
            raise GraphError(
                f"task {task!r}: an argument holds {found[0]!r} nested too deeply: pass it in "
                "an argument of its own, or flatten what it is in"
            ) from None
    return args, kwargs, tuple(found)
