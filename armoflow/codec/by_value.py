"""Code that travels by value though its module has it: what differs from the module's source."""

from __future__ import annotations

import functools
import importlib
import io
import types
from collections.abc import Iterator
from typing import Any

from armoflow import config
from armoflow.codec.own_code import is_own
from armoflow.codec.pickler import CachedFunction, Pickler, cache_around, reduce_dispatch
from armoflow.codec.pickling import explain_failure
from armoflow.codec.references import code_imports, content_of, is_dispatcher
from armoflow.codec.usage import METHOD_PARTS, METHODS
from armoflow.system.importing import is_importable

_CODE = (*METHODS, type, functools.partial, types.MethodType)
_DEEPEST = 8


class TooLargeError(Exception):
    """A pickle grew too large."""


class _Limited(io.BytesIO):
    def write(self, data: Any) -> int:
        if self.tell() + len(data) > config.LIVE_DATA_LIMIT:
            raise TooLargeError
        return super().write(data)


class _Namespace:
    """Stands in a pickle for a module's dictionary."""

    def __init__(self, module: str) -> None:
        self._module = module

    def __reduce__(self) -> tuple[Any, ...]:
        return namespace_of, (self._module,)


def namespace_of(module: str) -> dict[str, Any]:
    """A module's dictionary; called by pickles."""
    return vars(importlib.import_module(module))


class _ByValue(Pickler):
    """Pickles functions by value even where they are what their module has under their name.

    They see the module's own globals where they are read back.
    """

    def __init__(self, value: Any) -> None:
        super().__init__(whole=True, file=_Limited())
        self._by_value: set[int] = set()
        if is_code(value) and not isinstance(value, type):
            self._by_value = set(map(id, (value, *functions_in(value))))

    def reducer_override(self, value: Any) -> Any:
        """Called by pickle for whatever is not a builtin scalar or container."""
        if id(value) not in self._by_value:
            return super().reducer_override(value)
        if isinstance(value, types.FunctionType):
            return reduce_dispatch(value) if is_dispatcher(value) else self._reduce_in_module(value)
        if isinstance(value, CachedFunction):
            return cache_around(value)
        if hasattr(type(value), "reduce_by_value"):
            return value.reduce_by_value()
        return super().reducer_override(value)

    def _reduce_in_module(self, function: types.FunctionType) -> Any:
        make, (code, scope, *rest), (state, slots), *end = self._dynamic_function_reduce(function)
        module = function.__globals__.get("__name__")
        if is_importable(module):
            scope = _Namespace(str(module))
            # What a loader has put there under names that no source can have.
            slots["__globals__"] = {
                name: value
                for name, value in slots["__globals__"].items()
                if not name.isidentifier()
            }
            self.names.add(module)
        self.names.update(code_imports(function))
        return (make, (code, scope, *rest), (state, slots), *end)


def pickle_by_value(value: Any, modules: set[str]) -> bytes | None:
    """Pickle what a name stands for, code by value; None if it cannot be.

    Raises:
        TooLargeError: If it is too large.
    """
    pickler = _ByValue(value)
    try:
        pickler.dump(value)
    except TooLargeError:
        raise
    except Exception:  # whatever the user's own __reduce__ raises; who needs the reason asks again
        return None
    pickler.report_modules(modules)
    return pickler.file.getvalue()


def reason_against(value: Any) -> str:
    """Why a value could not be pickled."""
    pickler = Pickler(whole=True)
    try:
        pickler.dump(value)
    except Exception as error:
        return explain_failure(value, error, None, type(value).__name__)
    return f"a {type(value).__name__} that is too large"


def is_code(value: Any) -> bool:
    """Whether a value is code: a function, a class, what is made of them or decorates one."""
    return isinstance(value, _CODE) or "__wrapped__" in getattr(value, "__dict__", {})


def functions_in(value: Any, depth: int = _DEEPEST) -> Iterator[types.FunctionType]:
    """The user's own functions that a value consists of: itself, or what was decorated."""
    if isinstance(value, type) or not depth:
        return
    if isinstance(value, types.FunctionType) and is_own(value.__globals__.get("__name__") or ""):
        yield value
    parts = [getattr(value, "__dict__", {}).get("__wrapped__")]
    if isinstance(value, types.FunctionType):
        parts += map(content_of, value.__closure__ or ())
        if is_dispatcher(value):
            parts += vars(value)["registry"].values()
    elif isinstance(value, METHODS):
        parts += [getattr(value, name, None) for name in METHOD_PARTS]
    elif isinstance(value, functools.partial):
        parts.append(value.func)
    for part in parts:
        if part is not None and part is not value and callable(part):
            yield from functions_in(part, depth - 1)
