"""Where the user's modules are, in this process, not what their sources say.

A name in a module may have been given another value since it was imported: patched by a test, set
by a configuration, rebound by a function; or the file was edited and not loaded again. Workers
import modules from their sources, so what differs travels beside them, by value, and is put in its
place there (see :mod:`armoflow.codec.installed`). Looked at is what the submitted functions use.

What a source only computes when it is imported cannot be compared with it. It travels as it is here
when it is made of what Python and the user's own modules define and is small; else, and where it
cannot be pickled (a connection, a lock), each worker has what importing the module makes of it.
"""

from __future__ import annotations

import abc
import enum
import re
import sys
import types
import warnings
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from datetime import date, time, timedelta, tzinfo
from importlib.machinery import SourceFileLoader
from pathlib import PurePath
from typing import Any

from armoflow import config
from armoflow.codec.ancestry import (
    BASES,
    REGISTERED,
    has_other_bases,
    is_found,
    registered_with,
)
from armoflow.codec.by_value import (
    TooLargeError,
    functions_in,
    is_code,
    pickle_by_value,
    reason_against,
)
from armoflow.codec.contents import WIDEST, is_generator
from armoflow.codec.declared import Declaration, Declared, DeclaredKind, declared_in, same
from armoflow.codec.generated import GENERATED, has_other_defaults
from armoflow.codec.modules import DELETED, ModuleBundle, ModuleSource
from armoflow.codec.own_code import is_own
from armoflow.codec.references import content_of, is_reachable
from armoflow.codec.usage import Binding, Usage, find_usage
from armoflow.errors import LeftBehindWarning, SerializationError
from armoflow.system.importing import MAIN, is_importable

_REMEMBERED = 4096  # callables whose usage is kept
_REMEMBERED_WITH_VALUES = 16  # of those that hold values of their own, which may be large
_DEEPEST = 8
_STEADY = (
    *(types.NoneType, bool, int, float, complex, str, bytes, range, enum.Enum),
    *(re.Pattern, PurePath, date, time, timedelta, tzinfo, types.ModuleType),
)
_LIGHT = (types.FunctionType, type, types.ModuleType, types.NoneType, bool, int, float)
_OF_DATA = frozenset({"numpy", "pandas", "polars", "pyarrow", "scipy"})
"""Packages whose objects are data, wherever they are."""

_UNDECLARED = Declaration(DeclaredKind.COMPUTED)


class LiveState:
    """What differs, for the functions that were submitted so far.

    Args:
        bundle: The modules' sources; it is told what differs.
    """

    def __init__(self, bundle: ModuleBundle) -> None:
        self._bundle = bundle
        self._declared: dict[str, tuple[ModuleSource, Declared]] = {}
        self._known: OrderedDict[int, tuple[Any, Usage]] = OrderedDict()
        self._known_with_values: OrderedDict[int, tuple[Any, Usage]] = OrderedDict()
        self._told: set[str] = set()  # names that do not travel
        self._where = ("<unknown>", 0)  # file and line of what is looked at
        self._owners: dict[str, Any] = {}  # of the names that differ: what they are in

    def check(self, root: Any) -> None:
        """Look at what a callable uses; of a module, at what its classes do.

        Raises:
            SerializationError: If something was put in the place of a function, a class or an
                import that cannot be pickled.
        """
        remembered, limit = self._known, _REMEMBERED
        if _holds_values(root):
            remembered, limit = self._known_with_values, _REMEMBERED_WITH_VALUES
        known = remembered.get(id(root))
        if known is not None and known[1].holds():
            remembered.move_to_end(id(root))
            return
        usage = find_usage(root)
        self._bundle.add(usage.modules)
        self._bundle.refresh()
        # A bound method is another object each time, and holds its own, which may be large.
        if self._compare(usage) and not isinstance(root, types.MethodType):
            remembered[id(root)] = root, usage
            if len(remembered) > limit:
                remembered.popitem(last=False)
        else:
            remembered.pop(id(root), None)

    def _compare(self, usage: Usage) -> bool:
        """Note what differs; returns whether ``usage.holds`` will notice any further change."""
        noticed = True
        if usage.functions:
            code = usage.functions[0].__code__
            self._where = code.co_filename, code.co_firstlineno
        for binding in usage.bindings:
            if self._bundle.source(binding.module) is None:
                continue
            pickled = self._pickle(binding) if self._differs(binding) else None
            self._set(binding.module, binding.path, pickled)
            noticed = noticed and (pickled is None or _is_noticed(binding.value))
        for module, path in list(self._deleted(usage)):
            self._set(module, path, DELETED)
        for cls in usage.classes:
            self._compare_above(cls)
        for generator in usage.generators:
            self._tell_generator(usage, generator)
        for module, name in usage.patched:
            self._tell_left(
                f"{module}.{name}",
                "was replaced in this process, and its package is not your own: tasks use the "
                "package's; call what you have put there by a name of your own",
            )
        for module in usage.modules:
            for path, value in self._bundle.names_of(module):
                owner = _owner(module, path)
                same_owner = owner is self._owners.get(f"{module}:{path}")
                if not same_owner or _has(owner, path) is (value == DELETED):
                    self._set(module, path, None)  # it is gone, or back, or in something else now
        return noticed

    def _tell_left(self, name: str, why: str) -> None:
        """Tell once of something that does not travel."""
        if name not in self._told:
            self._told.add(name)
            warnings.warn_explicit(f"{name} {why}", LeftBehindWarning, *self._where)

    def _deleted(self, usage: Usage) -> Iterator[tuple[str, str]]:
        """Names that the sources have, and the modules and classes have not (any more)."""
        for module, name in usage.missing:
            declared = self._declarations(module)
            if declared is not None and name in declared.names:
                yield module, name
        for binding in usage.bindings:
            declared, value = self._declarations(binding.module), binding.value
            if declared is not None and isinstance(value, type):
                for name in declared.attributes_of(binding.path):
                    if name not in value.__dict__:
                        yield binding.module, f"{binding.path}.{name}"

    def _tell_generator(self, usage: Usage, value: Any) -> None:
        """Tell of random numbers that are the same in several tasks."""
        name = f"a {type(value).__name__}"
        for binding in usage.bindings:
            if binding.value is value:
                if self._bundle.source(binding.module) is not None:
                    return  # importing the module makes another one in each process
                name = binding.path
        self._tell_left(
            name,
            "is copied to each worker process, and the copies give the same random numbers: make "
            "one in the task, of a seed that is an argument, as numpy.random.default_rng([1, i])",
        )

    def _compare_above(self, cls: type) -> None:
        """Note what bases a class has, and what was registered with it."""
        module, path = cls.__module__, cls.__qualname__
        declared = self._declarations(module)
        if declared is None or not is_found(cls):
            return
        scope = vars(sys.modules[module])
        bases = None
        if has_other_bases(cls, declared.bases.get(path), scope):
            bases = self._pickle(Binding(module, f"{path}.{BASES}", cls.__bases__, scope))
        self._set(module, f"{path}.{BASES}", bases)
        if isinstance(cls, abc.ABCMeta):
            told = registered_with(cls)
            binding = Binding(module, f"{path}.{REGISTERED}", told, scope)
            self._set(module, binding.path, self._pickle(binding) if told else None)

    def _set(self, module: str, path: str, pickled: bytes | None) -> None:
        name = f"{module}:{path}"
        self._bundle.set_name(name, pickled)
        if pickled is None:
            self._owners.pop(name, None)
        else:
            self._owners[name] = _owner(module, path)

    # --- one name ---------------------------------------------------------------------------------

    def _differs(self, binding: Binding) -> bool:
        declared = self._declarations(binding.module)
        if declared is None:
            return False
        value, path = binding.value, binding.path
        declaration = declared.names.get(path, _UNDECLARED)
        kind = declaration.kind
        if kind is DeclaredKind.IMPORT:
            return self._import_differs(value, *declaration.value)
        if kind is DeclaredKind.LITERAL:
            return not same(value, declaration.value)
        if kind is DeclaredKind.DEFINITION:
            return not (_is_plain(value, binding) and self._is_known(value))
        if kind is DeclaredKind.DECORATED:
            return is_code(value) and not (_is_defined(value, binding) and self._is_known(value))
        return self._computed_differs(binding)

    def _import_differs(self, value: Any, base: str, name: str | None) -> bool:
        module = sys.modules.get(base)
        if name is None or module is None:
            return isinstance(module, types.ModuleType) and value is not module
        scope = vars(module)
        if name not in scope:
            imported = sys.modules.get(f"{base}.{name}")
            return imported is not None and value is not imported
        if value is not scope[name]:
            return True
        if isinstance(value, types.ModuleType) or self._bundle.source(base) is None:
            return False
        return self._differs(Binding(base, name, value, scope))

    def _computed_differs(self, binding: Binding) -> bool:
        value, name = binding.value, binding.path.rpartition(".")[2]
        if isinstance(value, types.ModuleType):
            return sys.modules.get(value.__name__) is not value
        if name[:2] == "__" == name[-2:]:
            function = getattr(value, "__func__", value)
            if not isinstance(function, types.FunctionType):
                return False
            if not function.__code__.co_filename.startswith(GENERATED):
                return True
            return has_other_defaults(_owner(binding.module, binding.path), name, function)
        if isinstance(value, type) and is_reachable(value):
            return False
        return _is_portable(value)

    def _is_known(self, value: Any) -> bool:
        """Whether functions have the code and the defaults that their modules' sources say."""
        for function in functions_in(value):
            module = function.__globals__.get("__name__") or ""
            declared = self._declarations(module)
            if declared is None:
                if module in MAIN or not is_importable(module):
                    return False  # the script put it there
                continue
            if not declared.has(function.__code__):
                return function.__code__.co_filename.startswith(GENERATED)
            if not declared.has_defaults_of(function):
                return False
        return True

    def _declarations(self, name: str) -> Declared | None:
        source = self._bundle.source(name)
        if source is None or source.text is None:
            return None
        known = self._declared.get(name)
        if known is None or known[0] != source:
            loader = getattr(getattr(sys.modules.get(name), "__spec__", None), "loader", None)
            exact = type(loader) is SourceFileLoader
            known = self._declared[name] = source, declared_in(name, source, exact=exact)
        return known[1]

    def _pickle(self, binding: Binding) -> bytes | None:
        """What a name stands for; None for data that cannot be pickled.

        Raises:
            SerializationError: If it stands in the place of code.
        """
        modules: set[str] = set()
        declared = self._declarations(binding.module)
        declaration = declared.names.get(binding.path, _UNDECLARED) if declared else _UNDECLARED
        try:
            pickled = pickle_by_value(binding.value, modules)
        except TooLargeError:
            if declaration.kind is DeclaredKind.LITERAL and declaration.value is not None:
                self._tell_left(
                    f"{binding.module}.{binding.path}",
                    f"is not what its module says, and with more than {config.LIVE_DATA_LIMIT:,} "
                    "bytes too large to travel: tasks have what importing the module makes; pass "
                    "it as an argument, or client.put() it",
                )
            pickled = None
        if pickled is not None:
            self._bundle.add(modules)
            return pickled
        if declaration.kind in (
            DeclaredKind.DEFINITION,
            DeclaredKind.DECORATED,
            DeclaredKind.IMPORT,
        ):
            module = binding.module
            raise SerializationError(
                f"{module}.{binding.path} was replaced since {module} was imported, by "
                f"{reason_against(binding.value)}: workers need what the task uses, put something "
                "in its place that can be pickled, such as a function"
            )
        return None


def _owner(module: str, path: str) -> Any:
    """The module, class or function that has what a path leads to as its attribute."""
    owner: Any = sys.modules.get(module)
    for part in path.split(".")[:-1]:
        owner = getattr(owner, "__dict__", {}).get(part)
    return owner


def _has(owner: Any, path: str) -> bool:
    name = path.rpartition(".")[2]
    return name in (BASES, REGISTERED) or name in getattr(owner, "__dict__", {})


def _holds_values(root: Any) -> bool:
    """Whether a callable holds data, which goes when the user lets it go: a closure, an object."""
    if isinstance(root, types.FunctionType):
        return any(not isinstance(content_of(cell), _LIGHT) for cell in root.__closure__ or ())
    return not isinstance(root, _LIGHT)


def _is_plain(value: Any, binding: Binding) -> bool:
    """Whether a value is what a definition without decorators makes under this name."""
    if isinstance(value, types.FunctionType):
        name = binding.path.rpartition(".")[2]
        return value.__code__.co_name == name and _is_defined(value, binding)
    return isinstance(value, type) and _is_defined(value, binding)


def _is_defined(value: Any, binding: Binding) -> bool:
    """Whether a value is what a definition of this name makes, decorated or not."""
    return any(
        found.__qualname__ == binding.path and found.__module__ == binding.module
        for found in (value, *functions_in(value))
        if isinstance(found, (type, types.FunctionType))
    )


def _is_portable(value: Any) -> bool:
    """Whether a value is made of what Python and the user define: it is there on every worker."""
    kind = type(value)
    module = kind.__module__
    top = module.partition(".")[0]
    if top == "logging" or kind is object or is_generator(kind):
        return False  # handlers and random numbers are each process's own; an object is itself
    if top in sys.stdlib_module_names or top == "armoflow" or is_own(module):
        return True
    if top not in _OF_DATA:
        return False
    size = getattr(value, "nbytes", 0)
    return isinstance(size, int) and size <= config.LIVE_DATA_LIMIT


def _is_noticed(value: Any, depth: int = _DEEPEST) -> bool:
    """Whether :meth:`Usage.holds` sees every change of a value that stays the same object."""
    if isinstance(value, _STEADY) or is_code(value):
        return True
    if not depth:
        return False
    if isinstance(value, (list, tuple, set, frozenset, dict)):
        held: Iterable[Any] = value.values() if isinstance(value, dict) else value
        parts = [*held, *getattr(value, "__dict__", {}).values()]
        return len(value) <= WIDEST and all(_is_noticed(part, depth - 1) for part in parts)
    if is_own(type(value).__module__):
        parts = list(getattr(value, "__dict__", {}).values())
        return all(_is_noticed(part, depth - 1) for part in parts)
    return False
