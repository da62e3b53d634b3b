"""The user's modules as a worker's process imports them: from a bundle, not from its own disk.

One bundle is active at a time. Another one that only adds modules extends it; one that changes a
module, or what one of its names stands for, becomes a new *generation*: the modules of the old
one leave ``sys.modules`` (and are kept aside, for tasks submitted before the change), so that no
code is ever stale or mixed.
"""

from __future__ import annotations

import functools
import itertools
import linecache
import os
import pickle
import sys
import types
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Mapping, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import spec_from_file_location
from typing import Any

from armoflow import config
from armoflow.codec.ancestry import BASES, REGISTERED, is_found
from armoflow.codec.classes import surround_classes, without_numbers
from armoflow.codec.modules import DELETED, Bundle, ModuleSource, decode_bundle, is_user_module
from armoflow.codec.pickling import dumps_whole
from armoflow.errors import SerializationError

_numbers = itertools.count(1)


class Generation:
    """Modules that belong together.

    Attributes:
        sources: The bundled sources, by module name.
        names: What names in them stand for at the client: see :class:`Bundle`.
        modules: What was imported of them, while the generation is not active.
        number: Tells it from others.
    """

    def __init__(self, bundle: Bundle) -> None:
        self.sources = dict(bundle.sources)
        self.names = dict(bundle.names)
        self.modules: dict[str, types.ModuleType] = {}
        self.number = next(_numbers)

    def extends_to(self, bundle: Bundle) -> bool:
        """Whether a bundle changes nothing here; what it adds must not be imported yet."""
        for name, source in bundle.sources.items():
            known = self.sources.get(name)
            if (
                known != source
                and source.text is not None
                and (known is not None or name in sys.modules)
            ):
                return False
        # A name that was not mentioned is used by no task that came with it.
        names = bundle.names.items()
        return all(self.names.get(name, value) == value for name, value in names)

    def holds(self, bundle: Bundle) -> bool:
        """Whether it serves a bundle as it is, and maybe more."""
        return all(self.names.get(name) == value for name, value in bundle.names.items()) and all(
            self.sources.get(name) == source for name, source in bundle.sources.items()
        )

    def extend(self, bundle: Bundle) -> None:
        """Add what a bundle has more."""
        self.sources.update(bundle.sources)
        new = {name: value for name, value in bundle.names.items() if name not in self.names}
        self.names.update(new)
        _set_names(new)

    def loaded(self, module: str) -> None:
        """A module was imported from its source."""
        prefix = f"{module}:"
        _set_names({name: value for name, value in self.names.items() if name.startswith(prefix)})

    def owns(self, name: str) -> bool:
        """Whether a module is bundled, or lies in a bundled package (found there on disk).

        Namespace packages do not count: other modules share them.
        """
        while name not in self.sources:
            name = name.rpartition(".")[0]
            if not name:
                return False
        return self.sources[name].text is not None

    def take_out(self) -> None:
        """Remove the generation's modules from ``sys.modules``, and keep them."""
        self.modules = remove_modules(self)

    def put_back(self) -> None:
        """Bring them back, with their source lines."""
        sys.modules.update(self.modules)
        for name, module in self.modules.items():
            parent, _, child = name.rpartition(".")
            if parent in sys.modules and not self.owns(parent):
                setattr(sys.modules[parent], child, module)
            source = self.sources.get(name)
            if source is not None:
                show_lines(source)
        self.modules = {}


def remove_modules(generation: Generation) -> dict[str, types.ModuleType]:
    """Remove what a generation owns from ``sys.modules`` and from namespace packages."""
    removed = {name: sys.modules.pop(name) for name in list(sys.modules) if generation.owns(name)}
    for name in removed:
        parent, _, child = name.rpartition(".")
        if parent in sys.modules:  # or "from parent import child" would find the old module
            vars(sys.modules[parent]).pop(child, None)
    return removed


def _set_names(names: Mapping[str, bytes | None]) -> None:
    """Let names in modules that are loaded stand for what they do at the client."""
    for name, pickled in names.items():
        module, _, path = name.partition(":")
        if pickled is not None and module in sys.modules:
            *owners, last = path.split(".")
            owner = functools.reduce(getattr, owners, sys.modules[module])
            _set_name(owner, last, pickled, (vars(sys.modules[module]), path))


def _set_name(owner: Any, name: str, pickled: bytes, place: tuple[dict[str, Any], str]) -> None:
    if pickled == DELETED:
        if name in vars(owner):
            delattr(owner, name)
        return
    value = pickle.loads(pickled)
    if name == REGISTERED:
        for cls in value:
            owner.register(cls)
        return
    old = owner.__bases__ if name == BASES else vars(owner).get(name)
    if not (_is_same(old, value, pickled) or _change(old, value, place) or _fill(old, value)):
        setattr(owner, name, value)


def _change(old: Any, value: Any, place: tuple[dict[str, Any], str]) -> bool:
    """Let a function, or a class, have what was set on it; False if it was replaced.

    Args:
        old: What the module has.
        value: What it is to have.
        place: The module's names, and where it is in them: who imported a function has none there.
    """
    if isinstance(old, type) and isinstance(value, type):
        return old.__module__ == place[0].get("__name__") and _change_class(old, value)
    if not (isinstance(old, types.FunctionType) and isinstance(value, types.FunctionType)):
        return False
    scope, path = place
    for function in (old, value):
        if function.__globals__ is not scope or function.__qualname__ != path:
            return False
    if old.__closure__ or value.__closure__ or "__wrapped__" in vars(value):
        return False
    old.__code__ = value.__code__
    old.__defaults__, old.__kwdefaults__ = value.__defaults__, value.__kwdefaults__
    vars(old).clear()
    vars(old).update(vars(value))
    return True


def _change_class(old: type, value: type) -> bool:
    """The same of a class that its module has under another name than its own."""
    if is_found(old) or (old.__name__, old.__bases__) != (value.__name__, value.__bases__):
        return False
    for name in vars(old).keys() - vars(value).keys():
        delattr(old, name)
    for name, attribute in vars(value).items():
        if name not in _OF_EVERY_CLASS and vars(old).get(name) is not attribute:
            setattr(old, name, attribute)
    return True


_OF_EVERY_CLASS = frozenset({"__dict__", "__weakref__", "__doc__", "__module__", "_abc_impl"})


def _is_same(old: Any, value: Any, pickled: bytes) -> bool:
    """Whether importing the module has made what it is at the client.

    Then it stays, and so does what else refers to the very object.
    """
    if type(old) is not type(value) or isinstance(value, _FUNCTIONS):
        return False
    if value is old:
        return True
    try:
        made = dumps_whole(old)
    except SerializationError:
        return False
    return made == pickled or (
        isinstance(old, type) and without_numbers(made) == without_numbers(pickled)
    )


_FUNCTIONS = (types.FunctionType, types.MethodType, classmethod, staticmethod, property)
"""Their pickles say where they are found, not what they do."""


def _fill(old: Any, value: Any) -> bool:
    """Change in place what other modules may have imported by name; False if that cannot be."""
    kind = type(old)
    if kind is not type(value):
        return False
    if kind in (list, bytearray):
        old[:] = value
        return True
    if kind is deque and old.maxlen == value.maxlen:
        old.clear()
        old.extend(value)
        return True
    if kind is defaultdict:
        old.default_factory = value.default_factory
    if kind not in _UPDATED and not (is_user_module(kind.__module__) and _is_open(kind)):
        return False
    held, content = (old, value) if kind in _UPDATED else (vars(old), vars(value))
    held.clear()
    held.update(content)
    return True


_UPDATED = (dict, set, OrderedDict, defaultdict, Counter)


class _Open:
    """An instance holds its attributes, and nothing else."""


def _is_open(kind: type) -> bool:
    """Whether all that an instance holds is its attributes: no slots, no items, no number."""
    own = kind.__basicsize__, kind.__itemsize__, kind.__dictoffset__
    return own == (_Open.__basicsize__, _Open.__itemsize__, _Open.__dictoffset__)


class InstalledModules:
    """Serves the active generation's modules to ``import``; one for a process.

    Attributes:
        active: The generation that is served, or None.
    """

    def __init__(self, limit: int = config.CODE_CACHE_GENERATIONS) -> None:
        self.active: Generation | None = None
        self._limit = limit
        self._generations: OrderedDict[str, Generation] = OrderedDict()

    def missing(self, digest: str) -> bool:
        """Whether ``install`` needs the bundle's data."""
        return digest not in self._generations

    def serves(self, digest: str) -> bool:
        """Whether the modules of this bundle are those that are imported now."""
        generation = self._generations.get(digest)
        return generation is not None and generation is self.active

    def install(self, digest: str, data: bytes | memoryview | None = None) -> None:
        """Serve the modules of a bundle from now on; cheap when they are served already.

        Raises:
            EnvelopeError: If the data is not a bundle.
            LookupError: If the bundle is not known and comes without data.
        """
        generation = self._generations.get(digest)
        if generation is not None and generation is self.active:
            return
        if generation is None:
            if data is None:
                raise LookupError(f"modules {digest} are not here")
            generation = self._generation(decode_bundle(data))
            self._generations[digest] = generation
        self._activate(generation)
        self._generations.move_to_end(digest)
        while len(self._generations) > self._limit:
            self._generations.popitem(last=False)

    def serve(self, bundle: Bundle) -> None:
        """Serve the modules of a bundle, whatever its digest."""
        self._activate(Generation(bundle))

    def close(self) -> None:
        """Serve nothing any more, and forget all."""
        if self.active is not None:
            self.active.take_out()
            self.active = None
        if self in sys.meta_path:
            sys.meta_path.remove(self)
        self._generations.clear()

    def _generation(self, bundle: Bundle) -> Generation:
        if self.active is not None and self.active.extends_to(bundle):
            self.active.extend(bundle)
            return self.active
        for generation in self._generations.values():
            if generation.holds(bundle):
                return generation
        return Generation(bundle)

    def _activate(self, generation: Generation) -> None:
        if generation is self.active:
            return
        if self.active is not None:
            self.active.take_out()
        remove_modules(generation)  # imported from this process's own disk: may be different
        generation.put_back()
        self.active = generation
        surround_classes(generation.number)
        if self not in sys.meta_path:
            sys.meta_path.insert(0, self)

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,
        target: types.ModuleType | None = None,
    ) -> ModuleSpec | None:
        """Called by ``import``."""
        source = self.active.sources.get(fullname) if self.active is not None else None
        if source is None or self.active is None:
            return None
        if source.text is None:
            return _namespace(fullname, path, source)
        # pathlib is not imported in children
        locations = [os.path.dirname(source.path)] if source.is_package else None  # noqa: PTH120
        loader: Any = _ModuleLoader(source, self.active)
        return spec_from_file_location(
            fullname, source.path, loader=loader, submodule_search_locations=locations
        )


def _namespace(name: str, path: Sequence[str] | None, source: ModuleSource) -> ModuleSpec:
    """A namespace package: this process may have another part of it."""
    spec = PathFinder.find_spec(name, path)
    if spec is None or spec.submodule_search_locations is None:
        spec = ModuleSpec(name, None, is_package=True)
        spec.submodule_search_locations = [source.path]
    return spec


class _ModuleLoader:
    def __init__(self, source: ModuleSource, generation: Generation) -> None:
        self._source = source
        self._generation = generation

    def create_module(self, spec: ModuleSpec) -> None:
        return None

    def exec_module(self, module: types.ModuleType) -> None:
        source = self._source
        show_lines(source)
        code = compile(source.text or "", source.path, "exec", dont_inherit=True)
        try:
            exec(code, vars(module))
        except ImportError as error:
            explain_import_error(error, f"module {module.__name__!r} ({source.path})")
            raise
        self._generation.loaded(module.__name__)

    def get_source(self, fullname: str) -> str:
        return self._source.text or ""

    def is_package(self, fullname: str) -> bool:
        return self._source.is_package


def explain_import_error(error: ImportError, importer: str) -> None:
    """Add to an import error who imports, and what can be done, once."""
    if getattr(error, "armoflow_explained", False):
        return
    error.msg = (
        f"{error}: it is imported by {importer}, which came with the task, and has to be "
        "installed where the worker runs"
    )
    error.args = (error.msg,)
    error.armoflow_explained = True  # type: ignore[attr-defined]


def show_lines(source: ModuleSource) -> None:
    """Let tracebacks show the lines that run, whatever lies on this process's disk."""
    text = source.text or ""
    linecache.cache[source.path] = (len(text), None, text.splitlines(True), source.path)
