"""The pickler: cloudpickle's, and what armoflow does differently."""

from __future__ import annotations

import functools
import io
import pickle
import sys
import types
import weakref
from collections.abc import Callable
from typing import Any

import cloudpickle

from armoflow import config
from armoflow.codec.modules import is_user_module
from armoflow.codec.references import code_imports, find_wrapped, is_importable, load_wrapped

PROTOCOL = 5

_CachedFunction = type(functools.lru_cache(len))


class Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    """A pickler that notes the modules it refers to, and that can be used again.

    Attributes:
        file: Where it writes.
        names: Names of the modules that it referred to.
        buffers: Out-of-band buffers.
    """

    file: io.BytesIO
    globals_ref: dict[int, dict[str, Any]]

    def __init__(self, *, whole: bool = False) -> None:
        self.file = io.BytesIO()
        self.names: set[Any] = set()
        self.buffers: list[memoryview] = []
        callback = None if whole else self._keep_buffer
        super().__init__(self.file, protocol=PROTOCOL, buffer_callback=callback)

    def reset(self) -> None:
        """Forget everything about the last value."""
        self.file.seek(0)
        self.file.truncate()
        self.clear_memo()
        if self.names:
            self.names.clear()
            self.globals_ref = {}
        if self.buffers:
            self.buffers = []

    def report_modules(self, modules: set[str]) -> None:
        """Add the user's own modules among those referred to."""
        for name in self.names:
            if name not in modules and isinstance(name, str) and is_user_module(name):
                modules.add(name)

    def reducer_override(self, value: Any) -> Any:
        """Called by pickle for whatever is not a builtin scalar or container."""
        kind = type(value)
        if kind is types.FunctionType:
            return self._reduce_function(value)
        if issubclass(kind, type):
            return self._reduce_class(value)
        self.names.add(kind.__module__)
        if kind is types.ModuleType:
            self.names.add(value.__name__)
        elif callable(value):
            self.names.add(getattr(value, "__module__", None))
            if kind is _CachedFunction:
                return self._reduce_cached(value)
        elif kind.__name__ == "ndarray":
            return _reduce_array(value)
        return NotImplemented

    def _reduce_function(self, function: types.FunctionType) -> Any:
        self.names.add(function.__module__)
        wrapped = find_wrapped(function)
        if wrapped is not None:
            return load_wrapped, wrapped
        reduced = super().reducer_override(function)
        if reduced is NotImplemented:
            if is_importable(function.__module__):
                return NotImplemented
            reduced = self._dynamic_function_reduce(function)
        self.names.update(code_imports(function))
        return reduced

    def _reduce_cached(self, function: Any) -> Any:
        """What ``functools.lru_cache`` makes: by reference, else around a copy of the function."""
        module = sys.modules.get(function.__module__)
        if is_importable(function.__module__) and module is not None:
            if getattr(module, function.__qualname__, None) is function:
                return NotImplemented
            wrapped = find_wrapped(function)
            if wrapped is not None:
                return load_wrapped, wrapped
        return _cache, (function.__wrapped__, function.cache_parameters())

    def _reduce_class(self, cls: type) -> Any:
        self.names.add(cls.__module__)
        reduced = super().reducer_override(cls)
        if isinstance(reduced, tuple) and len(reduced) == 6:
            if cls not in _loaded_classes:
                _own_classes.add(cls)
            return (*reduced[:5], _ClassState(reduced[5]))
        return reduced

    def _keep_buffer(self, buffer: pickle.PickleBuffer) -> bool:
        try:
            view = buffer.raw()
        except BufferError:  # not contiguous: pickle says so itself
            return True
        if view.nbytes < config.OUT_OF_BAND_LIMIT:
            return True
        self.buffers.append(view)
        return False


def _reduce_array(value: Any) -> Any:
    """Large numpy arrays that numpy itself would copy into the pickle."""
    numpy = sys.modules.get("numpy")
    if numpy is None or type(value) is not numpy.ndarray or value.nbytes < config.OUT_OF_BAND_LIMIT:
        return NotImplemented
    dtype = value.dtype
    if dtype.kind in "mM":  # dates export no buffer: as the integers that they are
        return _view_as, (numpy.ascontiguousarray(value).view("i8"), dtype)
    if dtype.hasobject or value.flags.forc:
        return NotImplemented
    return numpy.ascontiguousarray(value).__reduce_ex__(PROTOCOL)


def _cache(function: Callable[..., Any], parameters: dict[str, Any]) -> Any:
    return functools.lru_cache(**parameters)(function)


def _view_as(array: Any, dtype: Any) -> Any:
    return array.view(dtype)


# Classes pickled by value (those of __main__ and of functions) keep their identity between
# processes: cloudpickle numbers them. But when a value comes home, it would also set the class's
# attributes again, to copies whose functions see other globals. A class that was defined here is
# therefore left alone.
_own_classes: weakref.WeakSet[type] = weakref.WeakSet()
_loaded_classes: weakref.WeakSet[type] = weakref.WeakSet()


class _ClassState:
    """Sets the state of a class pickled by value, unless the class is this process's own."""

    __slots__ = ("_set_state",)

    def __init__(self, set_state: Callable[[type, Any], Any]) -> None:
        self._set_state = set_state

    def __call__(self, cls: type, state: Any) -> None:
        if cls not in _own_classes:
            _loaded_classes.add(cls)
            self._set_state(cls, state)

    def __reduce__(self) -> tuple[Any, ...]:
        return _ClassState, (self._set_state,)
