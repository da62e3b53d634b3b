"""Deleting data that nobody needs, on engines whose store may fail at what is gone already."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from armonik.protogen.common import result_status_pb2, results_common_pb2

from armoflow.errors import EngineError
from armoflow.protocol.portions import LIST_SIZE, chunks

if TYPE_CHECKING:
    from armoflow.protocol.standard import StandardTransport

FAULTS = ("UNKNOWN", "INTERNAL")
"""What an engine says whose store could not delete: some fail at what is gone already."""
_DELETED = result_status_pb2.RESULT_STATUS_DELETED


class Deletions:
    """Deletes the data of results.

    Args:
        transport: Whose engine.
        results: The stub of the results service.
    """

    def __init__(self, transport: StandardTransport, results: Any) -> None:
        self._transport = transport
        self._results = results

    async def delete(self, session_id: str, result_ids: Sequence[str]) -> None:
        """Delete the data of results, as much of it as can be.

        Raises:
            EngineError: If not all of it could be.
        """
        failed = None
        for ids in chunks(result_ids, LIST_SIZE):
            failed = await self._try_to_delete(session_id, ids) or failed
        if failed is not None:
            raise failed

    async def _try_to_delete(self, session_id: str, ids: Sequence[str]) -> EngineError | None:
        """Delete; returns what a store says that failed: other data may go all the same."""
        try:
            await self._delete(session_id, ids)
        except EngineError as error:
            if error.code not in FAULTS:
                raise
            return error
        return None

    async def _delete(self, session_id: str, result_ids: Sequence[str]) -> None:
        def delete(ids: Sequence[str]) -> Any:
            request = results_common_pb2.DeleteResultsDataRequest(
                session_id=session_id, result_id=ids
            )
            method = self._results.DeleteResultsData
            return self._transport.call(method, request, "deleting data", faults=False)

        try:
            await delete(result_ids)
        except EngineError as error:
            if error.code not in FAULTS:
                raise
            # Some stores fail at what is gone already, as a payload that its task's end deleted.
            rows = await self._transport.list_results(session_id, result_ids)
            left = [row.result_id for row in rows if row.status != _DELETED]
            if len(left) == len(result_ids):
                raise
            await delete(left)
