"""A value as it was: copies of it, and whether something has changed it in place since."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Iterator
from itertools import zip_longest
from typing import Any, Final

from armoflow.cache.fingerprints import key_of
from armoflow.codec.payload import Pickled
from armoflow.codec.pickling import SCALARS, dumps, loads
from armoflow.errors import GraphError, SerializationError, UnkeyableError
from armoflow.graph.lazy import Lazy, out_of_sight

_THE_SAME: Final = (type, types.FunctionType, types.BuiltinFunctionType, types.ModuleType)
"""What copies of a value have in common with it."""

_DEEPEST: Final = 8
_NOTHING: Final = object()


class Snapshot:
    """A value as it is now.

    Args:
        value: The value.

    Attributes:
        size: Bytes of its pickle, arrays not counted.

    Raises:
        SerializationError: If it cannot be pickled.
        GraphError: If it holds a lazy value, which no task gets.

    Example:
        >>> value = {"words": ["a", "b"]}
        >>> before = Snapshot(value)
        >>> value["words"].append("c")
        >>> before.load(), before.change(value)
        ({'words': ['a', 'b']}, "['words'][2]")
    """

    def __init__(self, value: Any) -> None:
        self._held: dict[int, Any] = {}
        data, buffers = dumps(value, self._hold)
        self._pickled = Pickled(data, [bytes(buffer) for buffer in buffers])
        self.size = len(data)

    def load(self) -> Any:
        """A copy of it, that nobody else has."""
        own = [bytearray(buffer) for buffer in self._pickled.buffers]
        return loads(Pickled(self._pickled.data, own), self._held.__getitem__)

    def is_like(self, value: Any) -> bool:
        """Whether a value has the same pickle; else it may be the same all the same."""
        try:
            data, buffers = dumps(value, self._hold)
        except SerializationError:
            return False
        return data == self._pickled.data and [*buffers] == [*self._pickled.buffers]

    def change(self, value: Any) -> str | None:
        """How a place is reached where it, or a copy of it, is another now; None: nowhere."""
        return None if self.is_like(value) else place_of_change(self.load(), value)

    def _hold(self, value: Any) -> int | None:
        if isinstance(value, Lazy):
            raise out_of_sight(value)
        if isinstance(value, _THE_SAME) or type(value).__module__.startswith("armoflow."):
            self._held[id(value)] = value
            return id(value)
        return None


def snapshot_of(value: Any) -> Snapshot | None:
    """A value as it is now; None if it cannot change, or cannot be copied.

    Raises:
        GraphError: If it holds a lazy value.
    """
    if type(value) in SCALARS:
        return None
    try:
        snapshot = Snapshot(value)
        snapshot.load()
    except GraphError:
        raise
    except Exception:  # what the user's classes raise, too
        return None
    return snapshot


def described(function: Callable[..., Any], argument: int | str, place: str) -> str:
    """What an argument is called that was changed in place.

    Args:
        function: Whose it is.
        argument: Its name or position.
        place: How what was changed is reached from it.

    Example:
        >>> described(lambda first, *others: None, 2, "[0]")
        "its argument 'others[1]' in place, at [0]"
    """
    name = argument if isinstance(argument, str) else _name_at(function, argument)
    return f"its argument {name!r} in place" + (f", at {place}" if place else "")


def _name_at(function: Callable[..., Any], position: int) -> str:
    try:
        parameters = [*inspect.signature(function).parameters.values()]
    except (TypeError, ValueError):  # it is written in C
        return str(position)
    for index, parameter in enumerate(parameters):
        if parameter.kind is parameter.VAR_POSITIONAL:
            return f"{parameter.name}[{position - index}]"
        if index == position:
            return parameter.name
    return str(position)


def place_of_change(before: Any, after: Any, depth: int = 0) -> str | None:
    """How a place is reached where two values differ, by their keys; None: nowhere.

    Example:
        >>> place_of_change({"a": [1, 2]}, {"a": [1, 3]}), place_of_change({1, 2}, {2, 1})
        ("['a'][1]", None)
    """
    if _digest(before) == _digest(after):
        return None
    if type(before) is type(after) and depth < _DEEPEST:
        for label, one, other in _parts(before, after):
            place = place_of_change(one, other, depth + 1)
            if place is not None:
                return label + place
    return ""


def _parts(before: Any, after: Any) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(before, (list, tuple)):
        for index, (one, other) in enumerate(zip_longest(before, after, fillvalue=_NOTHING)):
            yield f"[{index}]", one, other
    elif isinstance(before, dict):
        for key in before.keys() | after.keys():
            yield f"[{key!r}]", before.get(key, _NOTHING), after.get(key, _NOTHING)
    elif hasattr(before, "__dict__"):
        one, other = vars(before), vars(after)
        for name in sorted(one.keys() | other.keys()):
            yield f".{name}", one.get(name, _NOTHING), other.get(name, _NOTHING)


def _digest(value: Any) -> bytes | None:
    """What a value is known by, else its pickle; None: it has neither."""
    if value is _NOTHING:
        return b""
    try:
        return key_of(value)
    except UnkeyableError:
        pass
    try:
        data, buffers = dumps(value)
    except SerializationError:
        return None
    return b"".join([data, *buffers])
