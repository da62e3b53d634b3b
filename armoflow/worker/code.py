"""User code on the worker: fetched on a miss, loaded once, checked once."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from types import FunctionType
from typing import Any

from armoflow import config
from armoflow.codec.container import Buffer
from armoflow.codec.functions import CodeCache
from armoflow.codec.modules import Bundle
from armoflow.codec.payload import CodeReference, Payload
from armoflow.codec.references import uses_nothing
from armoflow.errors import TaskError
from armoflow.worker.failures import MissingDataError
from armoflow.worker.inputs import code_bytes
from armoflow.worker.script import Carried, script_scope

Function = Callable[..., Any]

_ASYNC_GENERATOR = inspect.CO_ASYNC_GENERATOR
_GENERATOR = inspect.CO_GENERATOR
_COROUTINE = inspect.CO_COROUTINE


class Code:
    """The functions that this process knows.

    Args:
        fetch: Reads the data of a stored result.
        limit: Bytes of pickles to keep.
    """

    def __init__(
        self, fetch: Callable[[str], Buffer], limit: int = config.CODE_CACHE_BYTES
    ) -> None:
        self._cache = CodeCache(limit, self._forget)
        self._fetch = fetch
        self._ready: dict[str, tuple[Function, Function, bool]] = {}
        self._running: tuple[Function | None, str] = None, ""
        self._references: dict[int, tuple[Function, CodeReference]] = {}
        self._no_script: dict[str, Any] = {"__name__": "__main__"}

    def misses(self, payload: Payload) -> bool:
        """Whether code of the user's will be loaded."""
        function, modules = payload.function, payload.modules
        return (function is not None and self._cache.missing(function.digest)) or (
            modules is not None and self._cache.missing_modules(modules.digest)
        )

    def install_modules(self, payload: Payload) -> None:
        """Let the task import the user's modules that came with it."""
        modules = payload.modules
        if modules is not None:
            missing = self._cache.missing_modules(modules.digest)
            self._cache.install_modules(modules.digest, self._read(modules) if missing else None)

    def function(self, payload: Payload) -> tuple[Function, Function, bool]:
        """A payload's function: what to call, the function itself, whether it names builtins only.

        Raises:
            TaskError: If it is a generator function.
            Exception: Whatever loading the code raises.
        """
        reference = payload.function
        if reference is None:
            raise TaskError(f"the task {payload.name!r} came without its function")
        function = self._cache.function(reference.digest, self._data(reference))
        known = self._ready.get(reference.digest)
        if known is None or known[1] is not function:
            self._forget(reference.digest)
            prepared = prepare(function, payload.name)
            known = prepared, function, uses_nothing(function)
            self._ready[reference.digest] = known
        if not known[2]:
            self._running = function, reference.digest
        self._references[id(function)] = function, reference  # a later session stores it elsewhere
        return known

    def reference(self, function: Function) -> CodeReference | None:
        """How a function came here, or None: children that call it need not pickle it again."""
        if type(function) is not FunctionType:
            return None  # it has a state, which the task may have changed
        return self._references.get(id(function), (None, None))[1]

    def _forget(self, digest: str) -> None:
        """A function goes, and what it holds with it."""
        known = self._ready.pop(digest, None)
        if known is not None:
            self._references.pop(id(known[1]), None)

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

    def _data(self, reference: CodeReference) -> bytes | None:
        return self._read(reference) if self._cache.missing(reference.digest) else None

    def _read(self, reference: CodeReference) -> bytes:
        if reference.data is not None:
            return reference.data
        if reference.result_id is None:
            raise MissingDataError(f"code {reference.digest} is neither here nor stored")
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
    return _run_coroutine(function) if flags & _COROUTINE else function


def _run_coroutine(function: Function) -> Function:
    import asyncio

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        return asyncio.run(function(*args, **kwargs))

    return run
