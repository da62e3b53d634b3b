"""The key of a callable's code: of all that it uses of the user's own, as that is now.

Functions and classes of the user's own are *pieces*. A piece tells what it says itself, and refers
to others by name, so that circles need no care; the key is made of all pieces that can be reached.
Global names count by what they stand for: another name for the same, as ``import numpy as xp``, is
no change. Installed packages are told by name and version, Python's own modules by name.

What in a global or a closure has no key (a lock, a connection) counts by its type: such a thing
never travels, and each worker has one that importing the module makes.
"""

from __future__ import annotations

import functools
import inspect
import reprlib
import sys
import types
from collections import Counter, deque
from collections.abc import Callable, Iterator
from typing import Any

from armoflow.cache.bytecode import CodeShape, shape_of
from armoflow.cache.key_parts import CodeParts, CodePiece
from armoflow.cache.own_classes import attributes_of, fields_of, is_own_class, is_own_function
from armoflow.cache.unloaded_modules import SourceText, source_digests
from armoflow.cache.value_keys import described, make_walk, task_parts
from armoflow.cache.walk import Parts, RuleResult, digest_of, text_digest
from armoflow.codec.ancestry import registered_with
from armoflow.codec.code_names import names_in, names_there
from armoflow.codec.modules import is_user_module
from armoflow.codec.own_code import is_own
from armoflow.codec.references import code_imports, content_of, is_dispatcher, names_and_texts
from armoflow.graph.base_task import BaseTask
from armoflow.graph.task import MultiTask, Task
from armoflow.system.packages import origin, package_of

TOLD_BY_NAME = (types.ModuleType, types.FunctionType, type, types.BuiltinFunctionType, BaseTask)
"""What a global name may stand for that says itself what it is."""


class CodeKey:
    """What is known of a callable's code.

    Attributes:
        digest: The key.
        pieces: What each function, class and global says itself, by name.
        packages: Installed packages that it uses, as ``name version``.
        replaces: It may return a graph in which something says ``on_failure=``.
    """

    def __init__(
        self,
        digest: bytes,
        pieces: dict[str, bytes],
        packages: tuple[str, ...],
        values: dict[str, Any],
        *,
        replaces: bool,
    ) -> None:
        self.digest = digest
        self.pieces = pieces
        self.packages = packages
        self.replaces = replaces
        self._values = values

    @functools.cached_property
    def told(self) -> CodeParts:
        """The same as data, with texts to be shown."""
        pieces = {
            name: CodePiece(digest, _text_of(self._values.get(name)))
            for name, digest in self.pieces.items()
        }
        return CodeParts(self.digest, pieces, self.packages)


def _text_of(value: Any) -> str:
    """A piece to be shown: its source where there is some."""
    code = value.__code__ if isinstance(value, types.FunctionType) else None
    if isinstance(value, SourceText):
        return value
    if code is None and not isinstance(value, type):
        return reprlib.repr(value)
    try:
        return inspect.getsource(code or value)
    except (OSError, TypeError):  # it was typed in, or came without its file
        return reprlib.repr(value) if code is None else "\n".join(shape_of(code).lines)


def code_key(root: Any) -> CodeKey:
    """The key of a callable's code; of a module of the user's own, of all that it defines.

    Example:
        >>> script = {"__name__": "__main__", "FACTOR": 3}
        >>> exec("def area(radius): return FACTOR * radius ** 2", script)
        >>> before = code_key(script["area"])
        >>> list(before.pieces)
        ['function __main__:area', 'global __main__:FACTOR']
        >>> script["FACTOR"] = 4
        >>> code_key(script["area"]).digest == before.digest
        False
    """
    return _CodeReader().read(root)


def foreign_function(function: types.FunctionType) -> RuleResult:
    """A function that was installed: by name, or, if a library made it, by what it closed over."""
    module, name = function.__module__ or "", function.__qualname__
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, "__dict__", {}).get(part)
    # What a library made of the user's function has that one's name.
    made_by = function.__globals__.get("__name__") or ""
    head = text_digest("function", *origin(made_by), module, name)
    if getattr(found, "__func__", found) is function and not is_own(module):
        return head
    if is_dispatcher(function):
        return Parts(
            "dispatch", [dict(vars(function)["registry"]), vars(function).get("__wrapped__")]
        )
    made_of = [function.__closure__, function.__defaults__, function.__kwdefaults__]
    return Parts("made", [head, *made_of, dict(vars(function))])


class _CodeReader:
    """Reads one callable's code."""

    def __init__(self) -> None:
        rules: dict[type, Callable[[Any], RuleResult]] = {Task: self._task, MultiTask: self._task}
        self._walk = make_walk(self._refer, rules, replace=_by_type)
        self._replaces = False
        self._names: dict[int, str] = {}
        self._taken: Counter[str] = Counter()
        self._pending: deque[tuple[str, Any]] = deque()
        self._packages: set[str] = set()
        self._said: dict[str, bytes] = {}  # what pieces say themselves
        self._whole: dict[str, bytes] = {}  # the same with what their globals stand for
        self._values: dict[str, Any] = {}
        self._assigned: set[str] = set()  # names to which a piece assigns
        self._read: dict[str, tuple[str, ...]] = {}  # of each function, the globals that it reads

    def read(self, root: Any) -> CodeKey:
        if isinstance(root, types.ModuleType):
            root = Parts("module", [root.__name__, *_defined_in(root)])
        digest = self._walk.digest(root)
        while self._pending:
            name, value = self._pending.popleft()
            if isinstance(value, type):
                self._class(name, value)
            else:
                self._function(name, value)
        packages = tuple(sorted(self._packages))
        pieces = [
            text_digest(name, self._whole[name].hex(), *self._rebound(name))
            for name in sorted(self._whole)
        ]
        key = digest_of(digest, text_digest("packages", *packages), *pieces)
        said = dict(sorted(self._said.items()))
        return CodeKey(key, said, packages, self._values, replaces=self._replaces)

    def _rebound(self, piece: str) -> Iterator[str]:
        """Names of the globals that a function reads and others may assign to.

        What they stand for now does not say which they are.
        """
        for number, name in enumerate(self._read.get(piece, ())):
            if name in self._assigned:
                yield f"{number} {name}"

    # --- references -------------------------------------------------------------------------------

    def _refer(self, value: Any) -> RuleResult:
        if isinstance(value, types.ModuleType):
            return self._module(value.__name__)
        if isinstance(value, types.FunctionType):
            if is_own_function(value):
                return self._own("function", value.__globals__.get("__name__") or "", value)
            self._note(value.__globals__.get("__name__"))
            return foreign_function(value)
        if is_own_class(value):
            return self._own("class", value.__module__, value)
        self._note(value.__module__)
        return text_digest("class", *origin(str(value.__module__)), value.__qualname__)

    def _task(self, task: BaseTask[..., Any]) -> RuleResult:
        self._replaces = self._replaces or task.task_options.replaces
        return task_parts(task)

    def _module(self, name: str) -> bytes:
        if is_user_module(name):
            return text_digest("module", name)
        self._note(name)
        return text_digest("module", *origin(name))

    def _own(self, kind: str, module: str, value: Any) -> bytes:
        name = self._names.get(id(value))
        if name is None:
            name = f"{kind} {module}:{value.__qualname__}"
            self._taken[name] += 1
            if self._taken[name] > 1:
                name = f"{name} #{self._taken[name]}"
            self._names[id(value)] = name
            self._values[name] = value  # and so nothing else gets its address
            self._pending.append((name, value))
        return text_digest("own", name)

    def _note(self, module: Any) -> None:
        package = package_of(module) if isinstance(module, str) else ""
        if package:
            self._packages.add(package)

    # --- functions --------------------------------------------------------------------------------

    def _function(self, name: str, function: types.FunctionType) -> None:
        shape = shape_of(function.__code__)
        self._assigned |= shape.assigned
        self._replaces = self._replaces or "on_failure" in names_and_texts(function.__code__)[1]
        self._read[name] = shape.globals
        attributes = {key: part for key, part in vars(function).items() if key != "__wrapped__"}
        wrapped = vars(function).get("__wrapped__")
        cells = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))
        closure = [cells[free] for free in shape.free]
        own = [function.__defaults__, function.__kwdefaults__, closure]
        said = self._walk.digest(Parts("function", [shape.digest, *own, attributes, wrapped]))
        names, data = self._globals(function, shape)
        used = self._modules(function, shape)
        self._said[name] = digest_of(said, *names)
        self._whole[name] = digest_of(said, *names, *data, *used)

    def _globals(
        self, function: types.FunctionType, shape: CodeShape
    ) -> tuple[list[bytes], list[bytes]]:
        """What global names stand for: what says itself what it is, and data."""
        scope = function.__globals__
        names, data = [], []
        places = []  # of the data among the others
        for number, name in enumerate(shape.globals):
            if name not in scope:
                names.append(text_digest("builtin", name))
                continue
            digest = self._walk.digest(scope[name])
            if isinstance(scope[name], TOLD_BY_NAME):
                names.append(digest)
            else:
                data.append(digest)
                places.append(str(number))
                self._show(scope.get("__name__") or "", name, scope[name], digest)
        return [*names, text_digest("places", *places)], data

    def _show(self, module: str, name: str, value: Any, digest: bytes) -> None:
        piece = f"global {module}:{name}"
        self._said[piece] = digest
        self._values[piece] = value

    def _modules(self, function: types.FunctionType, shape: CodeShape) -> Iterator[bytes]:
        """What the code may use of the user's own modules that it reaches as modules."""
        scope = function.__globals__
        found = [scope.get(name) for name in shape.globals]
        found.extend(content_of(cell) for cell in function.__closure__ or ())
        for name in code_imports(function):
            if not is_user_module(name):
                self._note(name)
            elif name in sys.modules:
                found.append(sys.modules[name])
            else:  # it is imported first where the code runs: all of it counts
                for module, digest, text in source_digests(name):
                    self._said[f"module {module}"] = digest
                    self._values[f"module {module}"] = text
                    yield digest
        names = names_in(function.__code__)
        if "globals" in names or {"modules", "__name__"}.issubset(names):  # sys.modules[__name__]
            used = names_there(names, scope)
            own = [name for name in used if name in scope and name not in shape.globals]
            found.extend(scope[name] for name in own)
            for name in own:
                yield text_digest("global", name, self._walk.digest(scope[name]).hex())
        yield from self._attributes(deque(found), names)

    def _attributes(self, found: deque[Any], names: tuple[str, ...]) -> Iterator[bytes]:
        seen: set[str] = set()
        while found:
            module = found.popleft()
            if not isinstance(module, types.ModuleType) or module.__name__ in seen:
                continue
            seen.add(module.__name__)
            if not is_user_module(module.__name__):
                continue
            for name in names_there(names, vars(module)):
                if name not in vars(module):
                    continue
                value = vars(module)[name]
                digest = self._walk.digest(value)
                if not isinstance(value, TOLD_BY_NAME):
                    self._show(module.__name__, name, value, digest)
                found.append(value)
                yield text_digest("attribute", module.__name__, name, digest.hex())

    # --- classes ----------------------------------------------------------------------------------

    def _class(self, name: str, cls: type) -> None:
        attributes = list(attributes_of(cls))
        parts = [type(cls), cls.__bases__, fields_of(cls), attributes, registered_with(cls)]
        self._said[name] = self._whole[name] = self._walk.digest(Parts("class", parts))


def _by_type(value: Any) -> bytes:
    return text_digest("without key", described(value))


def _defined_in(module: types.ModuleType) -> Iterator[Any]:
    for _, value in sorted(vars(module).items()):
        if getattr(value, "__module__", None) == module.__name__ and callable(value):
            yield value
