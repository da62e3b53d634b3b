"""The Agent service: what a worker may ask while it runs a task."""

# ruff: noqa: N802 (the API names the methods)

from __future__ import annotations

import asyncio
import errno
import logging
import os
import shutil
import stat
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from armonik.protogen.common import agent_common_pb2 as messages
from armonik.protogen.worker.agent_service_pb2_grpc import AgentServicer

from armoflow.agent.effects import ChildTask, CreatedResult, Effects, ResultData, StagedFile
from armoflow.config import INLINE_DATA_LIMIT, MESSAGE_LIMIT, TEXT_LIMIT
from armoflow.content import copy_new
from armoflow.engine.agents.legacy import CreationStream, CutShortError, DisorderError
from armoflow.engine.commits import check_own
from armoflow.engine.core import Engine
from armoflow.engine.data_files import unlink
from armoflow.engine.engine_options import encode_options
from armoflow.engine.faults import StorageError
from armoflow.engine.records import (
    ApiOptions,
    ResultRecord,
    ResultStatus,
    StateError,
    TaskRecord,
)
from armoflow.engine.services.convert import (
    check_count,
    check_durations,
    optional_options,
    set_seconds,
)
from armoflow.engine.state.task_options import merge_options
from armoflow.protocol.shapes import ListOf, Text, check_id, check_ids
from armoflow.protocol.shared_files import open_plain

logger = logging.getLogger(__name__)

_NAMES = ListOf(Text(TEXT_LIMIT), 1_000_000)

READ_ONLY = 0o444
"""Mode of inputs in the data folder: copies, which workers should not take for their own files."""


class MissingDataError(Exception):
    """An input has no data: the task cannot run, now or later."""


class Execution:
    """One attempt to run a task: its token, its data folder, and what it has asked for so far.

    Args:
        engine: The engine whose task it is.
        task: The task.
        base: Where its data folder goes; None: into the engine's own directory.
    """

    def __init__(self, engine: Engine, task: TaskRecord, base: Path | None = None) -> None:
        self._engine = engine
        self.task = task
        self.token = str(uuid.uuid4())
        self._base = base
        self.folder = (base or Path(engine.objects.staging)) / self.token
        self._brought: list[Path] = []
        self.effects = Effects()
        self.notified: dict[str, None] = {}

    async def prepare(self) -> None:
        """Lay the payload and every dependency into the data folder.

        May be called again after a fault.

        Raises:
            MissingDataError: If one of them has no data.
            StorageError: If one of them cannot be read, or laid there.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(error, self.folder) from error
        for result_id in (self.task.payload_id, *self.task.dependencies):
            result = await self._engine.read_result(result_id)
            try:
                await self.fetch(result, result_id)
            except StorageError:
                raise
            except StateError as error:
                raise MissingDataError(f"input {result_id!r} is gone: {error}") from error

    async def fetch(self, result: ResultRecord | None, result_id: str) -> None:
        """Lay the data of a result into the data folder, whole or not at all.

        Raises:
            StateError: NOT_FOUND, if it has none.
            StorageError: If it cannot be laid there.
        """
        if result is None:
            raise StateError("NOT_FOUND", f"result {result_id!r} does not exist")
        if result.status is not ResultStatus.COMPLETED:
            status = result.status.name.lower()
            raise StateError("NOT_FOUND", f"result {result_id!r} has no data: it is {status}")
        check_id(result_id, "result_id")
        target = self.folder / result_id
        if _mode(target) is not None:
            return
        # What is found there is taken for the data, also by another call meanwhile.
        part = self.folder.parent / self._engine.objects.staging_path().name
        try:
            await self._engine.objects.materialize(result.opaque_id, part)
            part.chmod(READ_ONLY)
            part.rename(target)
        except OSError as error:
            raise StorageError(error, target) from error
        finally:
            with suppress(OSError):  # swept at the next start
                part.unlink(missing_ok=True)

    async def collect(self) -> Effects:
        """All effects, with the files as they are now: a worker may go on writing until it ends.

        Raises:
            OSError: If a file that the worker announced is gone, or no plain file.
            StorageError: If one cannot be brought where the store can take it over.
        """
        paths = [str(self.folder / result_id) for result_id in self.notified]
        data = await asyncio.to_thread(lambda: [*map(self._bring, paths)])
        self.effects.data.update(zip(self.notified, data, strict=True))
        return self.effects

    def _bring(self, path: str) -> ResultData:
        """The data in a file that a worker wrote: its bytes, or where the store can take it over.

        Raises:
            OSError: If it is gone, or no plain file.
            StorageError: If it cannot be brought there.
        """
        try:
            fd = open_plain(path)
        except FileNotFoundError:
            if self._engine.options.strict:
                return b""  # as it is to the reference engine
            raise
        try:
            found = os.fstat(fd)
            if found.st_size <= INLINE_DATA_LIMIT:
                return os.read(fd, INLINE_DATA_LIMIT)
            # What has another name, too, is somebody's who may go on using it: that is copied.
            own = found.st_nlink == 1
            if own and self._base is None:
                return StagedFile(path, found.st_size)
            place = self._engine.objects.staging_path()
            self._brought.append(place)
            try:
                if not (own and _renamed(path, place)):
                    copy_new(fd, str(place), executable=False)
            except OSError as error:
                raise StorageError(error, place) from error
            return StagedFile(str(place), found.st_size)
        finally:
            os.close(fd)

    async def discard(self) -> None:
        """Remove the data folder, and what was not taken over."""
        await asyncio.to_thread(shutil.rmtree, self.folder, ignore_errors=True)
        unlink(self._brought)


class AgentService(AgentServicer):  # type: ignore[misc]
    """Serves one worker. Nothing that it is asked for happens before the task ends in success."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.execution: Execution | None = None
        self._has_warned = False

    async def CreateTask(self, requests: AsyncIterator[Any], context: Any) -> Any:
        """Submit child tasks with their payloads, in the form of before ``SubmitTasks``.

        Most refusals are part of the reply, as the reference agent has them.
        """
        stream = CreationStream(requests)
        try:
            execution = self._running()
            first = await stream.next()
            self._check(first)
            creations = await stream.creations()
        except DisorderError as error:
            code = "UNKNOWN" if self._engine.options.strict else "INVALID_ARGUMENT"
            raise StateError(code, f"CreateTask: {error}") from None
        except (CutShortError, StateError) as error:
            return messages.CreateTaskReply(error=str(error))
        payloads = await self._create(execution, [("", item.payload) for item in creations])
        tasks = [
            messages.SubmitTasksRequest.TaskCreation(
                payload_id=payload.id,
                expected_output_keys=item.header.expected_output_keys,
                data_dependencies=item.header.data_dependencies,
            )
            for payload, item in zip(payloads, creations, strict=True)
        ]
        children = self._submit(
            execution,
            messages.SubmitTasksRequest(
                task_options=(
                    first.init_request.task_options
                    if first.init_request.HasField("task_options")
                    else None
                ),
                task_creations=tasks,
            ),
        )
        reply = messages.CreateTaskReply()
        for child in children:
            reply.creation_status_list.creation_statuses.add(
                task_info=messages.CreateTaskReply.TaskInfo(
                    task_id=child.id,
                    expected_output_keys=child.outputs,
                    data_dependencies=child.dependencies,
                    payload_id=child.payload_id,
                )
            )
        return reply

    async def CreateResultsMetaData(self, request: Any, context: Any) -> Any:
        """Create results without data."""
        execution = self._check(request)
        _NAMES.check([item.name for item in request.results], "results")
        new = [CreatedResult(self._engine.new_id(), item.name) for item in request.results]
        execution.effects.created += new
        replies = [self._describe(execution, request, result) for result in new]
        return messages.CreateResultsMetaDataResponse(results=replies)

    async def CreateResults(self, request: Any, context: Any) -> Any:
        """Create results with their data; what is large waits in the data folder."""
        execution = self._check(request)
        _NAMES.check([item.name for item in request.results], "results")
        new = await self._create(execution, [(item.name, item.data) for item in request.results])
        replies = [self._describe(execution, request, result) for result in new]
        return messages.CreateResultsResponse(results=replies)

    async def NotifyResultData(self, request: Any, context: Any) -> Any:
        """Announce data that lies in the data folder; it is read when the task has ended."""
        execution = self._check(request)
        ids = [item.result_id for item in request.ids]
        check_ids(ids, "ids")
        if not self._engine.options.strict:
            results = self._engine.state.results
            check_own(execution.task, set(ids), execution.effects.created, results)
        for result_id in ids:
            path = execution.folder / result_id
            mode = _mode(path)
            if mode is None:
                if not self._engine.options.strict:
                    raise StateError("NOT_FOUND", f"there is no file {path}")
                _write_new(path, b"")  # as the reference engine, which opens or creates it
            elif not stat.S_ISREG(mode):
                raise StateError("INVALID_ARGUMENT", f"{path} is no plain file")
        execution.notified.update(dict.fromkeys(ids))
        return messages.NotifyResultDataResponse(result_ids=ids)

    async def SubmitTasks(self, request: Any, context: Any) -> Any:
        """Submit child tasks."""
        children = self._submit(self._check(request), request)
        info = messages.SubmitTasksResponse.TaskInfo
        return messages.SubmitTasksResponse(
            task_infos=[
                info(
                    task_id=child.id,
                    expected_output_ids=child.outputs,
                    data_dependencies=child.dependencies,
                    payload_id=child.payload_id,
                )
                for child in children
            ],
            communication_token=request.communication_token,
        )

    async def GetResourceData(self, request: Any, context: Any) -> Any:
        """Bring the data of any result into the data folder."""
        execution = self._check(request)
        result = await self._engine.read_result(request.result_id)
        await execution.fetch(result, request.result_id)
        return messages.DataResponse(result_id=request.result_id)

    async def GetCommonData(self, request: Any, context: Any) -> Any:
        """Declared by the API, implemented nowhere."""
        self._check(request)
        raise StateError("UNKNOWN", "GetCommonData is not implemented")

    async def GetDirectData(self, request: Any, context: Any) -> Any:
        """Declared by the API, implemented nowhere."""
        self._check(request)
        raise StateError("UNKNOWN", "GetDirectData is not implemented")

    async def _create(
        self, execution: Execution, results: Sequence[tuple[str, bytes]]
    ) -> list[CreatedResult]:
        """Create results of these names with their data; what is large waits in the folder."""
        new = [CreatedResult(self._engine.new_id(), name) for name, _ in results]
        small: dict[str, bytes] = {}
        large: dict[str, None] = {}
        try:
            for created, (_, data) in zip(new, results, strict=True):
                if len(data) <= INLINE_DATA_LIMIT:
                    small[created.id] = data
                else:
                    large[created.id] = None
                    await asyncio.to_thread(_write_new, execution.folder / created.id, data)
        except BaseException:  # all of them, or none
            unlink([execution.folder / result_id for result_id in large])
            raise
        execution.effects.created += new
        execution.effects.data.update(small)
        execution.notified.update(large)
        return new

    def _submit(self, execution: Execution, request: Any) -> list[ChildTask]:
        """Take down the children of a SubmitTasks request."""
        strict = self._engine.options.strict
        check_count(request)
        if strict:
            check_durations(request)
        base = optional_options(request)
        options = [
            _merge(base, optional_options(creation), strict=strict)
            for creation in request.task_creations
        ]
        try:
            self._engine.state.check_children(execution.task.id, base, options)
        except StateError as error:
            if not strict or error.code == "INVALID_ARGUMENT":
                raise
            raise StateError("UNKNOWN", str(error)) from error
        children = [
            ChildTask(
                creation.payload_id,
                list(creation.data_dependencies),
                list(creation.expected_output_keys),
                None if merged is None else encode_options(merged),
                self._engine.new_id(),
            )
            for creation, merged in zip(request.task_creations, options, strict=True)
        ]
        execution.effects.children += children
        return children

    def _running(self) -> Execution:
        if self.execution is None:
            raise StateError("UNAVAILABLE", "no task is running")
        return self.execution

    def _check(self, request: Any) -> Execution:
        """The running task, if the caller is the one who runs it."""
        execution = self._running()
        if not request.communication_token:
            raise StateError("INVALID_ARGUMENT", "the communication token is missing")
        if request.communication_token != execution.token:
            raise StateError("INVALID_ARGUMENT", "the communication token is not the current one")
        if not self._has_warned and request.ByteSize() > MESSAGE_LIMIT:
            self._has_warned = True
            logger.warning(
                "task %s sent its agent a message of %d bytes: agents of ArmoniK take %d, and "
                "refuse more (RESOURCE_EXHAUSTED); write large results into the data folder and "
                "announce them with NotifyResultData",
                execution.task.id,
                request.ByteSize(),
                MESSAGE_LIMIT,
            )
        return execution

    def _describe(self, execution: Execution, request: Any, created: CreatedResult) -> Any:
        strict = self._engine.options.strict  # the reference engine says what it was told
        session_id = request.session_id if strict else execution.task.session_id
        reply = messages.ResultMetaData(
            session_id=session_id,
            result_id=created.id,
            name=created.name,
            status=int(ResultStatus.CREATED),
        )
        set_seconds(reply.created_at, self._engine.now())
        return reply


def _merge(base: ApiOptions | None, own: ApiOptions | None, *, strict: bool) -> ApiOptions | None:
    """A child's options over those of its request, which both may be absent."""
    return own if base is None else merge_options(base, own, strict=strict)


def _renamed(path: str, place: Path) -> bool:
    """Move a file to the store's disk; False if it is on another one."""
    try:
        os.rename(path, place)  # noqa: PTH104 - in a thread
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        return False
    return True


def _mode(path: Path) -> int | None:
    """What kind of file is there, links not followed; None: nothing."""
    try:
        return path.lstat().st_mode
    except FileNotFoundError:
        return None


def _write_new(path: Path, data: bytes) -> None:
    """Write a file where nothing may be yet, no link either."""
    with path.open("xb") as file:
        file.write(data)
