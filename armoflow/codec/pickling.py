"""Values to bytes and back: cloudpickle, protocol 5, large buffers out of band.

Buffers from ``config.OUT_OF_BAND_LIMIT`` bytes up (numpy arrays, ``bytes``, ``bytearray``) are not
copied into the pickle: they come beside it as views of the value's own memory, and a value that is
read back views the memory that it was read from. Smaller ones are copied, which is cheaper than
keeping them apart, and gives the reader memory of its own to write to.
"""

from __future__ import annotations

import functools
import io
import pickle
import types
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from armoflow import config
from armoflow.codec.explain import explain_failure as explain
from armoflow.codec.payload import Pickled
from armoflow.codec.pickler import PROTOCOL, Pickler
from armoflow.errors import ArmoflowError, SerializationError
from armoflow.interrupts import is_interrupt

PersistentId: TypeAlias = Callable[[Any], Any]
"""Gives the reference that stands for an object in a pickle, or None to pickle the object."""

SCALARS = frozenset({types.NoneType, bool, int, float, complex, str, bytes})
"""Types whose values hold nothing, cannot be changed, and pickle to one piece."""

_FIXED_SIZE = frozenset({types.NoneType, bool, int, float, complex})
_BINARY = frozenset({bytes, bytearray})
_ATOMS = SCALARS | _BINARY
_CONTAINERS = frozenset({tuple, list, dict, set, frozenset})
_SMALL = 1024  # longer strings are pickled one by one, so that a packed list stays balanced

_OBJECTS = 1  # survey: there is something besides scalars and plain containers
_LARGE = 2  # survey: there is binary data to be kept out of the pickle
_SURVEY_DEPTH = 4
_SURVEY_LENGTH = 64
_LARGE_MARK = "\0large"
_LARGE_BYTES = _LARGE_MARK.encode()  # as it stands in a pickle

_POOL_SIZE = 4
_POOL_BYTES = 8 * config.KIB  # a pickler keeps a table as large as its largest pickle needed

_new_tuple = tuple.__new__
_plain_dumps = pickle.dumps
_plain_loads = pickle.loads  # whatever a task puts there
_c_dump = pickle.Pickler.dump


def is_scalar(value: object) -> bool:
    """Whether a value is an immutable scalar that any number of may be pickled in one list.

    Example:
        >>> is_scalar(1), is_scalar("x" * 5000), is_scalar([1])
        (True, False, False)
    """
    kind = type(value)
    return kind in _FIXED_SIZE or (
        kind in SCALARS and len(value) <= _SMALL  # type: ignore[arg-type]
    )


def are_scalars(values: Sequence[object]) -> bool:
    """Whether :func:`is_scalar` holds for every one, found out several times faster.

    Example:
        >>> are_scalars([1, 2.0, "three"]), are_scalars([1, [2]])
        (True, False)
    """
    kinds = set(map(type, values))
    if kinds <= _FIXED_SIZE:
        return True
    return kinds <= SCALARS and all(map(is_scalar, values))


def dumps(
    value: Any,
    persistent_id: PersistentId | None = None,
    modules: set[str] | None = None,
    others: set[str] | None = None,
    code: set[Any] | None = None,
) -> Pickled:
    """Pickle a value.

    Args:
        value: Anything that cloudpickle can pickle.
        persistent_id: Asked for every object, at any depth, except scalars and plain containers
            that hold nothing else (it may be asked for these too): the reference that stands for
            the object in the pickle, or None.
        modules: Gets the names of the user's own modules that the reader will import.
        others: With it, gets the top-level names of all other modules.
        code: With it, gets the functions in the value, and the classes that travel with it.

    Returns:
        The pickle, and its out-of-band buffers as one-dimensional views of bytes.

    Raises:
        SerializationError: If a part of the value cannot be pickled; the message says which.

    Example:
        >>> loads(dumps({"a": [1, 2]}))
        {'a': [1, 2]}
        >>> import threading
        >>> dumps({"a": [1, threading.Lock()]})
        Traceback (most recent call last):
        armoflow.errors.SerializationError: _thread.lock at value['a'][1] cannot be pickled: ...
    """
    kind = type(value)
    found = _OBJECTS
    if kind in _ATOMS:
        if kind not in _BINARY or len(value) < config.OUT_OF_BAND_LIMIT:
            return _new_tuple(Pickled, (_plain_dumps(value, PROTOCOL), ()))
        found = _LARGE
    elif kind in _CONTAINERS:
        found = _survey(value, _SURVEY_DEPTH)
    named = modules, others, code
    try:
        if not found:
            return _new_tuple(Pickled, (_plain_dumps(value, PROTOCOL), ()))
        if found & _LARGE:
            return _dump(_HOOKED_POOL, value, _large_hook(persistent_id), named)
        if persistent_id is not None:
            return _dump(_HOOKED_POOL, value, persistent_id, named)
        return _dump(_PLAIN_POOL, value, None, named)
    except ArmoflowError:
        raise
    except BaseException as error:  # the value's own code may raise anything, SystemExit too
        if is_interrupt(error):
            raise
        raise SerializationError(explain_failure(value, error, persistent_id)) from error


def dumps_whole(
    value: Any,
    modules: set[str] | None = None,
    others: set[str] | None = None,
    *,
    own: bool = True,
) -> bytes:
    """As :func:`dumps`, into one string of bytes; for code and exceptions, which are small.

    Args:
        value: The value.
        modules: Gets the names of modules that the reader will import.
        others: As in :func:`dumps`.
        own: Only of the user's own.
    """
    pickler = Pickler(whole=True)
    try:
        pickler.dump(value)
    except ArmoflowError:
        raise
    except BaseException as error:
        if is_interrupt(error):
            raise
        raise SerializationError(explain_failure(value, error)) from error
    if modules is not None and own:
        pickler.report_modules(modules, others)
    elif modules is not None:
        modules.update(name for name in pickler.names if isinstance(name, str))
    return pickler.file.getvalue()


def reduce_class(cls: type) -> Any:
    """As pickle wants it: how a class is made again where it is not known by its name."""
    return Pickler().reducer_override(cls)


def loads(pickled: Pickled, persistent_load: Callable[[Any], Any] | None = None) -> Any:
    """Read a value back; large arrays in it are views of the buffers.

    Args:
        pickled: What :func:`dumps` returned.
        persistent_load: Gives the object that a reference stands for.
    """
    data, buffers = pickled
    if persistent_load is None:
        return Unpickler(data, buffers, None).load() if buffers else _plain_loads(data)
    if buffers or type(data) is not bytes or _LARGE_BYTES in data:  # what is large may be elsewhere
        return Unpickler(data, buffers, persistent_load).load()
    # Then nothing in it is large, and no method written in Python has to stand between.
    unpickler = _Referring(io.BytesIO(data))
    unpickler.persistent_load = persistent_load  # type: ignore[method-assign]
    return unpickler.load()


def explain_failure(
    value: Any,
    error: BaseException,
    persistent_id: PersistentId | None = None,
    root: str = "value",
) -> str:
    """Say which part of a value cannot be pickled, and where it is.

    Args:
        value: What was to be pickled.
        error: What pickling it raised.
        persistent_id: The hook that was used.
        root: What to call the value.
    """
    return explain(value, error, functools.partial(_attempt, persistent_id=persistent_id), root)


def _attempt(part: Any, persistent_id: PersistentId | None) -> None:
    pickler = Pickler(whole=True)
    if persistent_id is not None:
        pickler.persistent_id = persistent_id
    pickler.dump(part)


_PLAIN_POOL: list[Pickler] = []
_HOOKED_POOL: list[Pickler] = []


def _dump(
    pool: list[Pickler],
    value: Any,
    hook: PersistentId | None,
    named: tuple[set[str] | None, set[str] | None, set[Any] | None],
) -> Pickled:
    # Making a pickler costs several times as much as pickling a few arguments with it. One that
    # failed is not used again; popping from and appending to a list are atomic.
    try:
        pickler = pool.pop()
    except IndexError:
        pickler = Pickler()
    if hook is not None:
        pickler.persistent_id = hook
    _c_dump(pickler, value)
    data = pickler.file.getvalue()
    buffers = pickler.buffers
    modules, others, code = named
    if modules is not None and pickler.names:
        pickler.report_modules(modules, others)
        if code is not None:
            code |= pickler.code
    if len(data) <= _POOL_BYTES and len(pool) < _POOL_SIZE:
        if hook is not None:
            pickler.persistent_id = _no_reference
        pickler.reset()
        pool.append(pickler)
    return _new_tuple(Pickled, (data, buffers or ()))


def _no_reference(_value: Any) -> None:
    return None


def _survey(items: Any, depth: int) -> int:
    """What is in a builtin container: nothing but scalars, other objects, large binary data."""
    found = 0
    if len(items) > _SURVEY_LENGTH:
        kinds = set(map(type, items))
        if not kinds <= _ATOMS:
            found = _OBJECTS
        if not kinds.isdisjoint(_BINARY) and any(map(_is_large, items)):
            found |= _LARGE
    else:
        for item in items:
            kind = type(item)
            if kind in _ATOMS:
                if kind in _BINARY and len(item) >= config.OUT_OF_BAND_LIMIT:
                    found |= _LARGE
            elif kind not in _CONTAINERS or not depth:
                found |= _OBJECTS
            elif item:
                found |= _survey(item, depth - 1)
    if type(items) is dict:
        found |= _survey(items.values(), depth)
    return found


def _is_large(value: Any) -> bool:
    return type(value) in _BINARY and len(value) >= config.OUT_OF_BAND_LIMIT


def _large_hook(persistent_id: PersistentId | None) -> PersistentId:
    """A hook that keeps large binary data out of the pickle.

    Pickle asks about ``bytes`` nowhere else, and would copy them. The reference holds a buffer,
    which goes out of band; data that occurs again is referred to by its number.
    """
    numbers: dict[int, int] = {}

    def refer(value: Any) -> Any:
        kind = type(value)
        if kind in _BINARY and len(value) >= config.OUT_OF_BAND_LIMIT:
            number = numbers.get(id(value))
            if number is not None:
                return _LARGE_MARK, number
            numbers[id(value)] = len(numbers)
            return _LARGE_MARK, kind, pickle.PickleBuffer(value)
        return None if persistent_id is None else persistent_id(value)

    return refer


class _Referring(pickle.Unpickler):
    """One whose ``persistent_load`` can be set: in Python 3.13.0 that of pickle's own cannot."""


class Unpickler(pickle.Unpickler):
    """Reads back what :func:`dumps` has written; its arguments are those of :func:`loads`."""

    def __init__(
        self, data: Any, buffers: Sequence[Any], persistent_load: Callable[[Any], Any] | None
    ) -> None:
        super().__init__(io.BytesIO(data), buffers=buffers)
        self._persistent_load = persistent_load
        self._large: list[Any] = []

    def make_large(self, kind: type, content: Any) -> Any:
        """Large binary data, of what came out of band."""
        return kind(content)

    def persistent_load(self, reference: Any) -> Any:
        """What a reference stands for."""
        if type(reference) is tuple and reference and reference[0] == _LARGE_MARK:
            if len(reference) == 2:
                return self._large[reference[1]]
            self._large.append(self.make_large(reference[1], reference[2]))
            return self._large[-1]
        if self._persistent_load is None:
            raise pickle.UnpicklingError(f"nothing to resolve the reference {reference!r} with")
        return self._persistent_load(reference)
