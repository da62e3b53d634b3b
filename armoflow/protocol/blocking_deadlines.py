"""Deadlines of calls that block their thread: an engine that hangs is told of."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import grpc
from armonik.protogen.client import versions_service_pb2_grpc
from armonik.protogen.common import versions_common_pb2

from armoflow.errors import ThreadLimitError
from armoflow.protocol.repeat import CALL_DEADLINE
from armoflow.system.new_threads import start_thread


class Deadlines(
    grpc.UnaryUnaryClientInterceptor,  # type: ignore[misc]
    grpc.UnaryStreamClientInterceptor,  # type: ignore[misc]
):
    """Lets no call wait for ever for an engine that says nothing.

    A stream without a deadline of its own goes on for as long as the engine is there: where it says
    nothing, as one does that follows what is seldom written, another call asks whether it is.

    Args:
        channel: Where it is asked that.
    """

    def __init__(self, channel: grpc.Channel) -> None:
        self._versions = versions_service_pb2_grpc.VersionsStub(channel)

    def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        """Make the call with a deadline."""
        return continuation(_WithDeadline(details, CALL_DEADLINE), request)

    def intercept_unary_stream(self, continuation: Any, details: Any, request: Any) -> Any:
        """Make the call; what it answers comes until the engine is silent."""
        call = continuation(details, request)
        return call if details.timeout is not None else self._attended(call)

    def _attended(self, call: Any) -> Iterator[Any]:
        watch = _Watch(call, self._ask)
        try:
            for piece in call:
                watch.heard()
                yield piece
        except grpc.RpcError:
            if watch.silence is not None:
                raise watch.silence from None
            raise
        finally:
            watch.end()
            call.cancel()

    def _ask(self, timeout: float) -> None:
        self._versions.ListVersions(versions_common_pb2.ListVersionsRequest(), timeout=timeout)


class _Watch:
    """Cancels a stream whose engine has given no sign of life for the deadline of a call.

    Args:
        call: The stream.
        ask: Asks the engine for a sign, and waits so many seconds for it.

    Attributes:
        silence: How that ended, if the stream was cancelled for it.
    """

    def __init__(self, call: Any, ask: Callable[[float], None]) -> None:
        self.silence: grpc.RpcError | None = None
        self._call = call
        self._ask = ask
        self._heard = time.monotonic()
        self._ended = threading.Event()
        # At the interpreter's end there is none to be had: then the stream is waited for.
        with suppress(ThreadLimitError):
            start_thread(self._attend, "armoflow-stream-watch", "watch what an engine sends")

    def heard(self) -> None:
        """The engine has given a sign."""
        self._heard = time.monotonic()

    def end(self) -> None:
        """The stream has ended."""
        self._ended.set()

    def _attend(self) -> None:
        quiet = CALL_DEADLINE / 6
        while not self._ended.wait(max(self._heard + quiet - time.monotonic(), 0.0)):
            before = self._heard
            if time.monotonic() - before < quiet:
                continue
            try:
                self._ask(CALL_DEADLINE - quiet)
            except ValueError:  # the channel was closed
                return
            except grpc.RpcError as error:
                silent = error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
                if silent and self._heard == before:
                    self.silence = error
                    self._call.cancel()
                    return
            self.heard()  # whatever it answers, it does; if it has gone, the stream says so


class _WithDeadline(grpc.ClientCallDetails):  # type: ignore[misc]
    """How a call is made, with a deadline of its own."""

    def __init__(self, details: Any, timeout: float) -> None:
        self.method = details.method
        self.metadata = details.metadata
        self.credentials = details.credentials
        self.wait_for_ready = details.wait_for_ready
        self.compression = details.compression
        self.timeout = timeout if details.timeout is None else details.timeout
