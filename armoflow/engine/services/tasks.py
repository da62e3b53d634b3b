"""The Tasks service."""

# ruff: noqa: N802 (the API names the methods)

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any

from armonik.protogen.client.tasks_service_pb2_grpc import TasksServicer
from armonik.protogen.common import objects_pb2
from armonik.protogen.common import tasks_common_pb2 as messages

from armoflow.engine.lineage import check_page
from armoflow.engine.records import (
    Changes,
    EventKind,
    NewTask,
    RefusedInputsError,
    StateError,
    TaskRecord,
    TaskStatus,
)
from armoflow.engine.services.common import Service
from armoflow.engine.services.convert import (
    check_count,
    check_durations,
    optional_options,
    task_to_detailed,
    task_to_summary,
)
from armoflow.engine.services.filter_messages import parse_filters, parse_list
from armoflow.engine.submissions import is_large
from armoflow.engine.sweeper import SLICE
from armoflow.protocol.filter_fields import TASKS


class TasksService(Service, TasksServicer):  # type: ignore[misc]
    """Submits, shows and cancels tasks."""

    async def SubmitTasks(self, request: Any, context: Any) -> Any:
        """Submit a batch of tasks: all of them or none."""
        engine = self._engine
        if not request.task_creations:
            raise StateError("INVALID_ARGUMENT", "task_creations must not be empty")
        check_count(request)
        if engine.options.strict:
            check_durations(request)
        tasks: list[NewTask] = []
        for creation in request.task_creations:
            if tasks and len(tasks) % SLICE == 0:
                await asyncio.sleep(0)  # others have their turn
            tasks.append(
                NewTask(
                    engine.new_id(),
                    creation.payload_id,
                    tuple(creation.data_dependencies),
                    tuple(creation.expected_output_keys),
                    optional_options(creation),
                )
            )
        session_id, options = request.session_id, optional_options(request)
        large = is_large(tasks)
        try:
            if large:
                submitting = engine.submissions.submit(session_id, options, tasks)
                await engine.admission.promise(submitting)
            else:
                changes = engine.state.submit_tasks(engine.now(), session_id, options, tasks)
        except StateError as refusal:
            if engine.options.strict and isinstance(refusal, RefusedInputsError):
                outputs = [output for task in tasks for output in task.outputs]
                await self._commit(engine.state.disown(engine.now(), outputs))
            raise await self._explain(refusal, tasks) from None
        if not large:
            await self._commit(changes)
        info = messages.SubmitTasksResponse.TaskInfo
        reply = messages.SubmitTasksResponse()
        await self._show(
            reply.task_infos,
            tasks,
            lambda task: info(
                task_id=task.id,
                expected_output_ids=task.outputs,
                data_dependencies=task.dependencies,
                payload_id=task.payload_id,
            ),
        )
        return reply

    async def GetTask(self, request: Any, context: Any) -> Any:
        """Read a task."""
        task = await self._engine.read_task(request.task_id)
        if task is None:
            raise StateError("NOT_FOUND", f"task {request.task_id!r} does not exist")
        shown = task_to_detailed(task, whole=True)
        await self._committed()
        lineages = await self._engine.queries.read_lineages([task])
        shown.parent_task_ids.extend(lineages[task.id])
        return messages.GetTaskResponse(task=shown)

    async def ListTasks(self, request: Any, context: Any) -> Any:
        """List tasks; their errors are always shown, whatever ``with_errors`` says."""
        engine = self._engine
        filters, arguments = parse_list(request, TASKS, strict=engine.options.strict)
        page = await engine.queries.tasks(filters, **arguments)
        reply = messages.ListTasksResponse(
            page=request.page, page_size=request.page_size, total=page.total
        )
        await self._show(reply.tasks, page.items, task_to_summary)
        return reply

    async def ListTasksDetailed(self, request: Any, context: Any) -> Any:
        """List tasks with all their lists."""
        engine = self._engine
        filters, arguments = parse_list(request, TASKS, strict=engine.options.strict)
        page = await engine.queries.tasks(filters, **arguments)
        check_page(page.items)
        lineages = await engine.queries.read_lineages(page.items)
        reply = messages.ListTasksDetailedResponse(
            page=request.page, page_size=request.page_size, total=page.total
        )
        await self._show(
            reply.tasks, page.items, lambda task: task_to_detailed(task, lineages[task.id])
        )
        return reply

    async def CancelTasks(self, request: Any, context: Any) -> Any:
        """Cancel tasks that have not ended; unknown ones are left out of the reply.

        Those that are cancelled by this call are shown as cancelling, whatever they are by now.
        """
        engine = self._engine
        begun: set[str] = set()

        def cancel(ids: Sequence[str]) -> Changes:
            changes = engine.state.cancel_tasks(engine.now(), ids)
            begun.update(
                event.record.id
                for event in changes.events
                if event.kind is EventKind.TASK_STATUS_UPDATE
                and event.status == TaskStatus.CANCELLING
            )
            return changes

        await engine.admission.promise(
            engine.sweeper.in_slices(request.task_ids, cancel, urgent=True)
        )

        def show(task: TaskRecord) -> Any:
            shown = task_to_summary(task)
            if task.id in begun:
                shown.status = int(TaskStatus.CANCELLING)
            return shown

        reply = messages.CancelTasksResponse()
        await self._show(reply.tasks, await self._read(request.task_ids), show)
        return reply

    async def GetResultIds(self, request: Any, context: Any) -> Any:
        """The expected outputs of tasks; unknown tasks are left out."""
        pair = messages.GetResultIdsResponse.MapTaskResult
        tasks = await self._read(request.task_id)
        await self._committed()
        reply = messages.GetResultIdsResponse()
        await self._show(
            reply.task_results, tasks, lambda task: pair(task_id=task.id, result_ids=task.outputs)
        )
        return reply

    async def CountTasksByStatus(self, request: Any, context: Any) -> Any:
        """How many tasks there are of each status; statuses without any are left out."""
        filters = parse_filters(request.filters, TASKS, strict=self._engine.options.strict)
        counts = self._engine.task_counts.find(filters)
        if counts is None:
            counts = await self._engine.queries.count_tasks(filters)
        return messages.CountTasksByStatusResponse(
            status=[
                objects_pb2.StatusCount(status=int(status), count=count)
                for status, count in counts.items()
            ]
        )

    async def _read(self, task_ids: Iterable[str]) -> list[TaskRecord]:
        """The tasks that exist, each once, in the order asked for."""
        ids = list(dict.fromkeys(task_ids))
        live = self._engine.state.tasks
        missing = [task_id for task_id in ids if task_id not in live]
        stored = await self._engine.queries.read_tasks(missing) if missing else {}
        found = (live.get(task_id) or stored.get(task_id) for task_id in ids)
        return [task for task in found if task is not None]
