"""Why a value cannot be pickled: which part of it, and where."""

from __future__ import annotations

import itertools
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

from armoflow.codec.bare import cause_of, is_a, looked, set_traceback
from armoflow.codec.traces import message_of, type_name
from armoflow.interrupts import is_interrupt

_DEEPEST = 32
_WIDEST = 10_000
_SHORT = 60


def explain_failure(
    value: Any, error: BaseException, attempt: Callable[[Any], object], root: str = "value"
) -> str:
    """Find the innermost part that cannot be pickled by itself, and describe it.

    Args:
        value: What was to be pickled.
        error: What pickling it raised.
        attempt: Pickles a part, or raises.
        root: What to call the value.
    """
    if is_a(error, RecursionError) or is_a(cause_of(error), RecursionError):
        return _explain_depth(value, attempt, root)
    place, part, variable = root, value, ""
    seen = {id(value)}
    for _ in range(_DEEPEST):
        for where, child, context in _visible_parts(part):
            failure = None if id(child) in seen else _failure(child, attempt)
            if failure is not None:
                seen.add(id(child))
                place, part, error = (where if context else place + where), child, failure
                variable = f" ({context})" if context else variable
                break
        else:
            break
    reason = message_of(error) or type_name(error)
    return f"{_name(part)} at {place}{variable} cannot be pickled: {reason}{_remedy(part)}"


_FILE = "give its path or what it holds, and open it in the task"
_SHARED = "leave it out, or make it in the task: tasks share nothing"
_REMEDIES = {
    ("io", "IOBase"): _FILE,
    ("tempfile", "_TemporaryFileWrapper"): _FILE,
    ("socket", "socket"): "give the address, and connect in the task",
    ("_thread", "LockType"): _SHARED,
    ("_thread", "_ThreadHandle"): _SHARED,  # of a thread, from Python 3.13 on
    ("types", "GeneratorType"): "give a list, or task.map(iterable) for a call of each item",
    ("types", "CoroutineType"): "give the value that awaiting it gives",
}
"""What to give in place of an object that means nothing in another process, by module and name."""


def _remedy(part: Any) -> str:
    for (module, name), remedy in _REMEDIES.items():
        if module in sys.modules and is_a(part, getattr(sys.modules[module], name, ())):
            return f": {remedy}"
    if looked(lambda: part.__class__ is not type(part), True):
        return (
            f": its __class__ is not {type(part).__qualname__}, which pickle refuses: give it a "
            "__reduce__ that says how to make it again"
        )
    return ""


def _explain_depth(value: Any, attempt: Callable[[Any], object], root: str) -> str:
    if is_a(value, types.FunctionType):  # then a variable of it is nested, and has a name
        for variable, child, context in _function_parts(value):
            if _failure(child, attempt) is not None:
                value, root = child, f"{variable} ({context})" if context else variable
                break
    return (
        f"{_name(value)} at {root} cannot be pickled: it is nested too deeply (Python's pickle "
        "goes down about half of sys.getrecursionlimit() levels): flatten it, for example to a "
        "list of rows that name their parent"
    )


def _failure(part: Any, attempt: Callable[[Any], object]) -> BaseException | None:
    try:
        attempt(part)
    except BaseException as error:
        if is_interrupt(error):
            raise
        set_traceback(error, None)  # its frames would hold it, and who called
        return error
    return None


def _name(part: Any) -> str:
    if is_a(part, types.FunctionType):
        return f"function {part.__qualname__!r}"
    kind = part if is_a(part, type) else type(part)
    name = kind.__qualname__
    if kind.__module__ not in ("builtins", "__main__"):
        name = f"{kind.__module__}.{name}"
    return f"class {name}" if is_a(part, type) else name


_Parts = Iterator[tuple[str, Any, str]]


def _visible_parts(value: Any) -> _Parts:
    """The parts of a value, as far as its own code lets them be seen."""
    parts = _parts(value)
    while (found := looked(lambda: next(parts, None), None)) is not None:
        yield found


def _parts(value: Any) -> _Parts:
    """The parts that are pickled along with a value: how to reach each, and the variable it is."""
    if is_a(value, dict):
        for key, item in itertools.islice(value.items(), _WIDEST):
            yield f"[{_short(key)}]", item, ""
            yield f", key {_short(key)}", key, ""
    elif is_a(value, (list, tuple)):
        for index, item in enumerate(value[:_WIDEST]):
            yield f"[{index}]", item, ""
    elif is_a(value, (set, frozenset)):
        for item in itertools.islice(value, _WIDEST):
            yield f", element {_short(item)}", item, ""
    elif is_a(value, types.FunctionType):
        yield from _function_parts(value)
    elif is_a(value, types.MethodType):
        yield ".__self__", value.__self__, ""
        yield ".__func__", value.__func__, ""
    elif is_a(value, type):
        for name, item in vars(value).items():
            if not (name.startswith("__") and name.endswith("__")):
                yield f".{name}", getattr(item, "__func__", item), ""
    else:
        yield from _object_parts(value)


def _function_parts(function: types.FunctionType) -> _Parts:
    where = f"of function {function.__qualname__!r}"
    for variable, cell in zip(
        function.__code__.co_freevars, function.__closure__ or (), strict=False
    ):
        try:
            content = cell.cell_contents
        except ValueError:  # not assigned yet
            continue
        yield variable, content, f"closure variable {variable!r} {where}"
    for variable in _names(function.__code__):
        if variable in function.__globals__:
            yield variable, function.__globals__[variable], f"global {variable!r} {where}"
    for index, content in enumerate(function.__defaults__ or ()):
        yield f"default {index}", content, f"default argument {where}"
    for variable, content in (function.__kwdefaults__ or {}).items():
        yield variable, content, f"default of argument {variable!r} {where}"
    for name, content in function.__dict__.items():
        yield f".{name}", content, ""


def _names(code: types.CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names(constant)


def _object_parts(value: Any) -> _Parts:
    reduced = looked(lambda: value.__reduce_ex__(5), None)  # the state below may say more
    for name, item in _state(value):
        yield f".{name}", item, ""
    if isinstance(reduced, tuple):
        for item in itertools.chain(reduced[1] or (), reduced[2:3]):
            yield ", in its state", item, ""


def _state(value: Any) -> Iterator[tuple[str, Any]]:
    attributes = getattr(value, "__dict__", None)
    if isinstance(attributes, dict):
        yield from attributes.items()
    for kind in type(value).__mro__:
        slots = kind.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if name not in ("__dict__", "__weakref__") and hasattr(value, name):
                yield name, getattr(value, name)


def _short(value: Any) -> str:
    text = looked(lambda: repr(value), f"<{type(value).__name__}>")
    return text if len(text) <= _SHORT else text[: _SHORT - 3] + "..."
