"""What a function uses of the user's own code: functions, classes, modules and global variables.

The walk starts at a callable and follows what it can reach without running anything: the globals
that its code names, attributes of the user's own modules (``helper.h``), closure variables, default
arguments, decorators (``__wrapped__``, or what they closed over), partials, methods, classes with
their bases and attributes, imports in bodies, and what lies in containers. Code that was installed
or belongs to Python is not looked into; editable installs and local paths are the user's own.

What is found comes in an order that depends on the code alone, never on addresses or hashes.

Example:
    >>> script = {"__name__": "__main__", "FACTOR": 3}
    >>> exec("def area(radius): return FACTOR * radius ** 2", script)
    >>> usage = find_usage(script["area"])
    >>> [function.__qualname__ for function in usage.functions]
    ['area']
    >>> [binding.path for binding in usage.bindings]
    ['area', 'FACTOR']
    >>> usage.holds()
    True
    >>> script["FACTOR"] = 4
    >>> usage.holds()
    False
"""

from __future__ import annotations

import abc
import enum
import functools
import operator
import sys
import types
from collections import deque
from collections.abc import Mapping
from typing import Any, NamedTuple

from armoflow.codec.ancestry import is_found
from armoflow.codec.code_names import names_in, names_there
from armoflow.codec.contents import (
    CONTAINERS,
    LEAVES,
    SETS,
    contents_of,
    in_fixed_order,
    is_generator,
)
from armoflow.codec.modules import is_user_module, parents_of
from armoflow.codec.own_code import home_of, is_own, is_patch
from armoflow.codec.references import code_imports, content_of
from armoflow.system.importing import is_importable

_NO_NAMES: tuple[str, ...] = ()
_MISSING = object()
_DESCRIPTORS = (classmethod, staticmethod, functools.cached_property, property)
METHODS = (
    *(types.FunctionType, *_DESCRIPTORS),
    *(functools.partialmethod, functools.singledispatchmethod),
)
METHOD_PARTS = ("__func__", "func", "dispatcher", "fget", "fset", "fdel")
"""Attributes by which methods that are no functions have these."""
_MADE_AROUND = (types.FunctionType, types.MethodType, functools.partial, type)
"""What an instance of a library's class may be made around."""


class Binding(NamedTuple):
    """A name that the code uses, and what it stands for.

    Attributes:
        module: The module in which the name is; empty if that was imported again since.
        path: The name there; of an attribute of a class or function ``Class.attribute``.
        value: What it stands for.
        scope: Where it is looked up: the module's, the class's or the function's dictionary.
    """

    module: str
    path: str
    value: Any
    scope: Mapping[str, Any]


class Usage:
    """What a callable uses, in the order in which it was found.

    Attributes:
        functions: The user's own functions, methods and nested functions among them.
        classes: The user's own classes.
        modules: Names of the user's own modules that are used or may be imported.
        bindings: The names in the user's own modules and classes.
        missing: Module and name of those that are looked up in the user's own modules, and are not
            there: of builtins, of attributes of something else, or deleted.
        patched: Module and name of those in other modules that the user's own code stands for.
        generators: Generators of random numbers.
    """

    def __init__(self) -> None:
        self.patched: list[tuple[str, str]] = []
        self.generators: list[Any] = []
        self.functions: list[types.FunctionType] = []
        self.classes: list[type] = []
        self.modules: dict[str, None] = {}
        self.bindings: list[Binding] = []
        self.missing: list[tuple[str, str]] = []
        self._values: list[tuple[str, Any, Mapping[str, Any]]] = []
        self._codes: list[tuple[types.FunctionType, types.CodeType, Any, Any]] = []
        self._cells: list[tuple[types.CellType, Any]] = []
        self._contents: list[tuple[Any, list[Any]]] = []
        self._lengths: list[tuple[type | types.FunctionType, int]] = []
        self._bases: list[tuple[type, tuple[type, ...]]] = []
        self._registered: object = None  # changes with any registration
        self._absent: list[tuple[Mapping[str, Any], str]] = []

    def holds(self) -> bool:
        """Whether a walk would still find the same; this costs a fraction of it."""
        for name, value, scope in self._values:
            if scope.get(name, _MISSING) is not value:
                return False
        for function, code, defaults, named in self._codes:
            if (
                function.__code__ is not code
                or function.__defaults__ is not defaults
                or function.__kwdefaults__ is not named
            ):
                return False
        for value, parts in self._contents:
            now = contents_of(value)
            if len(now) != len(parts) or not all(map(operator.is_, now, parts)):
                return False
        return (
            all(name not in scope for scope, name in self._absent)
            and all(len(owner.__dict__) == length for owner, length in self._lengths)
            and all(cls.__bases__ is bases for cls, bases in self._bases)
            and (self._registered is None or self._registered == abc.get_cache_token())
            and all(content_of(cell) is content for cell, content in self._cells)
        )

    def note_binding(self, binding: Binding) -> None:
        """Add a name."""
        self.bindings.append(binding)
        self._values.append((binding.path.rpartition(".")[2], binding.value, binding.scope))

    def note_function(self, function: types.FunctionType) -> None:
        """Add a function, and what tells whether it was changed."""
        self.functions.append(function)
        self._codes.append(
            (function, function.__code__, function.__defaults__, function.__kwdefaults__)
        )
        self._lengths.append((function, len(function.__dict__)))
        self._cells.extend((cell, content_of(cell)) for cell in function.__closure__ or ())

    def note_class(self, cls: type) -> None:
        """Add a class; its attributes are bindings, its bases and what it was told of are not."""
        self.classes.append(cls)
        self._lengths.append((cls, len(cls.__dict__)))
        self._bases.append((cls, cls.__bases__))
        if isinstance(cls, abc.ABCMeta):
            self._registered = abc.get_cache_token()

    def note_absent(self, module: str, scope: Mapping[str, Any], name: str) -> None:
        """Add a name that is not there."""
        self.missing.append((module, name))
        self._absent.append((scope, name))

    def note_foreign(self, module: str, scope: Mapping[str, Any], name: str) -> None:
        """Add a name in a module that is not the user's own."""
        value = scope[name]
        self._values.append((name, value, scope))
        if is_patch(value):
            self.patched.append((module, name))

    def note_contents(self, value: Any) -> list[Any]:
        """Add a container or an instance; returns what it holds."""
        parts = contents_of(value)
        if type(value) not in (tuple, frozenset):
            self._contents.append((value, parts))
        return parts


def find_usage(*roots: Any) -> Usage:
    """What callables use; of a module that is given, what its own classes use.

    Args:
        roots: Functions, classes, tasks, partials, bound methods, callable objects; or modules.
    """
    walk = _UsageWalk()
    for root in roots:
        if isinstance(root, types.ModuleType):
            walk.visit_classes(root)
        else:
            walk.visit(root)
    walk.run()
    return walk.usage


class _UsageWalk:
    def __init__(self) -> None:
        self.usage = Usage()
        self._seen: dict[int, Any] = {}  # values, so that no address is used twice
        self._looked_up: set[tuple[int, str]] = set()
        self._looked_into: set[tuple[int, tuple[str, ...]]] = set()
        self._pending: deque[tuple[Any, tuple[str, ...]]] = deque()

    def visit(self, value: Any, names: tuple[str, ...] = _NO_NAMES) -> None:
        """Look at a value later; ``names`` are those that the code that uses it looks up."""
        if type(value) not in LEAVES:
            self._pending.append((value, names))

    def visit_classes(self, module: types.ModuleType) -> None:
        """Look at the classes that a module defines: their instances may come as values."""
        name = module.__name__
        for value in list(vars(module).values()):
            if isinstance(value, type) and value.__module__ == name:
                self.visit(value)

    def run(self) -> None:
        """Look at everything that can be reached."""
        while self._pending:
            value, names = self._pending.popleft()
            if isinstance(value, types.ModuleType):
                self._module(value, names)
            elif id(value) not in self._seen:
                self._seen[id(value)] = value
                self._look(value)

    def _look(self, value: Any) -> None:
        if isinstance(value, types.FunctionType):
            self._function(value)
        elif isinstance(value, types.MethodType):
            self.visit(value.__func__)
            self.visit(value.__self__)
        elif isinstance(value, type):
            self._class(value)
        elif isinstance(value, functools.partial):
            self.visit(value.func)
            self.visit(value.args)
            self.visit(value.keywords)
        elif isinstance(value, METHODS):
            for part in METHOD_PARTS:
                self.visit(getattr(value, part, None))
        elif isinstance(value, CONTAINERS):
            parts = self.usage.note_contents(value)
            for part in in_fixed_order(parts) if isinstance(value, SETS) else parts:
                self.visit(part)
        else:
            self._instance(value)

    def _bind(
        self, module: str, path: str, scope: Mapping[str, Any], names: tuple[str, ...]
    ) -> None:
        name = path.rpartition(".")[2]
        key = (id(scope), name)
        value = scope.get(name, _MISSING)
        if value is _MISSING:
            if key not in self._looked_up:
                self._looked_up.add(key)
                self.usage.note_absent(module, scope, name)
            return
        if key not in self._looked_up:
            self._looked_up.add(key)
            self.usage.note_binding(Binding(module, path, value, scope))
        self.visit(value, names)

    def _function(self, function: types.FunctionType) -> None:
        scope = function.__globals__
        module = scope.get("__name__") or ""
        if not is_own(module):
            # A library's decorator made it: what it closed over may be the user's.
            self.visit(getattr(function, "__wrapped__", None))
            for cell in function.__closure__ or ():
                self.visit(content_of(cell))
            return
        self.usage.note_function(function)
        self._note_module(module)
        names = names_in(function.__code__)
        home = home_of(module, scope)
        if "." not in function.__qualname__ and function.__module__ == module:
            self._bind(home, function.__qualname__, scope, names)  # how it is referred to
        for name in names_there(names, scope) if home else names:
            self._bind(home, name, scope, names)
        for cell in function.__closure__ or ():
            self.visit(content_of(cell), names)
        self.visit(function.__defaults__)
        self.visit(function.__kwdefaults__)
        for name, value in function.__dict__.items():
            if scope.get(function.__qualname__) is function and not name.startswith("__"):
                self._bind(home, f"{function.__qualname__}.{name}", function.__dict__, names)
            else:
                self.visit(value)
        for name in code_imports(function):
            if is_user_module(name):
                self._note_module(name)
                self.visit(sys.modules.get(name), names)

    def _module(self, module: types.ModuleType, names: tuple[str, ...]) -> None:
        name = getattr(module, "__name__", "")
        key = (id(module), names)
        if key in self._looked_into:
            return
        self._looked_into.add(key)
        scope = vars(module)
        if not is_user_module(name):
            if is_importable(name):
                self._foreign_module(name, scope, names)
            return
        self._note_module(name)
        for used in names_there(names, scope):
            self._bind(home_of(name, scope), used, scope, names)

    def _foreign_module(self, module: str, scope: dict[str, Any], names: tuple[str, ...]) -> None:
        for name in names:
            if name in scope and (id(scope), name) not in self._looked_up:
                self._looked_up.add((id(scope), name))
                self.usage.note_foreign(module, scope, name)
                if isinstance(scope[name], types.ModuleType):
                    self.visit(scope[name], names)

    def _class(self, cls: type) -> None:
        module = cls.__module__
        if not isinstance(module, str) or not is_own(module):
            return
        self.usage.note_class(cls)
        self._note_module(module)
        for base in cls.__bases__:
            self.visit(base)
        self.visit(type(cls))
        if not is_found(cls):  # it is not what its module has under its name (any more)
            for value in self.usage.note_contents(cls):
                self.visit(value)
            return
        if "." not in cls.__qualname__:
            self._bind(module, cls.__qualname__, vars(sys.modules[module]), _NO_NAMES)
        generated = issubclass(cls, enum.Enum)  # whose own tables do not change
        for name, value in list(cls.__dict__.items()):
            special = generated or name == "_abc_impl" or (name[:2] == "__" == name[-2:])
            if not special or isinstance(value, METHODS):
                self._bind(module, f"{cls.__qualname__}.{name}", cls.__dict__, _NO_NAMES)

    def _instance(self, value: Any) -> None:
        cls = type(value)
        module = cls.__module__
        if isinstance(value, enum.Enum):
            self.visit(cls)
        elif isinstance(module, str) and is_own(module):
            self.visit(cls)
            for part in self.usage.note_contents(value):
                self.visit(part)
        elif is_generator(cls):
            self.usage.generators.append(value)
        else:
            # A task, a cached function, or what else a library made around a function.
            for name, part in list(getattr(value, "__dict__", {}).items()):
                if name == "__wrapped__" or isinstance(part, _MADE_AROUND):
                    self.visit(part)

    def _note_module(self, name: str) -> None:
        if name in self.usage.modules or not is_user_module(name):
            return
        for parent in [*parents_of(name), name]:
            self.usage.modules.setdefault(parent)
