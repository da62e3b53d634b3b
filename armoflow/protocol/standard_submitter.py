"""Submitting a batch of tasks over the standard calls, in the order that the payload mode says.

===========  ======================================================================================
``delayed``  metadata of payloads and outputs, SubmitTasks, then the uploads: each upload queues the
             tasks that waited for it
``eager``    metadata of payloads and outputs, the uploads, SubmitTasks
``inline``   CreateResults (payloads with their data) beside the metadata of outputs, SubmitTasks
``auto``     small payloads ``inline``, large ones ``delayed``
===========  ======================================================================================

So a batch of small tasks is two calls, one after the other: what creates results goes side by side.
A payload that refers to an output of its own batch can be laid out only after that output has its
id; then the metadata come first.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Awaitable, Callable, Sequence, Set
from typing import TYPE_CHECKING, Any

from armonik.protogen.common import results_common_pb2, task_status_pb2, tasks_common_pb2

from armoflow import config
from armoflow.codec.container import Buffer, size
from armoflow.errors import EngineError
from armoflow.protocol import messages
from armoflow.protocol.frames import CACHED_PREFIX, NAME_LIMIT, PAYLOAD_PREFIX
from armoflow.protocol.late import read_again
from armoflow.protocol.portions import chunks
from armoflow.protocol.result_handle import ResultState
from armoflow.protocol.settings import PayloadMode
from armoflow.protocol.submission import InputsAbortedError, Note, Submission

if TYPE_CHECKING:
    from armoflow.protocol.standard import StandardTransport

logger = logging.getLogger(__name__)

CREATING_PATIENCE = 2.0
"""Seconds after which a task that an engine left in creating counts as lost."""


class StandardSubmitter:
    """Submits batches for a :class:`~armoflow.protocol.standard.StandardTransport`."""

    def __init__(
        self, transport: StandardTransport, results: Any, tasks: Any, payloads: PayloadMode
    ) -> None:
        self._transport = transport
        self._results = results
        self._tasks = tasks
        self._payloads = payloads

    async def submit(
        self,
        session_id: str,
        submissions: Sequence[Submission],
        named: Callable[[], None],
        note: Note | None = None,
    ) -> None:
        """Submit a batch; see :meth:`Transport.submit`."""
        limit = self._inline_limit()
        inline = {task for task in submissions if not task.payload_id and task.size <= limit}
        after = [task for task in submissions if task in inline and _needs_own_batch(task)]
        before = [task for task in submissions if task in inline and not _needs_own_batch(task)]
        await _together(
            self._create_all(session_id, submissions, inline, named),
            self._create_payloads_with_data(session_id, before),
        )
        await self._create_payloads_with_data(session_id, after)
        if self._payloads == "eager":
            await self._upload(session_id, submissions)
        if note is not None:
            await self._store(session_id, note)
        await self._submit(session_id, submissions, named, note)
        self._transport.begun(session_id)
        await self._upload(session_id, submissions)

    async def lay_out(self, session_id: str, submissions: Sequence[Submission], note: Note) -> None:
        """Store what a batch would need, and do not submit it; see :meth:`Transport.lay_out`."""
        inline = {task for task in submissions if task.size <= self._inline_limit()}
        await self._create_all(session_id, submissions, inline, _nothing)
        await self._create_payloads_with_data(
            session_id, [task for task in submissions if task in inline]
        )
        await self._upload(session_id, submissions)
        await note.confirm()
        await self._store(session_id, note)

    async def _store(self, session_id: str, note: Note) -> None:
        """Store what a note says, side by side."""
        store = self._transport.store
        await asyncio.gather(*(store(session_id, name, [data]) for name, data in note.lay_out()))

    def _inline_limit(self) -> int:
        """Bytes of a payload up to which its data goes up with its metadata."""
        limits = {"auto": config.INLINE_DATA_LIMIT, "inline": config.BATCH_BYTES}
        return limits.get(self._payloads, -1)

    async def _create_all(
        self,
        session_id: str,
        submissions: Sequence[Submission],
        inline: Set[Submission],
        named: Callable[[], None],
    ) -> None:
        """Create the outputs, and the payloads whose data goes up later, in one call."""
        tasks = [task for task in submissions if not task.payload_id and task not in inline]
        outputs = [(h, task) for task in submissions for h in task.outputs if not h.id]
        names = [PAYLOAD_PREFIX + task.name[:NAME_LIMIT] for task in tasks]
        names += [
            messages.output_name(handle.name, keep=task.keep, cached=task.cached)
            for handle, task in outputs
        ]
        if not names:
            return
        ids = await self._create(session_id, names)
        for task, payload_id in zip(tasks, ids[: len(tasks)], strict=True):
            task.payload_id = payload_id
        for (handle, _), result_id in zip(outputs, ids[len(tasks) :], strict=True):
            handle.id = result_id
            if handle.state is ResultState.PLANNED:  # else it is known already that it fails
                handle.state = ResultState.CREATED
        if outputs:
            named()

    async def _create(self, session_id: str, names: Sequence[str]) -> list[str]:
        request = results_common_pb2.CreateResultsMetaDataRequest(
            session_id=session_id,
            results=[
                results_common_pb2.CreateResultsMetaDataRequest.ResultCreate(
                    name=name, manual_deletion=name.startswith(CACHED_PREFIX)
                )
                for name in names
            ],
        )
        reply = await self._transport.call(
            self._results.CreateResultsMetaData, request, "creating results"
        )
        return [raw.result_id for raw in reply.results]

    async def _create_payloads_with_data(
        self, session_id: str, submissions: Sequence[Submission]
    ) -> None:
        """CreateResults in calls of bounded bytes, side by side."""
        batches: list[list[tuple[Submission, bytes]]] = []
        total = config.BATCH_BYTES
        for task in submissions:
            data = b"".join(task.pack())
            total += len(data)
            if total > config.BATCH_BYTES:
                batches.append([])
                total = len(data)
            batches[-1].append((task, data))
        await _together(*(self._create_with_data(session_id, batch) for batch in batches))

    async def _create_with_data(
        self, session_id: str, batch: Sequence[tuple[Submission, bytes]]
    ) -> None:
        request = results_common_pb2.CreateResultsRequest(session_id=session_id)
        for task, data in batch:
            name = PAYLOAD_PREFIX + task.name[:NAME_LIMIT]
            request.results.add(name=name, data=data)
        reply = await self._transport.call(
            self._results.CreateResults, request, "creating payloads"
        )
        for (task, _), raw in zip(batch, reply.results, strict=True):
            task.payload_id = raw.result_id
            task.stored = True

    async def _upload(self, session_id: str, submissions: Sequence[Submission]) -> None:
        async def upload(task: Submission) -> None:
            parts: list[Buffer] = task.pack()
            if size(parts) <= self._transport.info.chunk_bytes:
                parts = [b"".join(parts)]
            await self._transport.transfers.upload(session_id, task.payload_id, parts)
            task.stored = True

        await asyncio.gather(*(upload(task) for task in submissions if not task.stored))

    async def _submit(
        self,
        session_id: str,
        submissions: Sequence[Submission],
        named: Callable[[], None],
        note: Note | None,
    ) -> None:
        request = tasks_common_pb2.SubmitTasksRequest(session_id=session_id)
        options = functools.cache(messages.task_options)  # most tasks of a batch have the same
        for task in submissions:
            request.task_creations.add(
                payload_id=task.payload_id,
                expected_output_keys=[handle.id for handle in task.outputs],
                data_dependencies=dict.fromkeys(handle.id for handle in task.inputs),
                task_options=options(task.options),
            )

        repeated = False

        async def settled() -> list[str] | None:
            nonlocal repeated
            repeated = True
            taken = await self._already_submitted(session_id, submissions, named, note)
            if taken is None and note is not None:
                await note.confirm()  # the call is made again, however long the last one took
            return taken

        refusal: EngineError | None = None

        async def attempt() -> Any:
            nonlocal refusal
            if note is not None:
                await note.confirm()
            try:
                return await self._transport.call(
                    self._tasks.SubmitTasks, request, "submitting tasks", settled=settled
                )
            except EngineError as error:
                # The call that was lost may have been carried out only now.
                reply = await settled() if repeated else None
                if reply is None:
                    if not await self._are_inputs_late(session_id, submissions, error):
                        if note is not None:  # somebody else has submitted them, that is why?
                            await note.confirm(anew=True)
                        raise
                    refusal = error
                return reply

        reply: Any = await read_again(attempt)
        if reply is None and refusal is not None:
            raise refusal
        task_ids = reply if isinstance(reply, list) else [i.task_id for i in reply.task_infos]
        for task, task_id in zip(submissions, task_ids, strict=True):
            task.task_id = task_id

    async def _already_submitted(
        self,
        session_id: str,
        submissions: Sequence[Submission],
        named: Callable[[], None],
        note: Note | None,
    ) -> list[str] | None:
        """The ids of the tasks if an earlier call took effect; a batch is submitted whole."""
        deadline = asyncio.get_running_loop().time() + CREATING_PATIENCE
        outputs = [task.outputs[0].id for task in submissions]
        while True:
            raws = await self._transport.list_results(session_id, outputs)
            owners = {raw.result_id: raw.owner_task_id for raw in raws}
            owned = [owners.get(output, "") for output in outputs]
            if not any(owned):
                return None
            if all(owned) and not await self._creating(owned):
                return owned
            if asyncio.get_running_loop().time() > deadline:
                break
            await asyncio.sleep(0.1)
        logger.warning("an engine left %d task(s) half created: replacing them", len(owned))
        lost = [owner for owner in owned if owner]
        try:
            await self._transport.cancel_tasks(session_id, lost)
        except EngineError as error:
            logger.warning("they were not cancelled: %s", error)  # their payloads never come
        await self._replace(session_id, submissions, named, note)
        return [task.task_id for task in submissions]

    async def _creating(self, task_ids: Sequence[str]) -> bool:
        for ids in chunks(list(task_ids), 500):
            reply = await self._transport.call(
                self._tasks.ListTasks, messages.list_tasks(ids), "listing tasks"
            )
            if any(task.status == task_status_pb2.TASK_STATUS_CREATING for task in reply.tasks):
                return True
        return False

    async def _replace(
        self,
        session_id: str,
        submissions: Sequence[Submission],
        named: Callable[[], None],
        note: Note | None,
    ) -> None:
        """Submit the batch anew, with new results: the old ones belong to lost tasks."""
        for task in submissions:
            task.stored = False
            task.payload_id = ""
            for handle in task.outputs:
                handle.id = ""
        await self._create_all(session_id, submissions, frozenset(), named)
        await self._submit(session_id, submissions, named, note)
        await self._upload(session_id, submissions)

    async def _are_inputs_late(
        self, session_id: str, submissions: Sequence[Submission], refusal: EngineError
    ) -> bool:
        """Whether a batch was refused for inputs that the engine does not see yet.

        Recent engines refuse a whole batch for one aborted dependency (ArmoniK.Core from 0.40 on).

        Raises:
            InputsAbortedError: If it was refused for inputs that are aborted or deleted.
        """
        if refusal.code not in ("FAILED_PRECONDITION", "NOT_FOUND"):
            return False
        own = {handle.id for task in submissions for handle in task.outputs}
        inputs = {handle.id for task in submissions for handle in task.inputs} - own
        if not inputs:
            return False
        changes = await self._transport.poll(session_id, sorted(inputs))
        lost = [c.result_id for c in changes if c.state is not ResultState.COMPLETED]
        if lost:
            raise InputsAbortedError(lost)
        return refusal.code == "NOT_FOUND"  # though it knows all of them


def _nothing() -> None:
    return None


def _needs_own_batch(task: Submission) -> bool:
    """Whether a task has inputs that are still to be created, with the batch."""
    return not all(handle.id for handle in task.inputs)


async def _together(*calls: Awaitable[None]) -> None:
    """Make calls side by side; what one raises is raised when all have ended."""
    for outcome in await asyncio.gather(*calls, return_exceptions=True):
        if isinstance(outcome, BaseException):
            raise outcome
