"""Exceptions that cross processes: pickled where that works, else taken apart and revived."""

from __future__ import annotations

import importlib
import pickle
from typing import Any

from armoflow import config
from armoflow.codec.pickling import dumps_whole
from armoflow.codec.traces import message_of

_SHORT = 500  # characters of a message that is all that is left of an exception


def is_raisable(kind: type[BaseException]) -> bool:
    """Whether raising it in the caller means "a task failed" and nothing else.

    ``SystemExit`` or ``CancelledError`` would stop the caller, ``StopIteration`` end its loops.
    """
    return issubclass(kind, Exception) and not issubclass(kind, (StopIteration, StopAsyncIteration))


def pickle_exception(error: BaseException) -> bytes | None:
    """An exception's pickle, if it gives the same type and arguments when it is read back."""
    try:
        data = dumps_whole(error)
        copy = load_exception(data) if len(data) <= config.ERROR_RECORD_LIMIT else None
        same = type(copy) is type(error) and copy is not None and bool(copy.args == error.args)
    except Exception:  # whatever the user's own pickling hooks raise
        return None
    return data if same else None


def load_exception(data: bytes) -> BaseException | None:
    """Read an exception back; None if it is something else."""
    error = pickle.loads(data)
    return error if isinstance(error, BaseException) else None


def pickle_state(error: BaseException) -> bytes | None:
    """An exception's arguments and attributes, as far as these can be pickled and are small."""
    message = message_of(error)
    short = message if len(message) <= _SHORT else message[: _SHORT - 3] + "..."
    states: tuple[Any, ...] = (
        (error.args, vars(error)),
        (error.args, {}),
        ((message,), {}),
        ((short,), {}),
    )
    for state in states:
        data = _pickle_readable(state)
        if data is not None:
            return data
    return None


def _pickle_readable(state: Any) -> bytes | None:
    try:
        data = dumps_whole(state)
        if len(data) > config.ERROR_RECORD_LIMIT:
            return None
        pickle.loads(data)
    except Exception:  # whatever the user's own pickling hooks raise
        return None
    return data


def revive_exception(type_name: str, state: bytes) -> BaseException | None:
    """An exception from its type's import path and what :func:`pickle_state` gave."""
    module, _, name = type_name.rpartition(".")
    kind = _find_type(module or "builtins", name)
    if kind is None:
        return None
    args, attributes = pickle.loads(state)
    error = kind.__new__(kind, *args)  # not __init__, whose arguments may be others
    error.args = args
    for attribute, value in attributes.items():
        setattr(error, attribute, value)
    return error


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
