"""What a task asks of an ArmoniK agent, over gRPC: one object for one call of Process."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

import grpc
from armonik.protogen.common import agent_common_pb2, objects_pb2
from google.protobuf.duration_pb2 import Duration

from armoflow import config
from armoflow.agent.effects import ChildTask, Effects
from armoflow.errors import DataLostError

T = TypeVar("T")

_PERMANENT = frozenset(
    {
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.UNIMPLEMENTED,
    }
)
"""What another attempt would meet again."""

_REFUSED = _PERMANENT | {grpc.StatusCode.UNKNOWN}
"""The same for child tasks: UNKNOWN is also what ArmoniK.Core's agent makes of a closed session."""

_UNREPEATABLE = _PERMANENT - {grpc.StatusCode.NOT_FOUND}
"""What ends the asking for data at once."""

_DELETED = "deleted"
"""An agent that says so of data is not asked again; one that says less may have it later."""

_ROOM = config.MESSAGE_LIMIT // 8
"""Bytes left free in a message: replies count too, and carry more than the ids."""


class AgentCalls:
    """The agent, for one task.

    Args:
        stub: The agent's stub.
        request: The request of Process.

    Attributes:
        lost: The first call that failed for a reason that another attempt may not meet again.
    """

    def __init__(self, stub: Any, request: Any) -> None:
        self._stub = stub
        self._token = request.communication_token
        self._session_id = request.session_id
        self._folder = request.data_folder
        self.lost: grpc.aio.AioRpcError | None = None

    async def answer(self, method: str, argument: Any) -> Any:
        """Do what the running task asks for.

        Raises:
            DataLostError: If the agent refuses or cannot be reached.
        """
        try:
            if method == "fetch":
                return await self._fetch(argument)
            if method == "new_results":
                return await self._new_results(argument)
            return await self._store_results(argument)
        except grpc.aio.AioRpcError as error:
            self._note(error, _PERMANENT)
            what = f"result {argument}: " if method == "fetch" else ""
            raise DataLostError(f"{what}{error.details()} ({error.code().name})") from error

    async def commit(self, effects: Effects) -> None:
        """Announce the data in the data folder, then submit the child tasks.

        Raises:
            grpc.aio.AioRpcError: If the agent refuses or cannot be reached.
        """
        try:
            await self._commit(effects)
        except grpc.aio.AioRpcError as error:
            self._note(error, _REFUSED)
            raise

    async def _commit(self, effects: Effects) -> None:
        for ids in _parts(list(effects.data), 1000):
            await self._stub.NotifyResultData(
                agent_common_pb2.NotifyResultDataRequest(
                    communication_token=self._token,
                    ids=[
                        agent_common_pb2.NotifyResultDataRequest.ResultIdentifier(
                            session_id=self._session_id, result_id=result_id
                        )
                        for result_id in ids
                    ],
                )
            )
        for creations in _batches(map(_creation, effects.children)):
            await self._stub.SubmitTasks(
                agent_common_pb2.SubmitTasksRequest(
                    communication_token=self._token,
                    session_id=self._session_id,
                    task_creations=creations,
                )
            )

    def _note(self, error: grpc.aio.AioRpcError, permanent: frozenset[grpc.StatusCode]) -> None:
        """Remember a failure that is no fault of the task's."""
        if self.lost is None and error.code() not in permanent:
            self.lost = error

    async def _fetch(self, result_id: str) -> list[Any]:
        """Bring data into the data folder, which may be late, or in use elsewhere just now."""
        clock = asyncio.get_running_loop().time
        deadline = clock() + config.FETCH_PATIENCE
        pause = config.FIRST_FETCH_PAUSE
        request = agent_common_pb2.DataRequest(communication_token=self._token, result_id=result_id)
        while (fault := await self._bring(request)) is not None:
            if _is_final(fault) or clock() + pause > deadline:
                raise fault
            await asyncio.sleep(pause)
            pause = min(2 * pause, config.LAST_FETCH_PAUSE)
        return [f"{self._folder}/{result_id}", 0]

    async def _bring(self, request: Any) -> grpc.aio.AioRpcError | None:
        try:
            await self._stub.GetResourceData(request)
        except grpc.aio.AioRpcError as error:
            return error
        return None

    async def _new_results(self, names: Sequence[str]) -> list[str]:
        request = agent_common_pb2.CreateResultsMetaDataRequest
        reply = await self._stub.CreateResultsMetaData(
            request(
                communication_token=self._token,
                session_id=self._session_id,
                results=[request.ResultCreate(name=name) for name in names],
            )
        )
        return [result.result_id for result in reply.results]

    async def _store_results(self, items: Sequence[Sequence[Any]]) -> list[str]:
        request = agent_common_pb2.CreateResultsRequest
        reply = await self._stub.CreateResults(
            request(
                communication_token=self._token,
                session_id=self._session_id,
                results=[request.ResultCreate(name=name, data=data) for name, data in items],
            )
        )
        return [result.result_id for result in reply.results]


def _is_final(fault: grpc.aio.AioRpcError) -> bool:
    """Whether data will not come any more: what is late is not there either, but not deleted."""
    return fault.code() in _UNREPEATABLE or _DELETED in (fault.details() or "")


def _creation(child: ChildTask) -> Any:
    creation = agent_common_pb2.SubmitTasksRequest.TaskCreation(
        payload_id=child.payload_id,
        data_dependencies=child.dependencies,
        expected_output_keys=child.outputs,
    )
    if child.options is not None:
        options = dict(child.options)
        seconds = options.pop("max_duration")
        whole = int(seconds)
        creation.task_options.CopyFrom(
            objects_pb2.TaskOptions(
                max_duration=Duration(seconds=whole, nanos=int((seconds - whole) * 1e9)), **options
            )
        )
    return creation


def _parts(entries: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for first in range(0, len(entries), size):
        yield entries[first : first + size]


def _batches(creations: Iterable[Any]) -> Iterator[list[Any]]:
    """Child tasks in messages that an agent accepts."""
    batch: list[Any] = []
    total = 0
    for creation in creations:
        size = creation.ByteSize() + 8
        full = total + size > config.MESSAGE_LIMIT - _ROOM or len(batch) == config.BATCH_TASKS
        if batch and full:
            yield batch
            batch, total = [], 0
        batch.append(creation)
        total += size
    if batch:
        yield batch
