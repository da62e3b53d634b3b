"""How functions are reached by name in another process, and which modules they will import."""

from __future__ import annotations

import builtins
import dis
import importlib
import re
import sys
import types
import weakref
from collections.abc import Iterable, Iterator
from typing import Any

import cloudpickle

from armoflow.codec.modules import IMPORTERS, absolute_name, parents_of
from armoflow.system.importing import MAIN, is_importable

_LONGEST_CHAIN = 16  # decorators on one function


def is_reachable(value: Any) -> bool:
    """Whether a function or class is what its module has under its name, found out quickly.

    False does not mean that it cannot be pickled by reference: it may lie deeper in its module.
    """
    name = value.__module__
    module = sys.modules.get(name)
    return (
        module is not None
        and name not in MAIN
        and module.__dict__.get(value.__qualname__) is value
        and module.__dict__.get("__spec__") is not None
        and not _travels_by_value(name)
    )


def find_wrapped(function: Any) -> tuple[str, str, int] | None:
    """How to reach a decorated function from the name that its decorator's result has.

    Returns:
        Module, qualified name, and how many ``__wrapped__`` to follow; None where the function is
        found by its own name, or not at all.
    """
    module = getattr(function, "__module__", None)
    name = getattr(function, "__qualname__", "")
    if module is None or not is_importable(module) or _travels_by_value(module):
        return None
    target: Any = sys.modules[module]
    for part in name.split("."):
        target = getattr(target, "__dict__", {}).get(part)
    if target is function:
        return None
    for depth in range(1, _LONGEST_CHAIN):
        if target is None:
            return None
        target = getattr(target, "__dict__", {}).get("__wrapped__")
        if target is function:
            return module, name, depth
    return None


def load_wrapped(module: str, name: str, depth: int) -> Any:
    """The function that :func:`find_wrapped` found, in another process."""
    target: Any = importlib.import_module(module)
    for part in name.split("."):
        target = getattr(target, part)
    for _ in range(depth):
        target = target.__wrapped__
    return target


def load_global(*places: tuple[str, str]) -> Any:
    """What modules have under these names, in another process: the same object, each of them."""
    for module, name in places:
        loaded = sys.modules.get(module)
        if loaded is not None and name in vars(loaded):
            return vars(loaded)[name]
    module, name = places[0]
    return getattr(importlib.import_module(module), name)


def content_of(cell: types.CellType) -> Any:
    """What a closure variable holds, or None if it is not assigned yet."""
    try:
        return cell.cell_contents
    except ValueError:
        return None


def _travels_by_value(name: str) -> bool:
    registered = cloudpickle.list_registry_pickle_by_value()
    return bool(registered) and any(parent in registered for parent in [name, *parents_of(name)])


_IMPORT_NAME = dis.opmap["IMPORT_NAME"]
_code_imports: weakref.WeakKeyDictionary[types.CodeType, tuple[tuple[int, str], ...]] = (
    weakref.WeakKeyDictionary()
)


def code_imports(function: types.FunctionType) -> Iterator[str]:
    """Names that may be modules, imported by a function's body."""
    imports = _imports_of_code(function.__code__)
    if not imports:
        return
    scope = function.__globals__
    package = scope.get("__package__")
    if package is None:
        package = str(scope.get("__name__", "")).rpartition(".")[0]
    for level, name in imports:
        absolute = absolute_name(package, level, name)
        if absolute:
            yield absolute


def _imports_of_code(code: types.CodeType) -> tuple[tuple[int, str], ...]:
    known = _code_imports.get(code)
    if known is not None:
        return known
    found: list[tuple[int, str]] = []
    if _IMPORT_NAME in code.co_code[::2]:
        level: Any = 0
        names: Any = None
        for instruction in dis.get_instructions(code):
            if instruction.opcode == _IMPORT_NAME:
                found.append((level, instruction.argval))
                prefix = f"{instruction.argval}." if instruction.argval else ""
                found.extend((level, prefix + name) for name in names or ())
            elif instruction.opname != "EXTENDED_ARG":
                level, names = names, instruction.argval  # the last two values loaded
    dynamic = not IMPORTERS.isdisjoint(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            found.extend(_imports_of_code(constant))
        elif dynamic and isinstance(constant, str) and constant.replace(".", "").isidentifier():
            found.append((0, constant))
    _code_imports[code] = tuple(found)
    return tuple(found)


_ANYTHING = frozenset(
    {"exec", "eval", "globals", "__import__", "open", "breakpoint", "exit", "quit"}
)


def uses_nothing(function: Any) -> bool:
    """Whether a function's pickle depends on its code alone, so that it need not be made again.

    Example:
        >>> uses_nothing(lambda number: abs(number) + 1), uses_nothing(lambda: types)
        (True, False)
    """
    if type(function) is not types.FunctionType or function.__closure__ or function.__dict__:
        return False
    if function.__defaults__ or function.__kwdefaults__:
        return False
    return _only_builtins(function.__code__, function.__globals__)


def _only_builtins(code: types.CodeType, names: dict[str, Any]) -> bool:
    for name in code.co_names:
        if name in names or not hasattr(builtins, name) or name in _ANYTHING:
            return False
    return all(
        _only_builtins(constant, names)
        for constant in code.co_consts
        if isinstance(constant, types.CodeType)
    )


_RUNS_TEXT = frozenset({"eval", "exec"})
_MAIN = "__main__"
_WORD = re.compile(r"[^\W\d]\w*")
_code_words: weakref.WeakKeyDictionary[types.CodeType, frozenset[str]] = weakref.WeakKeyDictionary()


def globals_by_text(function: types.FunctionType) -> dict[str, Any]:
    """Those of a function's globals that its code asks for by other means than their names.

    Example:
        >>> scope = {"__name__": "__main__", "FACTOR": 3, "half": 0.5, "other": None}
        >>> exec("def f(x): return globals()['FACTOR'] * x", scope)
        >>> exec("def g(x): return eval('half * x')", scope)
        >>> globals_by_text(scope["f"]), globals_by_text(scope["g"])
        ({'FACTOR': 3}, {'half': 0.5})
    """
    scope = function.__globals__
    return {name: scope[name] for name in sorted(words_of_code(function.__code__)) if name in scope}


def words_of_code(code: types.CodeType) -> frozenset[str]:
    """What code may ask its globals for by other means than names, as far as it spells it out.

    That is as ``globals()["name"]``, ``eval("name")`` or ``__main__.name``; in nested code, too.
    """
    known = _code_words.get(code)
    if known is None:
        known = _code_words[code] = frozenset(_read_words(code))
    return known


def _read_words(code: types.CodeType) -> Iterator[str]:
    names, texts = names_and_texts(code)
    if _MAIN in names or _MAIN in texts:
        yield from names
    if "globals" in names:
        yield from texts
    if not _RUNS_TEXT.isdisjoint(names):
        for text in texts:
            yield from _WORD.findall(text)


def names_and_texts(code: types.CodeType) -> tuple[set[str], set[str]]:
    """The names that code may look up, and the texts in its constants; of nested code, too."""
    names, texts = set(code.co_names), set[str]()
    _collect(code.co_consts, names, texts)
    return names, texts


def _collect(constants: Iterable[Any], names: set[str], texts: set[str]) -> None:
    """The names and the texts in constants: in tuples, and in the code of nested functions."""
    for constant in constants:
        if isinstance(constant, str):
            texts.add(constant)
        elif isinstance(constant, (tuple, frozenset)):
            _collect(constant, names, texts)
        elif isinstance(constant, types.CodeType):
            names.update(constant.co_names)
            _collect(constant.co_consts, names, texts)


def is_dispatcher(function: types.FunctionType) -> bool:
    """Whether ``functools.singledispatch`` made a function.

    Example:
        >>> import functools
        >>> is_dispatcher(functools.singledispatch(repr)), is_dispatcher(is_dispatcher)
        (True, False)
    """
    return "registry" in function.__dict__ and "dispatch" in function.__dict__
