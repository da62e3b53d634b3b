"""Sessions that several clients come back to, one after the other: found by a label of theirs.

By the calls that every ArmoniK serves: sessions are listed by an option of their default task
options, which their opener has set.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from armonik.protogen.common import (
    result_status_pb2,
    session_status_pb2,
    sessions_common_pb2,
)

from armoflow.errors import EngineError
from armoflow.protocol import messages
from armoflow.protocol.filter_fields import GENERIC, SESSIONS, Test, add_filters, sort_upwards
from armoflow.protocol.frames import CONSTANT_PREFIX
from armoflow.protocol.item_logs import list_pages
from armoflow.protocol.result_handle import ResultState
from armoflow.protocol.submission import Submission, WireOptions, labelled
from armoflow.protocol.transport import LabelledSession, Owned, StoredPart

if TYPE_CHECKING:
    from armoflow.protocol.standard import StandardTransport

PAGE = 500
"""Rows of one list call."""

_OPEN = (session_status_pb2.SESSION_STATUS_RUNNING, session_status_pb2.SESSION_STATUS_PAUSED)
_CREATED = result_status_pb2.RESULT_STATUS_CREATED
_COMPLETED = result_status_pb2.RESULT_STATUS_COMPLETED
_STATES = {
    result_status_pb2.RESULT_STATUS_CREATED: ResultState.CREATED,
    result_status_pb2.RESULT_STATUS_COMPLETED: ResultState.COMPLETED,
    result_status_pb2.RESULT_STATUS_ABORTED: ResultState.ABORTED,
}


class StandardSharedSessions:
    """Opens and finds them; see the module.

    Args:
        transport: Whose engine.
        sessions: The stub of the sessions service.
        results: The stub of the results service.
    """

    def __init__(self, transport: StandardTransport, sessions: Any, results: Any) -> None:
        self._transport = transport
        self._sessions = sessions
        self._results = results

    async def open(self, options: WireOptions, label: tuple[str, str]) -> str:
        """Open a session with a label, that no lease ends; returns its id."""
        partitions = self._transport.info.partitions
        return await self._transport.create_session(labelled(options, (label,)), partitions)

    async def find(self, name: str, value: str | None = None) -> list[LabelledSession]:
        """The sessions with a label that are there still, the oldest first."""
        request = sessions_common_pb2.ListSessionsRequest(page_size=PAGE)
        test: Test = (GENERIC + name, "==", value)
        if value is None:
            test = (GENERIC + name, "contains", "")
        add_filters(request.filters, SESSIONS, [[test]])
        sort_upwards(request, SESSIONS, "created_at")
        found = []
        async for raw in list_pages(self._list_sessions, request, "sessions"):
            said = raw.options.options.get(name)
            deleted = raw.status == session_status_pb2.SESSION_STATUS_DELETED
            if said is not None and value in (None, said) and not deleted:
                created = _seconds(raw.created_at)
                found.append(LabelledSession(said, raw.session_id, raw.status in _OPEN, created))
        return sorted(found, key=lambda session: (session.created, session.id))

    async def parts(self, session_id: str, name: str) -> list[StoredPart]:
        """What was stored under names that begin so, in a session; the oldest first."""
        request = messages.results_in(session_id, _COMPLETED, PAGE, CONSTANT_PREFIX + name)
        found = [
            StoredPart(raw.result_id, _seconds(raw.created_at))
            async for raw in list_pages(self._list_results, request, "results")
        ]
        return sorted(found, key=lambda part: (part.created, part.result_id))

    async def names(self, session_id: str, prefix: str) -> list[str]:
        """The names that begin so of the results that are there, in a session."""
        request = messages.results_in(session_id, _COMPLETED, PAGE, prefix)
        return [raw.name async for raw in list_pages(self._list_results, request, "results")]

    async def created(self, session_id: str, prefix: str, *, unowned: bool = False) -> list[str]:
        """The results of a session whose data is to come, and whose names begin so."""
        owner = "" if unowned else None
        request = messages.results_in(session_id, _CREATED, PAGE, prefix, owner=owner)
        return [raw.result_id async for raw in list_pages(self._list_results, request, "results")]

    async def owned(self, session_id: str, result_ids: Sequence[str]) -> dict[str, Owned]:
        """What becomes of results, by id; those are left out that the engine does not know."""
        raws = await self._transport.list_results(session_id, result_ids)
        return {
            raw.result_id: Owned(
                _STATES.get(raw.status, ResultState.DELETED), str(raw.owner_task_id)
            )
            for raw in raws
        }

    async def forward(self, session_id: str, tasks: Sequence[Submission]) -> None:
        """Submit tasks whose results and payloads are there already."""
        await self._transport.submit(session_id, tasks, _nothing)

    async def unpause(self, session_id: str) -> None:
        """Let a session go on, if it was paused."""
        request = sessions_common_pb2.ResumeSessionRequest(session_id=session_id)
        try:
            await self._transport.call(self._sessions.ResumeSession, request, "resuming a session")
        except EngineError as error:
            if error.code != "FAILED_PRECONDITION":  # it was not paused
                raise

    def begun(self, session_id: str) -> None:
        """Somebody has submitted tasks to a session: there is something to watch."""
        self._transport.begun(session_id)

    async def _list_sessions(self, request: Any) -> Any:
        return await self._transport.call(
            self._sessions.ListSessions, request, "listing sessions with a label"
        )

    async def _list_results(self, request: Any) -> Any:
        return await self._transport.call(
            self._results.ListResults, request, "listing what a run has left"
        )


def _nothing() -> None:
    return None


def _seconds(stamp: Any) -> float:
    return float(stamp.seconds + stamp.nanos / 1e9)
