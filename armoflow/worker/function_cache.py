"""User code on the worker: fetched on a miss, loaded once, checked once."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from types import FunctionType
from typing import Any, NamedTuple

from armoflow import config
from armoflow.codec.bare import traceback_of
from armoflow.codec.container import Buffer
from armoflow.codec.functions import CodeCache
from armoflow.codec.modules import Bundle
from armoflow.codec.payload import CodeReference, Payload
from armoflow.codec.traces import message_of, reaches_own_code
from armoflow.errors import ArmoflowError, SerializationError, TaskError
from armoflow.orchestrator.package_versions import why_unreadable
from armoflow.system.coroutines import Function, as_plain
from armoflow.worker.attempts import explain
from armoflow.worker.failures import UnreadableDataError
from armoflow.worker.inputs import code_bytes
from armoflow.worker.reach import Reach
from armoflow.worker.script import Carried, script_scope

_ASYNC_GENERATOR = inspect.CO_ASYNC_GENERATOR
_GENERATOR = inspect.CO_GENERATOR


class Loaded(NamedTuple):
    """A function that is here.

    Attributes:
        call: What to call.
        function: The function itself.
        reach: What it names.
    """

    call: Function
    function: Function
    reach: Reach


class _Asked(NamedTuple):
    """What was asked for last: tasks of a kind come one after the other, and share these.

    Attributes:
        reference: The function, as it was asked for.
        modules: Those that came with it.
        generation: Of the modules that were installed then.
        found: What was found.
    """

    reference: CodeReference
    modules: CodeReference | None
    generation: object
    found: Loaded


class FunctionCache:
    """The functions that this process knows.

    Args:
        fetch: Reads the data of a stored result.
        limit: Bytes of pickles to keep.

    Attributes:
        loading: Entered while code is loaded.
    """

    def __init__(
        self, fetch: Callable[[str], Buffer], limit: int = config.CODE_CACHE_BYTES
    ) -> None:
        self._cache = CodeCache(limit, self._forget)
        self._fetch = fetch
        self._loaded: dict[str, Loaded] = {}
        self._generation: object = None  # of the modules that those were looked up with
        self._at_hand: dict[str, Loaded] = {}
        self._last: _Asked | None = None
        self._running: tuple[Function | None, str] = None, ""
        self._references: dict[int, tuple[Function, CodeReference]] = {}
        self._no_script: dict[str, Any] = {"__name__": "__main__"}
        self.loading: Callable[[], AbstractContextManager[Any]] = nullcontext

    def install_modules(self, payload: Payload) -> None:
        """Let the task import the user's modules that came with it."""
        modules = payload.modules
        if modules is not None and not self._cache.modules.serves(modules.digest):
            with self.loading():
                self._install_modules(modules)

    def function(self, payload: Payload) -> Loaded:
        """A payload's function; its modules are installed, too.

        Raises:
            TaskError: If it is a generator function.
            Exception: Whatever loading the code raises.
        """
        reference = payload.function
        if reference is None:
            raise TaskError(f"the task {payload.name!r} came without its function")
        digest, served = reference.digest, self._cache.modules
        last = self._last
        if (
            last is not None
            and last.reference is reference
            and last.modules is payload.modules
            and last.generation is served.active
        ):
            self._running = last.found.function, digest
            return last.found
        known = self._look_up(digest, payload.modules)
        if known is None:
            with self.loading():
                known = self._load(payload, reference)
        function = known.function
        self._running = function, digest
        self._references[id(function)] = function, reference  # a later session stores it elsewhere
        self._last = _Asked(reference, payload.modules, served.active, known)
        return known

    def _look_up(self, digest: str, modules: CodeReference | None) -> Loaded | None:
        """A function that is here, loaded with the modules that it is to be called with."""
        served = self._cache.modules
        if modules is not None and not served.serves(modules.digest):
            return None
        if served.active is not self._generation:
            self._at_hand.clear()
            self._generation = served.active
        known = self._at_hand.get(digest)
        if known is not None:
            self._cache.use(digest)
        return known

    def _load(self, payload: Payload, reference: CodeReference) -> Loaded:
        if payload.modules is not None:
            self._install_modules(payload.modules)
        digest = reference.digest
        missing = self._cache.missing(digest)
        data = self._read(reference) if missing else None
        try:
            function = self._cache.function(digest, data)
        except AttributeError as error:  # as where another version of it is here
            explain(error, why_unreadable(payload.versions, error))
            raise
        except (ArmoflowError, ImportError):
            raise
        except BaseException as error:
            if reaches_own_code(traceback_of(error)):
                raise  # which says by itself where
            raise SerializationError(
                f"the function of task {payload.name!r} cannot be read back where it runs: "
                f"{type(error).__name__}: {message_of(error)}. What it closes over, its defaults "
                "and globals of its script travel with it, and have to survive being pickled"
            ) from error
        known = self._loaded.get(digest)
        if known is None or known.function is not function:
            self._forget(digest)
            known = Loaded(prepare(function, payload.name), function, Reach(function))
            self._loaded[digest] = known
        if self._cache.modules.active is self._generation:
            self._at_hand[digest] = known
        return known

    def _install_modules(self, modules: CodeReference) -> None:
        missing = self._cache.missing_modules(modules.digest)
        self._cache.install_modules(modules.digest, self._read(modules) if missing else None)

    def reference(self, function: Function) -> CodeReference | None:
        """How a function came here, or None: children that call it need not pickle it again."""
        if type(function) is not FunctionType:
            return None  # it has a state, which the task may have changed
        return self._references.get(id(function), (None, None))[1]

    def enter(self, function: Function) -> None:
        """This function runs now, which came with the one that was asked for."""
        self._running = function, self._running[1]

    def _forget(self, digest: str) -> None:
        """A function goes, and what it holds with it."""
        self._last = None
        self._at_hand.pop(digest, None)
        known = self._loaded.pop(digest, None)
        if known is not None:
            self._references.pop(id(known.function), None)

    @property
    def scope(self) -> dict[str, Any]:
        """The globals of the function that was asked for last, if a script defined it."""
        scope = script_scope(self._running[0])
        return self._no_script if scope is None else scope

    def carried(self) -> Carried:
        """What a process that the running task starts needs."""
        function, digest = self._running
        generation = self._cache.modules.active
        return Carried(
            None if script_scope(function) is None else self._cache.pickled(digest),
            None if generation is None else Bundle(generation.sources, generation.names),
        )

    def _read(self, reference: CodeReference) -> bytes:
        if reference.data is not None:
            return reference.data
        if reference.result_id is None:
            raise UnreadableDataError(f"code {reference.digest} is neither here nor stored")
        return code_bytes(self._fetch(reference.result_id))


def prepare(function: Function, name: str) -> Function:
    """What to call for a task's function: a coroutine function is run to its end.

    Raises:
        TaskError: If it is a generator function: its value would be lazy, and lost.

    Example:
        >>> async def double(x): return 2 * x
        >>> prepare(double, "double")(4)
        8
    """
    code = getattr(inspect.unwrap(function), "__code__", None)
    flags = code.co_flags if code is not None else 0
    if flags & (_GENERATOR | _ASYNC_GENERATOR):
        raise TaskError(
            f"the task {name!r} is a generator function: a task's result is a value, "
            "return a list instead"
        )
    return as_plain(function)
