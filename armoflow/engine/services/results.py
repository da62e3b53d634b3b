"""The Results service."""

# ruff: noqa: N802 (the API names the methods)

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any

from armonik.protogen.client.results_service_pb2_grpc import ResultsServicer
from armonik.protogen.common import results_common_pb2 as messages

from armoflow.codec.container import PREFIX_BYTES, written_size
from armoflow.config import CHUNK_BYTES, TEXT_LIMIT
from armoflow.engine.records import (
    Changes,
    NewResult,
    ResultRecord,
    ResultStatus,
    StateError,
    Stored,
)
from armoflow.engine.services.common import Service
from armoflow.engine.services.convert import result_to_message, set_seconds
from armoflow.engine.services.filter_messages import parse_list
from armoflow.engine.sweeper import SLICE
from armoflow.engine.uploads import ObjectWriter, store_all
from armoflow.protocol.filter_fields import RESULTS
from armoflow.protocol.shapes import ListOf, Text, check_id

CHECKED_AT_ONCE = 10_000
"""Names that are checked before others have their turn: some milliseconds."""

_NAMES = ListOf(Text(TEXT_LIMIT), CHECKED_AT_ONCE)

BREAKING = 0.25
"""Seconds that gRPC gets to say that an upload was broken off, where data seems to be missing."""


class ResultsService(Service, ResultsServicer):  # type: ignore[misc]
    """Creates results and carries their data."""

    async def CreateResultsMetaData(self, request: Any, context: Any) -> Any:
        """Create results without data."""
        await self._check_new(request)
        reply = messages.CreateResultsMetaDataResponse()
        await self._create(request, [None] * len(request.results), reply.results)
        return reply

    async def CreateResults(self, request: Any, context: Any) -> Any:
        """Create results with their data."""
        await self._check_new(request)
        objects = self._engine.objects
        data = [item.data for item in request.results]
        stored = await store_all(objects, data, lambda: self._commit(Changes()))
        reply = messages.CreateResultsResponse()
        try:
            await self._create(request, stored, reply.results)
        except BaseException:
            objects.delete([data.opaque_id for data in stored[len(reply.results) :]])
            raise
        return reply

    async def GetResult(self, request: Any, context: Any) -> Any:
        """Read a result."""
        result = result_to_message(await self._find(request.result_id))
        await self._committed()
        return messages.GetResultResponse(result=result)

    async def ListResults(self, request: Any, context: Any) -> Any:
        """List results."""
        engine = self._engine
        filters, arguments = parse_list(request, RESULTS, strict=engine.options.strict)
        page = await engine.queries.results(filters, **arguments)
        reply = messages.ListResultsResponse(
            page=request.page, page_size=request.page_size, total=page.total
        )
        await self._show(reply.results, page.items, result_to_message)
        return reply

    async def GetOwnerTaskId(self, request: Any, context: Any) -> Any:
        """Which tasks must produce these results; unknown results are left out.

        The reference engine answers with a result's *name* in ``result_id``: a defect that only
        strict mode repeats.
        """
        found = await self._engine.queries.read_results(list(request.result_id))
        strict = self._engine.options.strict
        pair = messages.GetOwnerTaskIdResponse.MapResultTask
        reply = messages.GetOwnerTaskIdResponse(session_id=request.session_id)
        results = [found[key] for key in dict.fromkeys(request.result_id) if key in found]
        await self._show(
            reply.result_task,
            results,
            lambda result: pair(
                result_id=result.name if strict else result.id, task_id=result.owner_task_id
            ),
        )
        return reply

    async def UploadResultData(self, requests: AsyncIterator[Any], context: Any) -> Any:
        """Store data chunk by chunk; the end completes the result and queues what waited for it."""
        target = await self._read_target(requests)
        stored = await self._receive(requests, context)
        try:
            await self._check_repeated(target.result_id, stored)
            before = (await self._find(target.result_id)).completed_at
            changes = self._engine.state.complete_results(
                self._engine.now(), target.session_id, [(target.result_id, stored)]
            )
        except BaseException:
            self._engine.objects.delete([stored.opaque_id])
            raise
        (result,) = await self._apply(changes, [target.result_id])
        if self._engine.options.strict:  # the date of before, as the reference engine shows
            result.ClearField("completed_at")
            set_seconds(result.completed_at, before)
        return messages.UploadResultDataResponse(result=result)

    async def DownloadResultData(self, request: Any, context: Any) -> None:
        """Send data chunk by chunk; empty data is no chunk at all."""
        result = await self._find(request.result_id, request.session_id)
        if result.status is not ResultStatus.COMPLETED:
            raise StateError(
                "NOT_FOUND", f"result {result.id!r} has no data: it is {result.status.name.lower()}"
            )
        chunks = self._engine.objects.chunks(result.opaque_id, CHUNK_BYTES)
        async with contextlib.aclosing(chunks):  # a caller that goes leaves no open file
            async for chunk in chunks:
                await context.write(messages.DownloadResultDataResponse(data_chunk=chunk))

    async def DeleteResultsData(self, request: Any, context: Any) -> Any:
        """Delete data; unknown results and those of manual deletion are skipped."""
        engine = self._engine
        deleting = engine.sweeper.in_slices(
            request.result_id,
            lambda ids: engine.state.delete_results(engine.now(), ids, request.session_id),
            urgent=True,
        )
        await engine.admission.promise(deleting)
        # The reference engine leaves session_id empty, too.
        return messages.DeleteResultsDataResponse(result_id=request.result_id)

    async def ImportResultsData(self, request: Any, context: Any) -> Any:
        """Complete results with data that is stored already."""
        engine = self._engine
        if not request.results:
            return messages.ImportResultsDataResponse()
        ids = [item.result_id for item in request.results]
        if len(set(ids)) < len(ids):
            raise StateError(
                "UNKNOWN" if engine.options.strict else "INVALID_ARGUMENT",
                "the same result is listed twice",
            )
        if engine.options.strict and len({item.opaque_id for item in request.results}) < len(ids):
            raise StateError("UNKNOWN", "the same data is listed twice")
        reply = messages.ImportResultsDataResponse()
        await self._import(request.session_id, await self._located(request.results), reply.results)
        return reply

    async def WatchResults(self, requests: AsyncIterator[Any], context: Any) -> None:
        """Declared by the API, implemented nowhere."""
        strict = self._engine.options.strict
        text = "WatchResults is not served: watch with Events/GetEvents"
        raise StateError("UNIMPLEMENTED", "" if strict else text)

    async def GetServiceConfiguration(self, request: Any, context: Any) -> Any:
        """The size that upload chunks should have."""
        return messages.ResultsServiceConfigurationResponse(data_chunk_max_size=CHUNK_BYTES)

    async def _create(self, request: Any, stored: Sequence[Stored | None], shown: Any) -> None:
        """Create the results of a request, very many in slices, and show them."""
        engine = self._engine
        state, new_id, count = engine.state, engine.new_id, len(request.results)

        def create(places: Sequence[int]) -> Changes:
            # Names are few, and the message has one for each result.
            items = [request.results[place] for place in places]
            data = stored[places[0] : places[-1] + 1] if places else ()
            new = [
                NewResult(new_id(), sys.intern(item.name), item.manual_deletion, one)
                for item, one in zip(items, data, strict=True)
            ]
            changes = state.create_results(engine.now(), request.session_id, new)
            shown.extend([result_to_message(changes.results[one.id]) for one in new])
            return changes

        if count <= SLICE:
            await self._commit(create(range(count)))
        else:
            creating = engine.sweeper.in_slices(range(count), create, urgent=True)
            await engine.admission.promise(creating)

    async def _located(self, items: Iterable[Any]) -> list[tuple[str, Stored]]:
        """The data that is imported, by the results that are to have it."""
        found: list[tuple[str, Stored]] = []
        for item in items:
            if found and len(found) % SLICE == 0:
                await asyncio.sleep(0)  # others have their turn
            size = await self._engine.objects.size(item.opaque_id)
            if size is None:
                raise StateError("NOT_FOUND", f"no data is stored as {item.opaque_id!r}")
            found.append((item.result_id, Stored(item.opaque_id, size)))
        return found

    async def _import(
        self, session_id: str, imported: Sequence[tuple[str, Stored]], shown: Any
    ) -> None:
        """Import data, of very many results in slices, and show them.

        All are checked before. What changes in the middle stops it there, as a kill does.
        """
        engine = self._engine
        state = engine.state

        def complete(some: Sequence[tuple[str, Stored]]) -> Changes:
            changes = state.import_results(engine.now(), session_id, some)
            shown.extend([result_to_message(changes.results[key]) for key, _ in some])
            return changes

        try:
            if len(imported) <= SLICE:
                await self._commit(complete(imported))
                return
            for start in range(0, len(imported), SLICE):
                state.check_import(session_id, imported[start : start + SLICE])
                await asyncio.sleep(0)
            importing = engine.sweeper.in_slices(imported, complete, urgent=True)
            await engine.admission.promise(importing)
        except StateError as refusal:
            ids = [result_id for result_id, _ in imported]
            raise await self._tell_deleted(refusal, ids) from None

    async def _check_new(self, request: Any) -> None:
        """Refuse results that could not be kept, or shown again.

        Raises:
            MalformedError: Naming the field.
            StateError: Strict: for a name that the reference engine's database does not take.
        """
        strict = self._engine.options.strict
        if request.session_id or not strict:
            check_id(request.session_id, "session_id")
        for start in range(0, len(request.results), CHECKED_AT_ONCE):
            if start:
                await asyncio.sleep(0)  # others have their turn
            names = [item.name for item in request.results[start : start + CHECKED_AT_ONCE]]
            _NAMES.check(names, f"results[{start}:]" if start else "results")
            if strict and "\0" in "".join(names):
                raise StateError("UNKNOWN", "a result's name has a NUL character")

    async def _apply(self, changes: Changes, ids: Sequence[str]) -> list[Any]:
        """The results as the command left them, once that is committed."""
        results = self._engine.state.results
        shown = [result_to_message(changes.results.get(key) or results[key]) for key in ids]
        await self._commit(changes)
        return shown

    async def _find(self, result_id: str, session_id: str = "") -> ResultRecord:
        """A result; that of another session than the one named does not exist in it.

        The reference engine does not compare them; nor does strict mode.
        """
        result = await self._engine.read_result(result_id)
        if result is None:
            raise StateError("NOT_FOUND", f"result {result_id!r} does not exist")
        if session_id not in ("", result.session_id) and not self._engine.options.strict:
            raise StateError(
                "NOT_FOUND", f"result {result_id!r} does not exist in session {session_id!r}"
            )
        return result

    async def _read_target(self, requests: AsyncIterator[Any]) -> Any:
        """The identifier that an upload begins with, of a result that exists."""
        try:
            first = await requests.__aiter__().__anext__()
        except StopAsyncIteration:
            raise StateError("FAILED_PRECONDITION", "the upload stream is empty") from None
        if first.WhichOneof("type") != "id":
            raise StateError("INVALID_ARGUMENT", "the first message of an upload must be the id")
        if first.id.session_id not in self._engine.state.sessions:
            raise StateError("NOT_FOUND", f"session {first.id.session_id!r} does not exist")
        await self._find(first.id.result_id, first.id.session_id)
        return first.id

    async def _receive(self, requests: AsyncIterator[Any], context: Any) -> Stored:
        """Store the chunks of an upload.

        gRPC shows a stream that was broken off as one that ended. But its core knows better by
        then, and sending something takes until that has reached this call; mostly. So where data
        seems to be missing, this call is given more time to be cancelled.
        """
        writer = ObjectWriter(self._engine.objects)
        head, size = b"", 0
        try:
            async for request in requests:
                if request.data_chunk:
                    head += request.data_chunk[: PREFIX_BYTES - len(head)]
                    size += len(request.data_chunk)
                    await writer.write(request.data_chunk)
            await context.send_initial_metadata(())
            if not size or written_size(head) not in (None, size):
                await asyncio.sleep(BREAKING)
            if context.cancelled():
                raise asyncio.CancelledError
            return await writer.finish()
        finally:
            writer.abort()

    async def _check_repeated(self, result_id: str, stored: Stored) -> None:
        """Refuse other data for a result that is completed: its readers may have seen the first.

        The reference engine replaces the data; strict mode does too.
        """
        result = await self._find(result_id)
        if result.status is not ResultStatus.COMPLETED or self._engine.options.strict:
            return
        if result.size != stored.size or not await self._same_data(result.opaque_id, stored):
            raise StateError(
                "FAILED_PRECONDITION", f"result {result_id!r} is completed with other data"
            )

    async def _same_data(self, opaque_id: bytes, stored: Stored) -> bool:
        read = self._engine.objects.chunks
        async with (  # their files are closed now, not when they are collected
            contextlib.aclosing(read(opaque_id, CHUNK_BYTES)) as chunks,
            contextlib.aclosing(read(stored.opaque_id, CHUNK_BYTES)) as others,
        ):
            async for chunk in chunks:
                if chunk != await anext(others, None):
                    return False
        return True
