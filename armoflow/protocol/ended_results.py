"""What became of many results of a session: those that have ended are listed, page by page.

A list call with hundreds of ids in its filter is dear for engine and client. Where fewer results of
the session have ended than are asked for, these are fewer rows, and their filter is short.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from armonik.protogen.common import result_status_pb2

from armoflow.protocol import messages
from armoflow.protocol.frames import OUTPUT
from armoflow.protocol.item_logs import PAGE, list_pages

if TYPE_CHECKING:
    from armoflow.protocol.standard import StandardTransport

MANY = 2_000
"""Results from which on it is worth while to count first."""

ENDED = (
    result_status_pb2.RESULT_STATUS_COMPLETED,
    result_status_pb2.RESULT_STATUS_ABORTED,
    result_status_pb2.RESULT_STATUS_DELETED,
)
_CREATED = result_status_pb2.RESULT_STATUS_CREATED


class EndedResults:
    """Lists them; see the module.

    Args:
        transport: Whose engine.
        results: The stub of the results service.
    """

    def __init__(self, transport: StandardTransport, results: Any) -> None:
        self._transport = transport
        self._results = results

    async def rows(self, session_id: str, result_ids: Sequence[str]) -> list[Any] | None:
        """The rows of all outputs of tasks that have ended; None: ask for these results by id."""
        if len(result_ids) < MANY:
            return None
        counts = {status: await self._count(session_id, status) for status in (*ENDED, _CREATED)}
        if sum(counts[status] for status in ENDED) > len(result_ids):
            return None
        rows = [
            row
            for status in ENDED
            if counts[status]
            async for row in list_pages(self._ask, self._request(session_id, status), "results")
        ]
        ended = {row.result_id for row in rows}
        to_come = sum(result_id not in ended for result_id in result_ids)
        return rows if to_come <= counts[_CREATED] else None  # else some are gone

    async def _count(self, session_id: str, status: int) -> int:
        request = self._request(session_id, status)
        request.page_size = 0
        return int((await self._ask(request)).total)

    def _request(self, session_id: str, status: int) -> Any:
        return messages.results_in(session_id, status, PAGE, OUTPUT)

    async def _ask(self, request: Any) -> Any:
        return await self._transport.call(self._results.ListResults, request, "listing results")
