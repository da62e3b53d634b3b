"""What every call passes through: it is counted, and what it raises becomes a gRPC status."""

from __future__ import annotations

import contextlib
import inspect
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import grpc

from armoflow.config import STATUS_TEXT_LIMIT
from armoflow.engine.faults import StorageError
from armoflow.engine.records import StateError
from armoflow.engine.services.call_log import CallLog
from armoflow.engine.services.request_reader import request_reader
from armoflow.errors import MalformedError, OptionError

logger = logging.getLogger(__name__)

NEW_WORK = frozenset(
    {
        "Sessions/CreateSession",
        "Tasks/SubmitTasks",
        "Results/CreateResults",
        "Results/CreateResultsMetaData",
        "Results/UploadResultData",
        "Results/ImportResultsData",
    }
)
"""Calls that are refused while nothing can be journalled."""


class Guard(grpc.aio.ServerInterceptor):  # type: ignore[misc]
    """Records calls, refuses them while the server drains, and translates exceptions.

    Args:
        calls: Counts the calls.
        admit: Asked before each call that brings new work; raises while none is taken.
        check: Given the method and the context of each call; raises if the caller may not make it.

    ``StateError`` carries its own code; a malformed request is INVALID_ARGUMENT; a cancelled call
    stays cancelled; anything else is a defect: it is logged with its traceback and the caller gets
    INTERNAL.
    """

    def __init__(
        self,
        calls: CallLog,
        admit: Callable[[], Awaitable[None]] | None = None,
        check: Callable[[str, Any], None] | None = None,
    ) -> None:
        self.calls = calls
        self._admit_work = admit
        self._check = check
        self.draining = False
        self._handlers: dict[str, Any] = {}

    async def intercept_service(
        self, continuation: Callable[[Any], Awaitable[Any]], handler_call_details: Any
    ) -> Any:
        """Called by gRPC for every call, to find what serves it."""
        method = handler_call_details.method
        handler = self._handlers.get(method)
        if handler is None:
            handler = await continuation(handler_call_details)
            if handler is None:
                return None  # gRPC answers UNIMPLEMENTED
            handler = self._handlers[method] = self._guarded(handler, _short_name(method))
        return handler

    def _guarded(self, handler: Any, name: str) -> Any:
        kind = f"{_side(handler.request_streaming)}_{_side(handler.response_streaming)}"
        behavior = getattr(handler, kind)
        wrap = self._generator if inspect.isasyncgenfunction(behavior) else self._coroutine
        changed: dict[str, Any] = {}
        read: Callable[[Any], Any] = _as_it_is
        if handler.request_deserializer is not None and not handler.request_streaming:
            # Read where a refusal can be told; gRPC would only say that something failed.
            changed["request_deserializer"] = None
            read = request_reader(name, handler.request_deserializer)
        return handler._replace(**{kind: wrap(behavior, name, read), **changed})

    def _coroutine(self, behavior: Any, name: str, read: Callable[[Any], Any]) -> Any:
        async def call(request: Any, context: Any) -> Any:
            await self._admit(name, context)
            try:
                return await behavior(read(request), context)
            except Exception as error:
                await self._refuse(name, error, context)

        return call

    def _generator(self, behavior: Any, name: str, read: Callable[[Any], Any]) -> Any:
        async def call(request: Any, context: Any) -> Any:
            await self._admit(name, context)
            try:
                async with contextlib.aclosing(behavior(read(request), context)) as replies:
                    async for reply in replies:
                        yield reply
            except Exception as error:
                await self._refuse(name, error, context)

        return call

    async def _admit(self, name: str, context: Any) -> None:
        self.calls.record(name)
        if self.draining:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the engine is shutting down")
        try:
            if self._check is not None:
                self._check(name, context)
            if self._admit_work is not None and name in NEW_WORK:
                await self._admit_work()
        except StateError as error:
            await self._refuse(name, error, context)

    async def _refuse(self, name: str, error: Exception, context: Any) -> None:
        if isinstance(error, grpc.aio.AbortError):
            raise error
        if isinstance(error, grpc.aio.BaseError) and (context.cancelled() or _has_status(context)):
            return  # telling something to a caller that has gone
        if isinstance(error, (OSError, MemoryError)):
            error = StorageError(error, getattr(error, "filename", None) or ".")
        if isinstance(error, StateError):
            await context.abort(grpc.StatusCode[error.code], status_text(str(error)))
        if isinstance(error, (MalformedError, OptionError)):
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, status_text(str(error)))
        if isinstance(error, NotImplementedError):
            await context.abort(grpc.StatusCode.UNIMPLEMENTED, f"{name} is not served")
        logger.error("%s failed", name, exc_info=error)
        text = status_text(f"{type(error).__name__}: {error}")
        await context.abort(grpc.StatusCode.INTERNAL, text)


def status_text(text: str) -> str:
    """A text that fits into the header that carries a call's status, percent-encoded.

    Example:
        >>> status_text("x" * 5000)[-40:]
        'xxxxxxxxxxxxxx... (3500 more characters)'
    """
    limit = STATUS_TEXT_LIMIT if text.isascii() else STATUS_TEXT_LIMIT // 4
    left = len(text) - limit
    return text if left <= 0 else f"{text[:limit]}... ({left} more characters)"


def _has_status(context: Any) -> bool:
    """Whether a call was aborted already, also if that could not be told."""
    return context.code() not in (0, grpc.StatusCode.OK)


def _as_it_is(request: Any) -> Any:
    return request


def _side(streaming: bool) -> str:
    return "stream" if streaming else "unary"


def _short_name(method: str) -> str:
    """``/armonik.api.grpc.v1.sessions.Sessions/GetSession`` -> ``Sessions/GetSession``."""
    service, _, name = method.strip("/").partition("/")
    return f"{service.rpartition('.')[2]}/{name}"
