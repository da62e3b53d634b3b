"""What became of tasks, over the calls that every ArmoniK serves.

ArmoniK.Core tells of results first and of their task later, and of both before it can be read.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import grpc
from armonik.protogen.common import task_status_pb2, tasks_common_pb2

from armoflow import config
from armoflow.errors import EngineError
from armoflow.protocol import messages
from armoflow.protocol.late import read_again
from armoflow.protocol.portions import LIST_SIZE, chunks
from armoflow.protocol.result_handle import Failure
from armoflow.protocol.transport import EndedTasks, TaskState, TaskUnderWay

if TYPE_CHECKING:
    from armoflow.protocol.standard import StandardTransport

logger = logging.getLogger(__name__)

DURATIONS_DEADLINE = 5.0
"""Seconds after which nobody waits any more to hear how long tasks ran."""

UNDER_WAY = 1_000
"""Running tasks that are listed at most."""

_RUNNING = task_status_pb2.TASK_STATUS_PROCESSING
_REPEATED = task_status_pb2.TASK_STATUS_RETRIED

OVER = frozenset(
    {
        task_status_pb2.TASK_STATUS_COMPLETED,
        task_status_pb2.TASK_STATUS_ERROR,
        task_status_pb2.TASK_STATUS_TIMEOUT,
        task_status_pb2.TASK_STATUS_CANCELLED,
        task_status_pb2.TASK_STATUS_CANCELLING,  # some stay so for ever; nothing runs them again
    }
)
"""What a task is when nothing starts it again: one that was retried goes on under another id."""


class Endings:
    """Asks a :class:`~armoflow.protocol.standard.StandardTransport`'s engine for tasks.

    Args:
        transport: Whose engine, and who lists its results.
        tasks: The stub of the tasks service.
    """

    def __init__(self, transport: StandardTransport, tasks: Any) -> None:
        self._transport = transport
        self._tasks = tasks

    async def failures(self, session_id: str, result_ids: Sequence[str]) -> dict[str, Failure]:
        """Why results were aborted; the news may come before it can be read."""
        failures: dict[str, Failure] = {}
        unexplained = list(result_ids)

        async def read() -> bool | None:
            nonlocal unexplained
            rows = await self._transport.list_results(session_id, unexplained)
            tasks = await self._list(row.owner_task_id for row in rows)
            unexplained = []
            for row in rows:
                task = tasks.get(row.owner_task_id)
                if task is None:
                    continue
                if task.status in OVER:
                    failures[row.result_id] = _failure(task)
                else:
                    unexplained.append(row.result_id)
            return None if unexplained else True

        await read_again(read)
        return failures

    async def ended_tasks(self, session_id: str, tasks: Mapping[str, Sequence[str]]) -> EndedTasks:
        """Which of these tasks are over: those whose outputs' owners are.

        The owner of an output is its task, the task's last retry, or the child that it was handed
        to. When that has run, so have all that it depends on, and ended: ArmoniK lets dependents go
        after the end of a task.
        """
        makers = {output: task_id for task_id, outputs in tasks.items() for output in outputs}
        rows = await self._transport.list_results(session_id, list(makers))
        # A refused submission takes their owners from the outputs that it names.
        owners = {row.result_id: row.owner_task_id or makers[row.result_id] for row in rows}
        found = await self._list(owners.values())
        open_tasks = {
            makers[output]
            for output, owner in owners.items()
            if (task := found.get(owner)) is None or task.status not in OVER
        }
        return EndedTasks(
            {task_id for task_id in tasks if task_id not in open_tasks},
            {row.result_id: row.size for row in rows},
        )

    async def producer(self, session_id: str, result_id: str) -> tuple[str, str]:
        """The task that made a result, and the partition in which it ran."""
        (row,) = await self._transport.list_results(session_id, [result_id])
        request = tasks_common_pb2.GetTaskRequest(task_id=row.owner_task_id)
        reply = await self._transport.call(self._tasks.GetTask, request, "reading a task")
        return str(reply.task.id), str(reply.task.options.partition_id)

    async def error(self, task_id: str) -> str:
        """The error of a task."""
        request = tasks_common_pb2.GetTaskRequest(task_id=task_id)
        reply = await self._transport.call(self._tasks.GetTask, request, "reading a failed task")
        error: str = reply.task.output.error
        return error

    async def durations(self, task_ids: Sequence[str]) -> dict[str, float | None]:
        """How long tasks ran that have completed, as far as the engine says."""
        request = messages.list_tasks(task_ids)
        try:
            reply = await self._tasks.ListTasks(request, timeout=DURATIONS_DEADLINE)
        except grpc.RpcError as error:
            raise self._transport.refused(error, "listing durations", request) from error
        return {
            task.id: messages.duration(task)
            for task in reply.tasks
            if task.status == task_status_pb2.TASK_STATUS_COMPLETED
        }

    async def count(self, session_id: str, partition: str) -> Mapping[TaskState, int]:
        """How many tasks are in which state."""
        request = messages.count_tasks(session_id, partition)
        try:
            reply = await self._tasks.CountTasksByStatus(request, timeout=DURATIONS_DEADLINE)
        except grpc.RpcError as error:
            raise self._transport.refused(error, "counting tasks", request) from error
        counts: Counter[TaskState] = Counter()
        for entry in reply.status:
            counts[messages.TASK_STATES.get(entry.status, TaskState.ENDED)] += entry.count
        return counts

    async def under_way(self, session_id: str) -> list[TaskUnderWay]:
        """The tasks that run, and those that were lost and taken up again; not all of very many."""
        return await self._page(messages.tasks_in(session_id, (_RUNNING, _REPEATED), UNDER_WAY))

    async def longest_running(self, session_id: str) -> list[str]:
        """The ids of the tasks that run: of very many, of those that have run for longest."""
        request = messages.tasks_in(session_id, (_RUNNING,), UNDER_WAY, by="started_at")
        return [task.task_id for task in await self._page(request)]

    async def _page(self, request: Any) -> list[TaskUnderWay]:
        try:
            reply = await self._tasks.ListTasks(request, timeout=DURATIONS_DEADLINE)
        except grpc.RpcError as error:
            raise self._transport.refused(error, "listing running tasks", request) from error
        return [
            TaskUnderWay(task.initial_task_id or task.id, task.created_by, task.status == _REPEATED)
            for task in reply.tasks
        ]

    async def drained(self, session_id: str) -> bool:
        """Whether all tasks of a session are over, now or soon.

        One that is lost after its last result came is tried again, by agents that would not find
        its data any more if the session was purged.
        """
        request = messages.count_tasks(session_id, "")
        ended = OVER | {task_status_pb2.TASK_STATUS_RETRIED}  # its retry is counted, too

        async def count() -> bool | None:
            reply = await self._transport.call(
                self._tasks.CountTasksByStatus, request, "counting tasks", patience=0.0
            )
            return None if any(c.count and c.status not in ended for c in reply.status) else True

        try:
            return await read_again(count, config.END_SECONDS) is True
        except (EngineError, ConnectionError) as error:
            logger.debug("the tasks of session %s are not counted: %s", session_id, error)
            return True

    async def _list(self, task_ids: Iterable[str]) -> dict[str, Any]:
        """Tasks by id, those that there are."""
        found: dict[str, Any] = {}
        for ids in chunks(sorted(set(task_ids) - {""}), LIST_SIZE):
            reply = await self._transport.call(
                self._tasks.ListTasks, messages.list_tasks(ids), "listing ended tasks"
            )
            found.update((task.id, task) for task in reply.tasks)
        return found


def _failure(task: Any) -> Failure:
    status = task_status_pb2.TaskStatus.Name(task.status)
    status = status.removeprefix("TASK_STATUS_").lower()
    return Failure(task.id, status, task.error, task.options.partition_id)
