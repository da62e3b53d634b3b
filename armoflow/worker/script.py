"""``__main__`` while a task runs: the script that the task's function is from.

Functions and classes of a script travel by value, into a process whose ``__main__`` is armoflow's
own program. But much of Python looks for them by that name: pickle and with it ``multiprocessing``,
``typing.get_type_hints``, ``inspect``. So ``__main__`` becomes a module that has the globals of the
function that runs.

Processes that a task starts anew (``spawn``, ``forkserver``, those of joblib) cannot run the script
again: it may not be there, and would compute again. Where they are told what ``__main__`` is, they
are told the task's function and the user's modules, and load them once somebody asks for a name.
"""

from __future__ import annotations

import functools
import pickle
import sys
import types
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from typing import Any, NamedTuple, Protocol

from armoflow.codec.classes import loaded_class
from armoflow.codec.installed import InstalledModules
from armoflow.codec.modules import Bundle
from armoflow.system.importing import MAIN

_NAME = "__main__"
_REDUCTION = "multiprocessing.reduction"
_DEEPEST = 16
_REMEMBERED = 256  # functions by value


class Carried(NamedTuple):
    """What another process needs to have the same ``__main__``.

    Attributes:
        function: The pickle of the task's function, if that is from the script.
        modules: The user's modules.
    """

    function: bytes | None
    modules: Bundle | None


class ScriptHome(Protocol):
    """Where the names of ``__main__`` are."""

    @property
    def scope(self) -> dict[str, Any]:
        """The globals of the script's functions."""

    def carried(self) -> Carried:
        """What processes that are started now need."""


class Script(types.ModuleType):
    """The module that is ``__main__``: its dictionary is somebody else's.

    Args:
        home: Where its names are.
    """

    _home: ScriptHome

    def __init__(self, home: ScriptHome) -> None:
        super().__init__(_NAME)
        held = super().__dict__
        held["_home"] = home
        held["_replaced"] = sys.modules.get(_NAME)  # its functions still run
        held["__spec__"] = ModuleSpec(_Name(_NAME), None)

    @property
    def __dict__(self) -> dict[str, Any]:  # type: ignore[override]
        return self._home.scope

    def __getattr__(self, name: str) -> Any:
        scope = self._home.scope
        if name in scope:
            return scope[name]
        cls = loaded_class(name)  # of an argument: the function that runs does not name it
        if cls is None:
            raise AttributeError(f"module '__main__' has no attribute {name!r}")
        return cls

    def __setattr__(self, name: str, value: Any) -> None:
        self._home.scope[name] = value

    def __delattr__(self, name: str) -> None:
        if name not in self._home.scope:
            raise AttributeError(name)
        del self._home.scope[name]

    def install(self) -> None:
        """Be ``__main__`` in this process."""
        sys.modules[_NAME] = self
        if _REDUCTION in sys.modules:
            _extend(sys.modules[_REDUCTION])
        elif not any(isinstance(finder, _Finder) for finder in sys.meta_path):
            sys.meta_path.insert(0, _Finder())

    def has(self, value: Any) -> bool:
        """Whether a function or class is found in the globals under its own name."""
        first, *rest = value.__qualname__.split(".")
        found = self._home.scope.get(first)
        for part in rest:
            found = getattr(found, part, None)
        return found is value


def script_scope(function: Any) -> dict[str, Any] | None:
    """The globals of the script's function that something callable is made of, if there is one.

    Example:
        >>> scope = {"__name__": "__main__"}
        >>> exec("def double(x): return 2 * x", scope)
        >>> script_scope(functools.partial(scope["double"], 1)) is scope
        True
        >>> script_scope(len) is None
        True
    """
    for _ in range(_DEEPEST):
        if isinstance(function, types.FunctionType):
            if function.__globals__.get("__name__") in MAIN:
                return function.__globals__
            function = getattr(function, "__wrapped__", None)
        elif isinstance(function, functools.partial):
            function = function.func
        elif isinstance(function, types.MethodType):
            function = function.__func__
        elif isinstance(function, type):
            methods = (part for cls in function.__mro__ for part in vars(cls).values())
            function = next((part for part in methods if _is_of_script(part)), None)
        else:
            function = getattr(function, "__wrapped__", None) or type(function)
    return None


def _is_of_script(part: Any) -> bool:
    return isinstance(part, types.FunctionType) and part.__globals__.get("__name__") in MAIN


# --- processes that tasks start -------------------------------------------------------------------


class _Name(str):
    """The name of ``__main__``: a process that reads it from a pickle has the same ``__main__``.

    ``multiprocessing`` and joblib tell it to the processes that they start, before anything else.
    """

    __slots__ = ()

    def __reduce__(self) -> tuple[Any, ...]:
        main = sys.modules.get(_NAME)
        return (begin, main._home.carried()) if isinstance(main, Script) else (str, (_NAME,))


def begin(function: bytes | None, modules: Bundle | None) -> str:
    """Have the ``__main__`` of the task that started this process; called by pickles."""
    if modules is not None:
        InstalledModules().serve(modules)
    Script(_Loaded(Carried(function, modules))).install()
    return _NAME  # multiprocessing takes it that nothing is left to do


class _Loaded:
    """Names that are loaded when they are asked for: the path to import from is not set before."""

    def __init__(self, carried: Carried) -> None:
        self._carried = carried

    @functools.cached_property
    def scope(self) -> dict[str, Any]:
        data = self._carried.function
        scope = None if data is None else script_scope(pickle.loads(data))
        return {"__name__": _NAME} if scope is None else scope

    def carried(self) -> Carried:
        return self._carried


class _Finder:
    """Extends ``multiprocessing`` once a task imports it; children start without it."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,
        target: types.ModuleType | None = None,
    ) -> ModuleSpec | None:
        """Called by ``import``."""
        spec = PathFinder.find_spec(fullname, path) if fullname == _REDUCTION else None
        loader: Any = spec.loader if spec is not None else None
        if loader is not None:
            loader.exec_module = functools.partial(_execute, loader.exec_module)
        return spec


def _execute(execute: Callable[[types.ModuleType], None], module: types.ModuleType) -> None:
    execute(module)
    _extend(module)


def _extend(reduction: Any) -> None:
    reduction.ForkingPickler.reducer_override = _reduce


def _reduce(_pickler: Any, value: Any) -> Any:
    """By value what is of a script and not what the running function calls so: an argument."""
    kind = type(value)
    if kind is not types.FunctionType and not issubclass(kind, type):
        return NotImplemented
    main = sys.modules.get(_NAME)
    if value.__module__ not in MAIN or not isinstance(main, Script) or main.has(value):
        return NotImplemented
    import hashlib

    from armoflow.codec.pickling import dumps_whole, reduce_class

    if kind is not types.FunctionType:
        return reduce_class(value)
    data = dumps_whole(value)
    digest = hashlib.blake2b(data, digest_size=16).digest()
    _remember(digest, value)
    return load_function, (digest, data)


_functions: dict[bytes, Any] = {}


def _remember(digest: bytes, function: Any) -> None:
    if len(_functions) >= _REMEMBERED:
        del _functions[next(iter(_functions))]
    _functions[digest] = function


def load_function(digest: bytes, data: bytes) -> Any:
    """A function by value, loaded once in each process; called by pickles."""
    if digest not in _functions:
        _remember(digest, pickle.loads(data))
    return _functions[digest]
