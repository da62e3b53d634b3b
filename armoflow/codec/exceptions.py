"""Exceptions that cross processes: pickled where that works, else taken apart and revived.

What is read back here is code: only from records whose seal the session's key has confirmed.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

from armoflow import config
from armoflow.codec.bare import (
    arguments_of,
    attribute,
    is_a,
    looked,
    members_of,
    path_of,
    set_state,
)
from armoflow.codec.clipping import clip
from armoflow.codec.traces import message_of
from armoflow.errors import ArmoflowError
from armoflow.interrupts import is_interrupt

_SHORT = 500  # characters of a message that is all that is left of an exception
_SMALL = config.ERROR_RECORD_LIMIT // 4  # bytes of a form that fits into any record
_LARGEST = config.ERROR_MESSAGE_LIMIT + 64 * config.KIB


class Form(NamedTuple):
    """A pickle from which an exception can be made again: ``whole``, or its ``state`` alone."""

    kind: str
    pickle: bytes


def is_raisable(kind: type[BaseException]) -> bool:
    """Whether raising it in the caller means "a task failed" and nothing else.

    ``SystemExit`` would stop the caller, ``StopIteration`` end its loops. ``CancelledError`` says
    that the caller's future was cancelled: who awaits it would be cancelled, too.
    """
    if not issubclass(kind, Exception) or issubclass(kind, (StopIteration, StopAsyncIteration)):
        return False
    futures = sys.modules.get("concurrent.futures")  # else no class can be one of its
    return (
        futures is None
        or not issubclass(kind, futures.CancelledError)
        or issubclass(kind, ArmoflowError)  # of an argument that was cancelled
    )


def forms_of(error: BaseException) -> list[Form]:
    """What the caller can make an exception again from, the most faithful form first.

    The second one is there where the first may be too large for a short record.
    """
    if not is_raisable(type(error)):
        return []
    whole = pickle_exception(error) or pickle_parts(error)
    if whole is not None and len(whole) <= _SMALL:
        return [Form("whole", whole)]
    forms = [] if whole is None else [Form("whole", whole)]
    for limit in (_LARGEST, _SMALL) if whole is None else (_SMALL,):
        state = pickle_state(error, limit)
        if state is not None and Form("state", state) not in forms:
            forms.append(Form("state", state))
    return forms


def pickle_exception(error: BaseException) -> bytes | None:
    """An exception's pickle, if it gives the same type and arguments when it is read back."""
    from armoflow.codec.pickling import dumps_whole  # who passes errors on goes without

    try:
        data = dumps_whole(error)
        copy = load_exception(data) if len(data) <= _LARGEST else None
        same = type(copy) is type(error) and copy is not None and bool(copy.args == error.args)
    except BaseException as broken:  # whatever the user's own pickling hooks raise, or would end
        if is_interrupt(broken):
            raise
        return None
    return data if same else None


def pickle_parts(error: BaseException) -> bytes | None:
    """As :func:`pickle_exception`, without what of the exception cannot be pickled.

    For types that no path leads to, as those that a function has made, and for groups, of which
    one member may be all that cannot be pickled: of others the state is enough.
    """
    kind = type(error)
    if members_of(error) is None and looked(lambda: _type_at(path_of(kind)), None) is kind:
        return None
    data = _pickle_readable(_Parts(error), _LARGEST)
    return None if data is None or type(load_exception(data)) is not kind else data


class _Parts:
    """Is pickled as an exception with what of it can be pickled."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def __reduce__(self) -> tuple[Any, ...]:
        members = members_of(self._error)
        if members is not None:
            message = arguments_of(self._error)[0]
            return make_again, (type(self._error), (message, [*map(_Parts, members)]), {})
        states = _states(self._error, _LARGEST)
        args, attributes = next(s for s in states if _pickle_readable(s, _LARGEST) is not None)
        return make_again, (type(self._error), args, attributes)


def make_again(
    kind: type[BaseException], args: tuple[Any, ...], attributes: dict[str, Any]
) -> BaseException:
    """An exception of its arguments and attributes; called by pickles."""
    error = kind.__new__(kind, *args)  # not __init__, whose arguments may be others
    set_state(error, args, attributes)
    return error


def load_exception(data: bytes) -> BaseException | None:
    """Read an exception back; None if it is something else."""
    import pickle

    error = pickle.loads(data)
    return error if is_a(error, BaseException) else None


def pickle_state(error: BaseException, limit: int = _LARGEST) -> bytes | None:
    """An exception's arguments and attributes, as far as these can be pickled and are small."""
    for state in _states(error, limit):
        data = _pickle_readable(state, limit)
        if data is not None:
            return data
    return None


def _states(error: BaseException, limit: int) -> Iterator[tuple[tuple[Any, ...], dict[str, Any]]]:
    """Its arguments and attributes, and ever less of them; the last can always be pickled."""
    args, attributes = arguments_of(error), attribute(error, "__dict__") or {}
    yield args, attributes
    readable = {
        name: value
        for name, value in attributes.items()
        if _pickle_readable(value, limit) is not None
    }
    yield args, readable
    yield args, {}
    message = message_of(error)
    yield (message,), {}
    yield (clip(message, _SHORT),), {}


def _pickle_readable(state: Any, limit: int) -> bytes | None:
    import pickle

    from armoflow.codec.pickling import dumps_whole

    try:
        data = dumps_whole(state)
        if len(data) > limit:
            return None
        pickle.loads(data)
    except BaseException as broken:  # whatever the user's own pickling hooks raise, or would end
        if is_interrupt(broken):
            raise
        return None
    return data


def revive_exception(type_name: str, state: bytes) -> BaseException | None:
    """An exception from its type's import path and what :func:`pickle_state` gave."""
    kind = _type_at(type_name)
    if kind is None:
        return None
    import pickle

    return make_again(kind, *pickle.loads(state))


def _type_at(path: str) -> type[BaseException] | None:
    module, _, name = path.rpartition(".")
    return _find_type(module or "builtins", name)


def _find_type(module: str, name: str) -> type[BaseException] | None:
    # "package.module.Outer.Inner": the module ends where importing fails.
    names = [name]
    while module:
        try:
            found: Any = importlib.import_module(module)
            break
        except ModuleNotFoundError:
            module, _, last = module.rpartition(".")
            names.insert(0, last)
    else:
        return None
    for part in names:
        found = getattr(found, part, None)
    return found if isinstance(found, type) and issubclass(found, BaseException) else None
