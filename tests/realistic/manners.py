"""What callers of the real engine see: faults, late rows, events as they come.

One interceptor in front of the services; what they do stays theirs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from armonik.protogen.common import result_status_pb2

from tests.realistic.conduct import Fate

VERSION = "0.40.1"
FAULT = "Unknown exception, see ArmoniK logs"
NO_DATA = "Result data was not found"

_CREATED = result_status_pb2.RESULT_STATUS_CREATED


class Manners(grpc.aio.ServerInterceptor):
    """Stands between callers and services.

    Args:
        fate: Decides what happens.
    """

    def __init__(self, fate: Fate) -> None:
        self._fate = fate
        self._deleted: set[str] = set()

    async def intercept_service(
        self, continuation: Callable[[Any], Awaitable[Any]], details: Any
    ) -> Any:
        """Called by gRPC for every call, to find what serves it."""
        handler = await continuation(details)
        if handler is None:
            return None
        service, _, method = details.method.rpartition("/")
        name = f"{service.rpartition('.')[2]}/{method}"
        if handler.response_streaming:
            return handler._replace(unary_stream=self._stream(handler.unary_stream, name))
        kind = "stream_unary" if handler.request_streaming else "unary_unary"
        return handler._replace(**{kind: self._unary(getattr(handler, kind), name)})

    def _unary(self, behavior: Any, name: str) -> Any:
        async def call(request: Any, context: Any) -> Any:
            await self._fate.pay(self._fate.conduct.call_costs.get(name, 0.0), name)
            await self._fail_at_times(name, request, context)
            reply = await behavior(request, context)
            self._colour(name, reply)
            if self._fate.hits(self._fate.conduct.faults / 2, "faults after the effect"):
                await context.abort(grpc.StatusCode.UNKNOWN, FAULT)
            return reply

        return call

    def _stream(self, behavior: Any, name: str) -> Any:
        async def call(request: Any, context: Any) -> None:
            await self._fate.pay(self._fate.conduct.call_costs.get(name, 0.0), name)
            await self._fail_at_times(name, request, context)
            if name == "Events/GetEvents":
                await Events(context, self._fate).serve(lambda events: behavior(request, events))
            elif name == "Results/DownloadResultData" and self._has_no_data(request.result_id):
                await context.abort(grpc.StatusCode.NOT_FOUND, NO_DATA)
            else:
                await behavior(request, context)

        return call

    def _has_no_data(self, result_id: str) -> bool:
        late = self._fate.is_late(result_id)
        self._fate.counts["late rows read"] += late
        return late or result_id in self._fate.lost_data

    async def _fail_at_times(self, name: str, request: Any, context: Any) -> None:
        fate, conduct = self._fate, self._fate.conduct
        if name == "Tasks/SubmitTasks":
            fate.submitted()
        if fate.outage_left():
            fate.counts["calls in the outage"] += 1
            await context.abort(grpc.StatusCode.UNKNOWN, FAULT)
        if fate.hits(conduct.faults / 2, "faults before the effect"):
            await context.abort(grpc.StatusCode.UNKNOWN, FAULT)
        if name == "Results/DeleteResultsData":
            # Local object storage does not delete twice.
            twice = not self._deleted.isdisjoint(request.result_id)
            self._deleted.update(request.result_id)
            if twice or fate.hits(conduct.refused_deletes, "deletes refused"):
                await context.abort(grpc.StatusCode.UNKNOWN, FAULT)

    def _colour(self, name: str, reply: Any) -> None:
        """Let a reply show what the rows are said to be."""
        if name == "Versions/ListVersions":
            reply.core = VERSION
        elif name == "Results/ListResults":
            for row in reply.results:
                self._age(row)
        elif name == "Results/GetResult":
            self._age(reply.result)

    def _age(self, row: Any) -> None:
        if self._fate.is_late(row.result_id):
            self._fate.counts["late rows read"] += 1
            row.status = _CREATED
            for field in ("opaque_id", "size", "completed_at"):
                row.ClearField(field)


class Events:
    """The context of an event stream, as its service sees it.

    No headers before the first event; what happens just after the call is missed; events come
    twice, and overtake each other; the stream is cut; after an outage it may stay silent for ever.
    """

    def __init__(self, context: Any, fate: Fate) -> None:
        self._context = context
        self._fate = fate
        self._outages = fate.outages
        self._silent = False
        self._opens = fate.clock.now() + fate.between((0.0, fate.conduct.opening))
        self._writing = asyncio.Lock()
        self._later: set[asyncio.Task[None]] = set()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    async def serve(self, behavior: Callable[[Any], Awaitable[None]]) -> None:
        """Serve the call."""
        try:
            await behavior(self)
        finally:
            for task in self._later:
                task.cancel()

    async def send_initial_metadata(self, metadata: Any) -> None:
        """They go with the first event."""

    async def write(self, message: Any) -> None:
        """Send an event, sooner or later, once or twice, or not at all."""
        fate, conduct = self._fate, self._fate.conduct
        is_news = message.WhichOneof("update") in ("new_task", "new_result")
        if fate.outage_left() or (fate.clock.now() < self._opens and not is_news):
            fate.counts["events lost"] += 1
            return
        await self._break_at_times()
        if self._silent:
            fate.counts["events lost"] += 1
            return
        # An update may come before the news of what it is about.
        if fate.hits(conduct.overtaken, "events overtaken"):
            self._send_later(message)
        else:
            await self._send(message)
        if fate.hits(conduct.doubled, "events doubled"):
            self._send_later(message)

    async def _break_at_times(self) -> None:
        fate, conduct = self._fate, self._fate.conduct
        after_outage, self._outages = fate.outages > self._outages, fate.outages
        if after_outage and fate.hits(conduct.silenced, "streams silenced"):
            self._silent = True
        elif after_outage or (not self._silent and fate.hits(conduct.cut, "streams cut")):
            fate.counts["events lost"] += 1
            await self._context.abort(grpc.StatusCode.UNKNOWN, FAULT)

    async def _send(self, message: Any) -> None:
        async with self._writing:
            await self._context.write(message)

    def _send_later(self, message: Any) -> None:
        async def send() -> None:
            await self._fate.clock.sleep(self._fate.between(self._fate.conduct.late_seconds))
            await self._send(message)

        task = asyncio.create_task(send())
        self._later.add(task)
        task.add_done_callback(self._sent)

    def _sent(self, task: asyncio.Task[None]) -> None:
        self._later.discard(task)
        if not task.cancelled():
            task.exception()  # who listens has gone
