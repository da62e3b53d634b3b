"""What a module's source says that its names stand for, as far as that can be told by reading it.

It is compared with what they stand for now (see :mod:`armoflow.codec.live`).
"""

from __future__ import annotations

import ast
import enum
import functools
from collections.abc import Iterable, Iterator, Mapping
from types import CodeType, FunctionType, NoneType
from typing import Any, NamedTuple, TypeAlias

from armoflow.codec.modules import READ_MODULES, ModuleSource, absolute_name
from armoflow.codec.syntax import compile_expression, parse


class DeclaredKind(enum.Enum):
    """How a name gets its value."""

    DEFINITION = "definition"  # def or class
    DECORATED = "decorated"  # the same, with decorators
    IMPORT = "import"  # value: module, and name in it or None
    LITERAL = "literal"  # value: the literal's
    COMPUTED = "computed"  # anything else: it is known only after it ran


class Declaration(NamedTuple):
    """How one name gets its value."""

    kind: DeclaredKind
    value: Any = None


_COMPUTED = Declaration(DeclaredKind.COMPUTED)
_PLAIN = (bool, int, float, complex, str, bytes, tuple, NoneType)


class Declared:
    """A module's declarations.

    Args:
        name: The module's name.
        source: Its source.
        exact: Its code is compiled from the source as it stands. Else the loader changes it before,
            as pytest's does with assertions: code is known by its name and place alone.

    Attributes:
        names: By name; of attributes of classes and functions by ``Class.attribute``.
        bases: Of each class that is defined once, the expressions of its bases.
    """

    def __init__(self, name: str, source: ModuleSource, *, exact: bool = True) -> None:
        text = source.text or ""
        tree = parse(text)
        package = name if source.is_package else name.rpartition(".")[0]
        self.names: dict[str, Declaration] = {}
        self.bases: dict[str, list[ast.expr]] = {}
        self._attributes: dict[str, list[str]] | None = None
        self._codes: frozenset[CodeType] | None = None
        if exact:
            self._codes = frozenset(_codes(compile(text, source.path, "exec", dont_inherit=True)))
        self._path = source.path
        self._read(tree.body, "", package)
        self._defaults = {_place_of(node): node.args for node in _functions(tree)}

    def attributes_of(self, path: str) -> list[str]:
        """The names that a class has by its definition."""
        if self._attributes is None:
            attributes: dict[str, list[str]] = {}
            for name in self.names:
                owner, _, attribute = name.rpartition(".")
                attributes.setdefault(owner, []).append(attribute)
            self._attributes = attributes  # whole, whoever else looks at it
        return self._attributes.get(path, [])

    def has(self, code: CodeType) -> bool:
        """Whether code of a function is what stands here."""
        if self._codes is not None:
            return code in self._codes
        place = code.co_name, code.co_firstlineno
        return code.co_filename == self._path and place in self._defaults

    def has_defaults_of(self, function: FunctionType) -> bool:
        """Whether a function has the defaults that stand here, as far as that can be told."""
        code = function.__code__
        declared = self._defaults.get((code.co_name, code.co_firstlineno))
        if declared is None:
            return True
        given = function.__defaults__ or ()
        named = function.__kwdefaults__ or {}
        expected = {
            argument.arg: default
            for argument, default in zip(declared.kwonlyargs, declared.kw_defaults, strict=True)
            if default is not None
        }
        return (
            len(given) == len(declared.defaults)
            and named.keys() == expected.keys()
            and all(
                _may_be(value, default, function.__globals__)
                for value, default in [
                    *zip(given, declared.defaults, strict=True),
                    *((named[name], default) for name, default in expected.items()),
                ]
            )
        )

    def _read(self, body: Iterable[ast.stmt], prefix: str, package: str) -> None:
        for statement in body:
            for name, declaration in _declarations(statement, package):
                path = prefix + name
                # What is bound twice has the value that was bound last, whichever that is.
                self.names[path] = _COMPUTED if path in self.names else declaration
            if isinstance(statement, ast.ClassDef):
                path = prefix + statement.name
                if self.names[path] is _COMPUTED:
                    self.bases.pop(path, None)
                else:
                    self.bases[path] = statement.bases
                self._read(statement.body, f"{path}.", package)
            elif not isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef)):
                for inner in _blocks(statement):
                    self._read(inner, prefix, package)


@functools.lru_cache(READ_MODULES)
def declared_in(name: str, source: ModuleSource, *, exact: bool) -> Declared:
    """The declarations of a module, which are the same for all clients of this process."""
    return Declared(name, source, exact=exact)


def same(value: Any, other: Any) -> bool:
    """Whether two literals are equal, types included.

    Example:
        >>> same([1, 2.0], [1, 2.0]), same([1], [True])
        (True, False)
    """
    if type(value) is not type(other):
        return False
    if isinstance(value, (list, tuple)):
        return len(value) == len(other) and all(map(same, value, other))
    if isinstance(value, dict):
        return (
            len(value) == len(other)
            and all(map(same, value.keys(), other.keys()))
            and all(map(same, value.values(), other.values()))
        )
    return bool(value == other) or repr(value) == repr(other) == "nan"


_Function: TypeAlias = "ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda"


def _functions(tree: ast.AST) -> Iterator[_Function]:
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            yield node


def _place_of(node: _Function) -> tuple[str, int]:
    """What its code says, too: the name, and the first line, decorators included."""
    if isinstance(node, ast.Lambda):
        return "<lambda>", node.lineno
    return node.name, min([node.lineno, *(one.lineno for one in node.decorator_list)])


def _may_be(value: Any, default: ast.expr, scope: Mapping[str, Any]) -> bool:
    """Whether an expression may have this value: of most that are no literals nothing is known."""
    if isinstance(default, ast.Name):
        return not isinstance(value, _PLAIN) or same(value, scope.get(default.id))
    declaration = _assigned(default)
    return declaration.kind is not DeclaredKind.LITERAL or same(value, declaration.value)


def _codes(code: CodeType) -> Iterator[CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant
            yield from _codes(constant)


def _blocks(statement: ast.stmt) -> Iterator[list[ast.stmt]]:
    for field in ("body", "orelse", "finalbody"):
        yield getattr(statement, field, [])
    for part in [*getattr(statement, "handlers", []), *getattr(statement, "cases", [])]:
        yield part.body


def _declarations(statement: ast.stmt, package: str) -> Iterator[tuple[str, Declaration]]:
    if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        kind = DeclaredKind.DECORATED if statement.decorator_list else DeclaredKind.DEFINITION
        yield statement.name, Declaration(kind)
    elif isinstance(statement, (ast.Import, ast.ImportFrom)):
        yield from _imported(statement, package)
    elif isinstance(statement, (ast.Assign, ast.AnnAssign)) and statement.value is not None:
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        for target in targets:
            if isinstance(target, ast.Name):
                yield target.id, _assigned(statement.value)
            elif isinstance(target, ast.Attribute) and isinstance(target.value, ast.Name):
                yield f"{target.value.id}.{target.attr}", _assigned(statement.value)
            else:
                yield from _stored(target)
    elif isinstance(statement, (ast.AugAssign, ast.For, ast.AsyncFor)):
        yield from _stored(statement.target)
    elif isinstance(statement, (ast.With, ast.AsyncWith)):
        for item in statement.items:
            if item.optional_vars is not None:
                yield from _stored(item.optional_vars)


def _imported(
    statement: ast.Import | ast.ImportFrom, package: str
) -> Iterator[tuple[str, Declaration]]:
    if isinstance(statement, ast.Import):
        for alias in statement.names:
            top = alias.name.partition(".")[0]
            module = alias.name if alias.asname else top
            yield alias.asname or top, Declaration(DeclaredKind.IMPORT, (module, None))
    else:
        base = absolute_name(package, statement.level, statement.module or "")
        for alias in statement.names:
            yield alias.asname or alias.name, Declaration(DeclaredKind.IMPORT, (base, alias.name))


def _stored(target: ast.AST) -> Iterator[tuple[str, Declaration]]:
    for node in ast.walk(target):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id, _COMPUTED


_CONSTANT_NODES = (
    *(ast.Constant, ast.Tuple, ast.List, ast.Set, ast.Dict, ast.UnaryOp, ast.BinOp),
    *(ast.unaryop, ast.operator, ast.Load),
)


def _assigned(value: ast.expr) -> Declaration:
    if not all(isinstance(node, _CONSTANT_NODES) for node in ast.walk(value)):
        return _COMPUTED
    code = compile_expression(value)
    try:
        return Declaration(DeclaredKind.LITERAL, eval(code, {"__builtins__": {}}))
    except Exception:
        return _COMPUTED  # the module says so itself, when it is imported
