"""The pickler: cloudpickle's, and what armoflow does differently."""

from __future__ import annotations

import copyreg
import enum
import functools
import io
import pickle
import sys
import types
from collections.abc import Callable
from typing import Any

import cloudpickle

from armoflow import config
from armoflow.codec.ancestry import BASES
from armoflow.codec.classes import (
    MEMBERS,
    SHADOWING,
    ClassPickle,
    ClassState,
    known_pickle,
    load_class,
    note_class,
    pickle_class,
)
from armoflow.codec.modules import is_user_module, names_of_global
from armoflow.codec.references import (
    code_imports,
    find_wrapped,
    globals_by_text,
    is_dispatcher,
    is_reachable,
    load_global,
    load_wrapped,
)
from armoflow.system.importing import MAIN, is_importable

PROTOCOL = 5

CachedFunction = type(functools.lru_cache(len))


_FUNCTION = types.FunctionType

_CLOUDPICKLE: dict[type, Callable[[Any], Any]] = cloudpickle.Pickler.dispatch_table.maps[0]


_IMPORT_STATE = frozenset({"__builtins__", "__cached__", "__loader__", "__spec__"})

_NO_FILE = "<dynamic-code>"
"""What cloudpickle 3.1.3 and later write in place of a file's name."""


def _reduce_code(code: types.CodeType) -> Any:
    """As cloudpickle reduces code, with its file: tracebacks shall show the user's lines."""
    kind, arguments = _CLOUDPICKLE[types.CodeType](code)
    # A new string each time, as cloudpickle makes them: equal functions have equal pickles.
    file = "".join(list(code.co_filename))
    return kind, tuple(file if _stands_for_file(part) else part for part in arguments)


def _stands_for_file(part: Any) -> bool:
    return type(part) is str and part == _NO_FILE  # python -bb compares no bytes with texts


def _reduce_cached_property(value: functools.cached_property[Any]) -> Any:
    """What it is made of: up to Python 3.11 it holds a lock, too."""
    return functools.cached_property, (value.func,), {"attrname": value.attrname}


def _reduce_file(file: io.TextIOWrapper) -> Any:
    """A standard stream is what it is elsewhere, too; cloudpickle would send others as text."""
    if file in (sys.stdin, sys.stdout, sys.stderr):
        return _CLOUDPICKLE[io.TextIOWrapper](file)
    raise pickle.PicklingError("an open file is one process's own")


class _Reducers(dict[type, Callable[[Any], Any]]):
    """cloudpickle's table of reducers, several times faster than its ``ChainMap``."""

    def __missing__(self, kind: type) -> Any:
        return _CLOUDPICKLE.get(kind) or copyreg.dispatch_table[kind]


class Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    """A pickler that notes the modules it refers to, and that can be used again.

    Attributes:
        file: Where it writes.
        names: Names of the modules that it referred to.
        code: The functions in it, and the classes that it holds by value.
        buffers: Out-of-band buffers.
    """

    dispatch_table = _Reducers(
        {
            types.CodeType: _reduce_code,
            io.TextIOWrapper: _reduce_file,
            functools.cached_property: _reduce_cached_property,
        }
    )
    file: io.BytesIO
    globals_ref: dict[int, dict[str, Any]]

    def __init__(self, *, whole: bool = False, file: io.BytesIO | None = None) -> None:
        self.file = file or io.BytesIO()
        self.names: set[Any] = set()
        self.code: set[Any] = set()
        self.buffers: list[memoryview] = []
        self._whole = whole
        callback = None if whole else self._keep_buffer
        super().__init__(self.file, protocol=PROTOCOL, buffer_callback=callback)

    def reset(self) -> None:
        """Forget everything about the last value."""
        self.file.seek(0)
        self.file.truncate()
        self.clear_memo()
        if self.names:
            self.names.clear()
            self.code.clear()
            self.globals_ref = {}
        if self.buffers:
            self.buffers = []

    def report_modules(self, modules: set[str], others: set[str] | None = None) -> None:
        """Add the user's own modules among those referred to, and the packages of all others."""
        for name in self.names:
            if name in modules or not isinstance(name, str):
                continue
            if is_user_module(name):
                modules.add(name)
            elif others is not None:
                others.add(name.partition(".")[0])

    def reducer_override(self, value: Any) -> Any:
        """Called by pickle for whatever is not a builtin scalar or container."""
        kind = type(value)
        if kind is types.FunctionType or issubclass(kind, type):
            self.names.add(value.__module__)
            if kind is types.FunctionType:
                self.code.add(value)
            if is_reachable(value):
                return NotImplemented
            if kind is types.FunctionType:
                return self._reduce_function(value)
            return self._reduce_class(value)
        self.names.add(kind.__module__)
        if kind is types.ModuleType:
            return self._reduce_module(value)
        if kind is CachedFunction:
            return self._reduce_cached(value)
        if callable(value):
            self.names.add(getattr(value, "__module__", None))
        reduce: Callable[[Any], Any] = _reduce_array
        if issubclass(kind, BaseException):
            reduce = _reduce_exception
        elif kind is object:
            reduce = self._reduce_sentinel
        return reduce(value)

    def _reduce_sentinel(self, value: object) -> Any:
        """A plain object is nothing but its identity: it is what a module has under its name."""
        found = names_of_global(value)
        if not found:
            return NotImplemented
        self.names.update(module for module, _ in found)
        return load_global, found

    def _reduce_module(self, module: types.ModuleType) -> Any:
        name = module.__name__
        again = module is not sys.modules.get(name) and is_user_module(name)
        if again or not (name in MAIN or is_importable(name)):
            # It was imported again under its name since somebody got hold of it; or a program has
            # made it, and no other process can import it.
            state = {key: part for key, part in vars(module).items() if key not in _IMPORT_STATE}
            return cloudpickle.cloudpickle.dynamic_subimport, (name, state)
        self.names.add(name)
        return NotImplemented

    def _reduce_function(self, function: types.FunctionType) -> Any:
        wrapped = find_wrapped(function)
        if wrapped is not None:
            return load_wrapped, wrapped
        if is_dispatcher(function):
            return reduce_dispatch(function)
        reduced = super().reducer_override(function)
        if reduced is NotImplemented:
            if is_importable(function.__module__):
                return NotImplemented
            reduced = self._dynamic_function_reduce(function)
        if isinstance(reduced, tuple):  # by value: with the globals that its code names
            reduced[2][1]["__globals__"].update(globals_by_text(function))
        self.names.update(code_imports(function))
        return reduced

    def _reduce_cached(self, function: Any) -> Any:
        """What ``functools.lru_cache`` makes: by reference, else around a copy of the function."""
        self.names.add(function.__module__)
        self.code.add(function)
        module = sys.modules.get(function.__module__)
        if is_importable(function.__module__) and module is not None:
            if getattr(module, function.__qualname__, None) is function:
                return NotImplemented
            wrapped = find_wrapped(function)
            if wrapped is not None:
                return load_wrapped, wrapped
        return cache_around(function)

    def _reduce_class(self, cls: type) -> Any:
        pickled = None if self._whole else known_pickle(cls)
        if pickled is None:
            reduced = super().reducer_override(cls)
            module = cls.__module__
            if reduced is NotImplemented and module in sys.modules and not is_importable(module):
                # A program has made the module.
                reduced = cloudpickle.cloudpickle._dynamic_class_reduce(cls)
            if not isinstance(reduced, tuple) or len(reduced) != 6:
                return reduced
            note_class(cls)
            reduced = _with_slots(cls, _with_shadowing(cls, reduced))
            reduced[2][0][BASES] = cls.__bases__
            if cls.__qualname__ != cls.__name__:
                # Made anew, as cloudpickle makes names: equal classes have equal pickles.
                reduced[2][0]["__qualname__"] = "".join(list(cls.__qualname__))
            if issubclass(cls, enum.Enum):
                reduced[2][0][MEMBERS] = {member.name: _given(member) for member in cls}
            if self._whole:
                return (*reduced[:5], ClassState(reduced[5]))
            pickled = _pickle_class(cls)
        self.names.update(pickled.names)
        self.code.add(cls)
        return load_class, (pickled.digest, pickled.data)

    def _keep_buffer(self, buffer: pickle.PickleBuffer) -> bool:
        try:
            view = buffer.raw()
        except BufferError:  # not contiguous: pickle says so itself
            return True
        if view.nbytes < config.OUT_OF_BAND_LIMIT:
            return True
        self.buffers.append(view)
        return False


def _pickle_class(cls: type) -> ClassPickle:
    pickler = Pickler(whole=True)
    pickler.dump(cls)
    return pickle_class(cls, pickler.file.getvalue(), frozenset(pickler.names))


def reduce_dispatch(function: Any) -> tuple[Any, ...]:
    """What ``functools.singledispatch`` makes: its cache of weak references stays here."""
    state = dict(function.registry), function.__wrapped__
    return make_dispatch, (), state, None, None, set_dispatch


def make_dispatch() -> Any:
    """A function without implementations yet, which may refer to it; called by pickles."""
    return functools.singledispatch(lambda value: None)


def set_dispatch(function: Any, state: tuple[dict[type, Any], Any]) -> None:
    """Set its implementations; called by pickles."""
    registry, wrapped = state
    for kind, implementation in registry.items():
        function.register(kind, implementation)
    functools.update_wrapper(function, wrapped)


def _with_shadowing(cls: type, reduced: tuple[Any, ...]) -> tuple[Any, ...]:
    """As cloudpickle reduces a class, but with what nobody can set once the class is made.

    Which is what its instances say of ``__class__``, for one: to set it would change the class's
    own class. A property is made empty, since its functions may refer to the class; it is filled
    with the other attributes.
    """
    shadowing = {name: cls.__dict__[name] for name in SHADOWING if name in cls.__dict__}
    if not shadowing:
        return reduced
    make, (*args, attributes, tracker, extra), (state, more), *rest = reduced
    made = {name: _emptied(value) for name, value in shadowing.items()}
    late = {name: value for name, value in shadowing.items() if made[name] is not value}
    state = {name: value for name, value in state.items() if name not in made} | late
    return (make, (*args, {**attributes, **made}, tracker, extra), (state, more), *rest)


def _given(member: enum.Enum) -> dict[str, Any]:
    """The attributes of a member: the ``__init__`` that gave them is not called again."""
    given = getattr(member, "__dict__", {}).items()
    return {name: value for name, value in given if name not in _OF_MEMBERS}


_OF_MEMBERS = frozenset({"_value_", "_name_", "__objclass__", "_sort_order_", "_inverted_"})
"""What each member of an enumeration has from Python itself."""


def _emptied(value: Any) -> Any:
    return property() if type(value) is property else value


def _with_slots(cls: type, reduced: tuple[Any, ...]) -> tuple[Any, ...]:
    """As cloudpickle reduces a class, but with its slots: it would be made without them."""
    slots = cls.__dict__.get("__slots__")
    if not slots or issubclass(cls, enum.Enum):
        return reduced
    make, (*args, attributes, tracker, extra), (state, more), *rest = reduced
    slots = slots if isinstance(slots, str) else tuple(slots)  # a dictionary holds docstrings
    state = {
        name: value
        for name, value in state.items()
        if name != "__slots__" and type(value) is not types.MemberDescriptorType
    }
    attributes = {**attributes, "__slots__": slots}
    return (make, (*args, attributes, tracker, extra), (state, more), *rest)


def _reduce_exception(error: BaseException) -> Any:
    """An exception whose own ``__init__`` may take something else than its ``args``."""
    kind: Any = type(error)
    if kind.__reduce__ is not BaseException.__reduce__ or type(kind.__init__) is not _FUNCTION:
        return NotImplemented
    return make_exception, (kind, error.args), error.__dict__ or None


def make_exception(kind: type[BaseException], args: tuple[Any, ...]) -> BaseException:
    """An exception as it was, without calling ``__init__`` again; called by pickles."""
    return kind.__new__(kind, *args)


def _reduce_array(value: Any) -> Any:
    """Large numpy arrays that numpy itself would copy into the pickle."""
    if type(value).__name__ != "ndarray":
        return NotImplemented
    numpy = sys.modules.get("numpy")
    if numpy is None or type(value) is not numpy.ndarray or value.nbytes < config.OUT_OF_BAND_LIMIT:
        return NotImplemented
    dtype = value.dtype
    if dtype.kind in "mM":  # dates export no buffer: as the integers that they are
        return _view_as, (numpy.ascontiguousarray(value).view("i8"), dtype)
    if dtype.hasobject or value.flags.forc:
        return NotImplemented
    return numpy.ascontiguousarray(value).__reduce_ex__(PROTOCOL)


def cache_around(function: Any) -> tuple[Any, ...]:
    """Reduce what ``functools.lru_cache`` made to what it is made of."""
    return _cache, (function.__wrapped__, function.cache_parameters())


def _cache(function: Callable[..., Any], parameters: dict[str, Any]) -> Any:
    return functools.lru_cache(**parameters)(function)


def _view_as(array: Any, dtype: Any) -> Any:
    return array.view(dtype)
