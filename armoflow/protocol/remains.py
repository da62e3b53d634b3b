"""What stays of a session when its client is done with it, by the calls that every ArmoniK serves.

What is known of its tasks and results stays as long as the engine keeps it. Their data goes, but
what was asked to be kept, and what failed tasks were given, and those with failed items: with that
they can be run again, to see why. Which these are the engine itself knows: by the status of tasks,
and by the logs that tasks leave whose items failed (:mod:`armoflow.codec.item_log`).
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Collection, Sequence, Set
from typing import TYPE_CHECKING, Any

from armonik.protogen.common import result_status_pb2, task_status_pb2

from armoflow.codec.item_log import tells_of_failures
from armoflow.codec.task_needs import TaskNeeds, constants_of
from armoflow.config import END_PATIENCE, FAILED_PAYLOADS
from armoflow.protocol import messages
from armoflow.protocol.frames import CONSTANT_PREFIX, STAYING_PREFIXES
from armoflow.protocol.item_logs import PAGE, Ask, NewLogs, list_pages
from armoflow.protocol.portions import chunks

if TYPE_CHECKING:
    from armoflow.protocol.standard import StandardTransport

_COMPLETED = result_status_pb2.RESULT_STATUS_COMPLETED
_FAILED = (task_status_pb2.TASK_STATUS_ERROR, task_status_pb2.TASK_STATUS_TIMEOUT)


class Remains:
    """Finds what of a session goes and what stays.

    Args:
        transport: Whose engine, and who downloads payloads.
        results: The stub of the results service.
        tasks: The stub of the tasks service.
    """

    def __init__(self, transport: StandardTransport, results: Any, tasks: Any) -> None:
        self._transport = transport
        self._results = results
        self._tasks = tasks
        self._given: defaultdict[str, TaskNeeds] = defaultdict(TaskNeeds)
        self._logs: dict[str, NewLogs] = {}

    async def going(self, session_id: str, result_ids: Sequence[str]) -> list[str]:
        """Those of these results whose data goes now, in a session that goes on.

        Of all that nobody needs any more that stays which tasks were given that ended well with
        failed items: a pack, or one of those that a task has returned, of which no client knows.

        Raises:
            EngineError: If the engine does not say.
        """
        given = await self._of_failed_items(session_id, patience=None)
        going = [result_id for result_id in result_ids if result_id not in given.results]
        if not given.payloads:
            return going
        rows = await self._transport.list_results(session_id, going)
        constants = [row.result_id for row in rows if row.name.startswith(CONSTANT_PREFIX)]
        spared = await self._spared(session_id, given, constants)
        return [result_id for result_id in going if result_id not in spared]

    async def unneeded(self, session_id: str) -> list[str]:
        """The results whose data goes at the end of a session.

        Raises:
            EngineError: If the engine does not say.
        """
        given, failed, stored = await asyncio.gather(
            self._of_failed_items(session_id, patience=END_PATIENCE),
            self._failed(session_id),
            self._stored(session_id),
        )
        del self._given[session_id], self._logs[session_id]
        for task in failed:
            given.add(task.payload_id, task.data_dependencies)
        constants = [key for key, name in stored.items() if name.startswith(CONSTANT_PREFIX)]
        spared = await self._spared(session_id, given, constants)
        return [result_id for result_id in stored if result_id not in spared]

    async def _failed(self, session_id: str) -> list[Any]:
        """The tasks of a session that have failed themselves."""
        request = messages.tasks_in(session_id, _FAILED, PAGE)
        rows = list_pages(self._asking(self._tasks.ListTasksDetailed), request, "tasks")
        return [task async for task in rows if task.HasField("started_at")]

    async def _stored(self, session_id: str) -> dict[str, str]:
        """The names of a session's results whose data is there and need not stay, by id."""
        request = messages.results_in(session_id, _COMPLETED, PAGE)
        rows = list_pages(self._asking(self._results.ListResults), request, "results")
        return {
            row.result_id: row.name
            async for row in rows
            if not row.name.startswith(STAYING_PREFIXES)
        }

    async def _of_failed_items(self, session_id: str, patience: float | None) -> TaskNeeds:
        """What those tasks of a session were given that have left a log of failed items."""
        given = self._given[session_id]
        logs = self._logs.get(session_id)
        if logs is None:
            logs = self._logs[session_id] = NewLogs(session_id)
        rows = await logs.read(self._asking(self._results.ListResults, patience))
        makers = {row.created_by for row in rows if tells_of_failures(row.name)}
        ask = self._asking(self._tasks.ListTasksDetailed, patience)
        for ids in chunks(sorted(makers), PAGE):
            for task in (await ask(messages.list_tasks(ids))).tasks:
                given.add(task.payload_id, task.data_dependencies)
        logs.know(rows)
        return given

    async def _spared(
        self, session_id: str, given: TaskNeeds, constants: Collection[str]
    ) -> Set[str]:
        """What tasks were given, and those constants that their payloads name.

        All constants, where the payloads are too many to be read.
        """
        if not constants:
            return given.results
        end = len(given.payloads)
        if end > FAILED_PAYLOADS:
            return given.results.union(constants)
        found = await self._transport.fetch(session_id, given.payloads[given.read : end])
        payloads = [data for data in found if not isinstance(data, Exception)]
        given.learn(end, [name for payload in payloads for name in constants_of(payload)])
        return given.results | given.named

    def _asking(self, method: Any, patience: float | None = END_PATIENCE) -> Ask:
        """A list call, with what is said if it fails."""
        what = "listing what stays of a session"
        return lambda request: self._transport.call(method, request, what, patience=patience)
