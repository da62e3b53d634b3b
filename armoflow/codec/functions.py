"""Functions by content: encoded where they are submitted, loaded once by each worker's process."""

from __future__ import annotations

import pickle
import weakref
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from armoflow import config
from armoflow.codec.installed import Generation, InstalledModules, explain_import_error
from armoflow.codec.modules import ModuleBundle
from armoflow.codec.pickling import dumps_whole

__all__ = ["CodeCache", "EncodedFunction", "ModuleBundle", "encode_function"]


@dataclass(frozen=True, slots=True)
class EncodedFunction:
    """A function's pickle.

    Attributes:
        digest: Hash of the data. The modules have a digest of their own.
        data: The pickle.
        modules: Names of the user's own modules that loading the pickle or calling the function
            may import.
        others: Top-level names of the other modules.
    """

    digest: str
    data: bytes
    modules: frozenset[str]
    others: frozenset[str]


def encode_function(function: Callable[..., Any]) -> EncodedFunction:
    """Pickle a function, or anything else that can be called.

    Functions of importable modules are pickled by reference; those of ``__main__``, lambdas and
    nested functions by value, with the globals and closure variables that they use *now*: encode
    again for each compute.

    Raises:
        SerializationError: If something that the function uses cannot be pickled; the message names
            the global or closure variable.

    Example:
        >>> encoded = encode_function(lambda x: x + 1)
        >>> CodeCache().function(encoded.digest, encoded.data)(1)
        2
    """
    import hashlib  # not imported in children

    modules: set[str] = set()
    others: set[str] = set()
    data = dumps_whole(function, modules, others)
    digest = hashlib.blake2b(data, digest_size=16).hexdigest()
    return EncodedFunction(digest, data, frozenset(modules), frozenset(others))


def names_in(function: Callable[..., Any]) -> set[str]:
    """The modules that a function's pickle, and the code in it, names.

    Raises:
        SerializationError: As :func:`encode_function`.
    """
    names: set[str] = set()
    dumps_whole(function, names, own=False)
    return names


class _CachedFunction:
    """A function's pickle, and what was loaded from it in each generation of modules."""

    __slots__ = ("data", "loaded", "plain", "size")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.size = max(len(data), config.LOADED_CODE_LEAST)
        self.plain: Any = None  # loaded while no modules were installed
        self.loaded: weakref.WeakKeyDictionary[Generation, Any] = weakref.WeakKeyDictionary()


class CodeCache:
    """A worker's functions and modules, by digest; one for a process, used by one thread.

    A function is loaded once and then shared by all tasks that use it, together with the globals
    that it brought along. The least recently used functions go when their pickles exceed the limit.

    Args:
        limit: Bytes of pickles to keep.
        forgotten: Called with the digest of a function that goes.
    """

    def __init__(
        self,
        limit: int = config.CODE_CACHE_BYTES,
        forgotten: Callable[[str], object] = lambda digest: None,
    ) -> None:
        self.modules = InstalledModules()
        self._limit = limit
        self._forgotten = forgotten
        self._size = 0
        self._entries: OrderedDict[str, _CachedFunction] = OrderedDict()

    def missing(self, digest: str) -> bool:
        """Whether ``function`` needs the pickle."""
        return digest not in self._entries

    def use(self, digest: str) -> None:
        """A function that is here is used once more: others go before it."""
        self._entries.move_to_end(digest)

    def missing_modules(self, digest: str) -> bool:
        """Whether ``install_modules`` needs the bundle."""
        return self.modules.missing(digest)

    def install_modules(self, digest: str, data: bytes | memoryview | None = None) -> None:
        """Serve the user's modules from this bundle; free when that is so already.

        Functions are loaded again for a bundle that changes a module. Values unpickled under one
        bundle must not be kept for tasks of another: their classes differ.

        Raises:
            EnvelopeError: If the data is not a bundle.
            LookupError: If the bundle is not known and comes without data.
        """
        self.modules.install(digest, data)

    def function(self, digest: str, data: bytes | memoryview | None = None) -> Any:
        """The function with this digest, loaded from its pickle the first time.

        Raises:
            LookupError: If it is not known and comes without data.
        """
        entry = self._entries.get(digest)
        if entry is None:
            if data is None:
                raise LookupError(f"function {digest} is not here")
            entry = self._add(digest, bytes(data))
        else:
            self._entries.move_to_end(digest)
        generation = self.modules.active
        function = entry.plain if generation is None else entry.loaded.get(generation)
        if function is None:
            function = self._load(entry.data)
            if generation is None:
                entry.plain = function
            else:
                entry.loaded[generation] = function
        return function

    def pickled(self, digest: str) -> bytes | None:
        """The pickle of a function, while it is kept."""
        entry = self._entries.get(digest)
        return None if entry is None else entry.data

    def clear(self) -> None:
        """Forget all functions and modules."""
        self._entries.clear()
        self._size = 0
        self.modules.close()

    def _load(self, data: bytes) -> Any:
        try:
            return pickle.loads(data)
        except ImportError as error:
            explain_import_error(error, "the task's function")
            raise

    def _add(self, digest: str, data: bytes) -> _CachedFunction:
        entry = self._entries[digest] = _CachedFunction(data)
        self._size += entry.size
        while self._size > self._limit and len(self._entries) > 1:
            gone, oldest = self._entries.popitem(last=False)
            self._size -= oldest.size
            self._forgotten(gone)
        return entry
