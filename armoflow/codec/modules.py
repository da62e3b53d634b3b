"""Which modules are the user's own, what they import, and their sources in one bundle.

A module is the user's own when its source is a ``.py`` file outside the standard library, outside
``site-packages`` and ``dist-packages``, and not of armoflow. Functions and classes of such modules
are pickled by reference, and the sources travel with them: a project of several files runs
unconfigured, and what runs is what was submitted.
"""

from __future__ import annotations

import ast
import functools
import os
import sys
import tokenize
import zlib
from collections.abc import Iterable, Iterator
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

import msgpack

from armoflow.codec.syntax import parse
from armoflow.errors import EnvelopeError
from armoflow.system.importing import MAIN, RUN_PATH

if TYPE_CHECKING:
    from pathlib import Path

_FORMAT = 2
_PATHS = "surrogatepass"
"""How texts are encoded: paths may be no UTF-8, and Python then has lone surrogates in them."""

IMPORTERS = frozenset({"import_module", "__import__"})
_INSTALLED = frozenset({"site-packages", "dist-packages"})

NEEDED = ("armonik", "cloudpickle", "google", "grpc", "msgpack", "networkx", "uvloop")
"""What armoflow needs itself is there on every worker, wherever it was installed."""

_own: set[str] = set()  # modules found to be the user's
_foreign = {*sys.builtin_module_names, *NEEDED}  # top-level names found to be somebody else's


DELETED = b""
"""Stands in a bundle for what a name stands for that its module's source has, and it has not."""


READ_MODULES = 512
"""So many sources are read once for all clients of a process."""


class ModuleSource(NamedTuple):
    """A module as it travels; ``text`` is None for a namespace package."""

    text: str | None
    path: str
    is_package: bool


def absolute_name(package: str, level: int, name: str) -> str:
    """The full name of what a relative import imports; empty when it leaves the package."""
    if not level:
        return name
    parts = package.split(".")
    if level > len(parts) or not package:
        return ""
    base = ".".join(parts[: len(parts) - level + 1])
    return f"{base}.{name}" if name else base


def parents_of(name: str) -> list[str]:
    """The packages that a module lies in, outermost first."""
    parts = name.split(".")
    return [".".join(parts[:length]) for length in range(1, len(parts))]


def is_user_module(name: str) -> bool:
    """Whether a module is the user's own; nothing is imported to find out.

    Example:
        >>> is_user_module("json"), is_user_module("armoflow.codec"), is_user_module("__main__")
        (False, False, False)
    """
    if name not in _own and _search(name):
        _own.add(name)
    return name in _own


def names_of_global(value: object) -> tuple[tuple[str, str], ...]:
    """Module and name, by which an object is found in modules of the user's own that are loaded."""
    return tuple(
        (module, name)
        for module in sorted(_own & sys.modules.keys())
        for name, found in list(vars(sys.modules[module]).items())
        if found is value
    )


def _search(name: str) -> bool:
    top = name.partition(".")[0]
    if name in MAIN or name == RUN_PATH or top in _foreign or (top != name and _find(top) is None):
        return False
    found = _find(name)
    if found is None:
        return False
    own = _is_own(found)
    if not own and top == name and not _is_namespace(found):
        _foreign.add(top)
    return own


class _FoundModule(NamedTuple):
    """Where a module comes from."""

    origin: str | None
    locations: list[str] | None
    loader: Any
    token: object  # changes when the module is loaded again


def _find(name: str) -> _FoundModule | None:
    module = sys.modules.get(name)
    if module is not None:
        spec, path = _attribute(module, "__spec__"), _attribute(module, "__path__")
        locations = None if path is None else list(path)
        if spec is not None:
            return _FoundModule(spec.origin, locations, spec.loader, spec)
        return _FoundModule(_attribute(module, "__file__"), locations, None, module)
    spec = _find_spec(name)
    if spec is None:
        return None
    locations = spec.submodule_search_locations
    token = _stat(spec.origin or (locations or [""])[0])
    return _FoundModule(
        spec.origin, None if locations is None else list(locations), spec.loader, token
    )


def _attribute(module: object, name: str) -> Any:
    """What a module has itself: a function ``__getattr__`` of it may say anything of any name."""
    if isinstance(module, ModuleType):
        return vars(module).get(name)
    return getattr(module, name, None)


def _find_spec(name: str) -> ModuleSpec | None:
    parent = name.rpartition(".")[0]
    path = None
    if parent:
        found = _find(parent)
        if found is None or found.locations is None:
            return None
        path = found.locations
    for finder in sys.meta_path:
        find = getattr(finder, "find_spec", None)
        spec: ModuleSpec | None = None if find is None else find(name, path, None)
        if spec is not None:
            return spec
    return None


def _stat(path: str | None) -> object:
    try:
        # Before each submission, of each module that is not loaded: pathlib costs much more.
        status = os.stat(path or "")  # noqa: PTH116
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size


def _same(token: object, other: object) -> bool:
    # Specs of different loads are equal, but not identical.
    return token is other or (isinstance(token, tuple) and token == other)


def _is_namespace(found: _FoundModule) -> bool:
    return found.locations is not None and not (found.origin or "").endswith(".py")


def _is_own(found: _FoundModule) -> bool:
    if _is_namespace(found):
        return found.origin in (None, "namespace") and any(
            _is_own_path(location) for location in found.locations or ()
        )
    return found.origin is not None and found.origin.endswith(".py") and _is_own_path(found.origin)


def _is_own_path(path: str) -> bool:
    absolute = _absolute(path)
    return _INSTALLED.isdisjoint(absolute.parts) and _foreign_roots().isdisjoint(
        (absolute, *absolute.parents)
    )


@functools.cache
def _foreign_roots() -> frozenset[Path]:
    """Where the modules of armoflow and of the standard library are."""
    roots = (_absolute(__file__).parent.parent, _absolute(os.__file__).parent)
    return frozenset(path for root in roots for path in (root, root.resolve()))


def _absolute(path: str) -> Path:
    from pathlib import Path  # not imported in children

    return Path(path).absolute()


def _read(name: str, found: _FoundModule) -> ModuleSource | None:
    if _is_namespace(found):
        return ModuleSource(None, str(_absolute((found.locations or [""])[0])), True)
    path = str(_absolute(found.origin or ""))
    is_package = found.locations is not None
    get_source = getattr(found.loader, "get_source", None)
    text: str | None = None
    try:
        if get_source is not None:
            text = get_source(name)
        if text is None:
            with tokenize.open(path) as file:
                text = file.read()
        if name in sys.modules:
            _imports_in(text, _package_of(name, is_package))
    except (ImportError, OSError, SyntaxError, UnicodeDecodeError):
        return None  # it cannot be imported either: whoever imports it is told why
    return ModuleSource(text, path, is_package)


def imports_of(name: str, source: ModuleSource) -> frozenset[str]:
    r"""Names that may be modules, imported anywhere in a module's source.

    Example:
        >>> source = ModuleSource("from . import b\nimport c.d", "/a/__init__.py", True)
        >>> sorted(imports_of("a", source))
        ['a', 'a.b', 'c.d']
    """
    try:
        return _imports_in(source.text or "", _package_of(name, source.is_package))
    except (SyntaxError, ValueError):
        return frozenset()


def _package_of(name: str, is_package: bool) -> str:
    return name if is_package else name.rpartition(".")[0]


@functools.lru_cache(READ_MODULES)
def _imports_in(text: str, package: str) -> frozenset[str]:
    found: set[str] = set()
    for node in ast.walk(parse(text)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = absolute_name(package, node.level, node.module or "")
            if base:
                found.add(base)
                found.update(f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call):
            found.update(_dynamic_import(node, package))
    return frozenset(found)


def _dynamic_import(call: ast.Call, package: str) -> Iterator[str]:
    """The literal name in ``import_module("name")`` or ``__import__("name")``."""
    called = getattr(call.func, "attr", getattr(call.func, "id", ""))
    if called in IMPORTERS and call.args:
        name = getattr(call.args[0], "value", None)
        if isinstance(name, str) and name:
            level = len(name) - len(name.lstrip("."))
            yield absolute_name(package, level, name.lstrip("."))


# --- the bundle ---------------------------------------------------------------------------------


class _Member(NamedTuple):
    token: object
    source: ModuleSource


class Bundle(NamedTuple):
    """What a worker needs to import the user's modules as they are at the client.

    Attributes:
        sources: By module name.
        names: The names that tasks use, as ``module:path``: None where a name stands for what its
            module's source makes of it, else a pickle of what it stands for (see
            :mod:`armoflow.codec.live`), or :data:`DELETED`.
    """

    sources: dict[str, ModuleSource]
    names: dict[str, bytes | None]


class ModuleBundle:
    """The sources of the user's own modules, and of all those of them that they import.

    What is bundled is what this process runs: a file that is edited after its module was imported
    is read again when the module is reloaded, and at once when it has not been imported here.

    Attributes:
        others: Top-level names of what else they import.

    Example:
        >>> bundle = ModuleBundle()
        >>> bundle.add(["json"])  # not the user's own
        >>> bundle.encode() is None
        True
    """

    def __init__(self) -> None:
        self.others: set[str] = set()
        self._members: dict[str, _Member] = {}
        self._encoded: tuple[str, bytes] | None = None
        self._names: dict[str, bytes | None] = {}
        self._packed: bytes | None = None  # the sources

    def add(self, names: Iterable[str]) -> None:
        """Add modules by name, with what they import."""
        pending = [name for name in names if name not in self._members]
        while pending:
            name = pending.pop()
            if name in self._members:
                continue
            if not is_user_module(name):
                self.others.add(name.partition(".")[0])
                continue
            found = _find(name)
            source = None if found is None else _read(name, found)
            if found is None or source is None:
                if name in sys.modules:  # its file is gone, or half written: from memory, then
                    import cloudpickle

                    cloudpickle.register_pickle_by_value(sys.modules[name])
                continue
            self._put(name, found.token, source)
            pending.extend(parents_of(name))
            pending.extend(imports_of(name, source))

    def sources(self) -> dict[str, ModuleSource]:
        """All that is in the bundle, by module name."""
        return {name: member.source for name, member in self._members.items()}

    def source(self, name: str) -> ModuleSource | None:
        """The source of a module, if it is in the bundle."""
        member = self._members.get(name)
        return None if member is None else member.source

    def refresh(self) -> None:
        """Read again what was loaded again, or was edited and is not loaded here."""
        loaded = sys.modules
        for name, member in list(self._members.items()):
            module = loaded.get(name)
            if module is not None:
                if getattr(module, "__spec__", None) is member.token:
                    continue
            elif _stat(member.source.path) == member.token:
                continue
            found = _find(name)
            if found is None or _same(found.token, member.token):
                continue
            source = _read(name, found)
            if source is None:
                continue
            if source == member.source:
                self._members[name] = _Member(found.token, source)
            else:
                self._put(name, found.token, source)
                self.add(imports_of(name, source))

    def set_name(self, name: str, value: bytes | None) -> None:
        """Tell what a name stands for: see :class:`Bundle`."""
        if self._names.get(name, self) != value:
            self._names[name] = value
            self._encoded = None

    def names_of(self, module: str) -> list[tuple[str, bytes]]:
        """The paths in a module of which it was told that they are not what the source says."""
        prefix = f"{module}:"
        return [
            (name.removeprefix(prefix), value)
            for name, value in self._names.items()
            if value is not None and name.startswith(prefix)
        ]

    def encode(self) -> tuple[str, bytes] | None:
        """The digest and the data of the bundle as it is now, or None when it is empty."""
        self.refresh()
        if self._encoded is None and self._members:
            if self._packed is None:
                members = sorted((name, *member.source) for name, member in self._members.items())
                self._packed = zlib.compress(_pack(members))
            names = zlib.compress(_pack(sorted(self._names.items())))
            data = msgpack.packb([_FORMAT, self._packed, names])
            import hashlib

            self._encoded = hashlib.blake2b(data, digest_size=16).hexdigest(), data
        return self._encoded

    def _put(self, name: str, token: object, source: ModuleSource) -> None:
        self._members[name] = _Member(token, source)
        self._packed = self._encoded = None


def _pack(value: object) -> bytes:
    packed: bytes = msgpack.packb(value, use_bin_type=True, unicode_errors=_PATHS)
    return packed


def decode_bundle(data: bytes | memoryview) -> Bundle:
    """Read a bundle back.

    Raises:
        EnvelopeError: If the data is not a bundle.
    """
    try:
        version, *packed = msgpack.unpackb(data)
        if version != _FORMAT:
            raise EnvelopeError(f"modules have format {version!r}, this armoflow reads {_FORMAT}")
        members, names = (
            msgpack.unpackb(zlib.decompress(part), unicode_errors=_PATHS) for part in packed
        )
        sources = {
            name: ModuleSource(text, path, is_package) for name, text, path, is_package in members
        }
        return Bundle(sources, dict(names))
    except (ValueError, TypeError, zlib.error, msgpack.UnpackException) as error:
        raise EnvelopeError(f"stored data is not a bundle of modules: {error}") from error
