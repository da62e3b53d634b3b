"""What stays of a session when its client is done with it, by the calls that every ArmoniK serves.

What is known of its tasks and results stays as long as the engine keeps it. Their data goes, but
what was asked to be kept, and what failed tasks were given: with that they can be run again, to see
why. Which that is the engine itself knows, so a client remembers nothing of the tasks that failed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

from armonik.protogen.common import result_status_pb2, task_status_pb2

from armoflow.codec.needs import constants_of
from armoflow.config import FAILED_PAYLOADS
from armoflow.protocol import messages
from armoflow.protocol.frames import CONSTANT_PREFIX, STAYING_PREFIXES
from armoflow.protocol.openings import END_PATIENCE

if TYPE_CHECKING:
    from armoflow.protocol.standard import StandardTransport

PAGE = 1_000
"""Rows of one list call."""

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

    async def unneeded(self, session_id: str) -> list[str]:
        """The results whose data goes at the end of a session.

        Raises:
            EngineError: If the engine does not say.
        """
        needed, payloads = await self._of_failed_tasks(session_id)
        request = messages.results_in(session_id, _COMPLETED, PAGE)
        stored = {
            row.result_id: row.name
            async for row in self._pages(self._results.ListResults, request, "results")
            if row.result_id not in needed and not row.name.startswith(STAYING_PREFIXES)
        }
        if payloads and any(name.startswith(CONSTANT_PREFIX) for name in stored.values()):
            constants = await self._constants(session_id, payloads)
            for result_id, name in list(stored.items()):
                if name.startswith(CONSTANT_PREFIX) and constants(result_id):
                    del stored[result_id]
        return list(stored)

    async def _of_failed_tasks(self, session_id: str) -> tuple[set[str], list[str]]:
        """What failed tasks were given, and their payloads; not of those that only needed them."""
        needed: set[str] = set()
        payloads: list[str] = []
        request = messages.tasks_in(session_id, _FAILED, PAGE)
        async for task in self._pages(self._tasks.ListTasksDetailed, request, "tasks"):
            if task.HasField("started_at"):
                payloads.append(task.payload_id)
                needed.add(task.payload_id)
                needed.update(task.data_dependencies)
        return needed, payloads

    async def _constants(self, session_id: str, payloads: Sequence[str]) -> Callable[[str], bool]:
        """Tells whether one of these payloads names a constant, as far as that can be known."""
        if len(payloads) > FAILED_PAYLOADS:
            return lambda result_id: True
        named: set[str] = set()
        for data in await self._transport.fetch(session_id, payloads):
            if not isinstance(data, Exception):
                named.update(constants_of(data))
        return named.__contains__

    async def _pages(
        self, method: Callable[[Any], Awaitable[Any]], request: Any, rows: str
    ) -> AsyncIterator[Any]:
        while True:
            reply = await self._transport.call(
                method, request, "listing what stays of a session", patience=END_PATIENCE
            )
            found = getattr(reply, rows)
            for row in found:
                yield row
            if len(found) < request.page_size:
                return
            request.page += 1
