"""The Sessions service."""

# ruff: noqa: N802 (the API names the methods)

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from armonik.protogen.client.sessions_service_pb2_grpc import SessionsServicer
from armonik.protogen.common import sessions_common_pb2 as messages

from armoflow.engine.records import (
    ApiOptions,
    Changes,
    SessionRecord,
    SessionStatus,
    StateError,
)
from armoflow.engine.services.common import Service
from armoflow.engine.services.convert import (
    options_from_message,
    session_to_message,
    set_seconds,
)
from armoflow.engine.services.filter_messages import parse_list
from armoflow.engine.session_changes import (
    cancel_session,
    change_session,
    close_session,
    find_session,
    open_session,
)
from armoflow.protocol.filter_fields import SESSIONS
from armoflow.protocol.frames import LEASE, TIDY


class SessionsService(Service, SessionsServicer):  # type: ignore[misc]
    """Opens, changes and ends sessions."""

    async def CreateSession(self, request: Any, context: Any) -> Any:
        """Open a session."""
        engine = self._engine
        _check_default_options(request)
        session_id = await open_session(
            engine,
            options_from_message(request.default_task_option),
            request.partition_ids,
            leased=LEASE in (context.invocation_metadata() or ()),
        )
        return messages.CreateSessionReply(session_id=session_id)

    async def GetSession(self, request: Any, context: Any) -> Any:
        """Read a session."""
        session = session_to_message(self._find(request.session_id))
        await self._committed()
        return messages.GetSessionResponse(session=session)

    async def ListSessions(self, request: Any, context: Any) -> Any:
        """List sessions; their options are always shown, whatever ``with_task_options`` says."""
        engine = self._engine
        filters, arguments = parse_list(request, SESSIONS, strict=engine.options.strict)
        page = await engine.queries.sessions(filters, **arguments)
        reply = messages.ListSessionsResponse(
            page=request.page, page_size=request.page_size, total=page.total
        )
        await self._show(reply.sessions, page.items, session_to_message)
        return reply

    async def CancelSession(self, request: Any, context: Any) -> Any:
        """Cancel a session and all that it has not finished."""
        shown: list[Any] = []
        await cancel_session(
            self._engine,
            request.session_id,
            lambda session: shown.append(session_to_message(session)),
        )
        return messages.CancelSessionResponse(session=shown[0])

    async def PauseSession(self, request: Any, context: Any) -> Any:
        """Hold what is queued."""
        state = self._engine.state
        session = await self._change(request, state.pause_session, held=True)
        return messages.PauseSessionResponse(session=session)

    async def ResumeSession(self, request: Any, context: Any) -> Any:
        """Queue what was held."""
        state = self._engine.state
        session = await self._change(request, state.resume_session)
        return messages.ResumeSessionResponse(session=session)

    async def CloseSession(self, request: Any, context: Any) -> Any:
        """End a session: what still waits is cancelled. Tidied, it may have ended before."""
        shown: list[Any] = []
        await close_session(
            self._engine,
            request.session_id,
            lambda session: shown.append(session_to_message(session)),
            tidied=TIDY in (context.invocation_metadata() or ()),
        )
        return messages.CloseSessionResponse(session=shown[0])

    async def PurgeSession(self, request: Any, context: Any) -> Any:
        """Delete the data of a session that has ended."""
        state = self._engine.state
        if self._engine.options.strict:
            await self._purge_unasked(request.session_id)
        session = await self._change(request, state.purge_session)
        return messages.PurgeSessionResponse(session=session)

    async def DeleteSession(self, request: Any, context: Any) -> Any:
        """Remove a session; an unknown one is answered as if it had just been deleted."""
        engine = self._engine
        now = engine.now()
        session = engine.state.sessions.get(request.session_id)
        shown = session_to_message(
            session or SessionRecord(request.session_id, (), ApiOptions(), created_at=now)
        )
        shown.status = int(SessionStatus.DELETED)
        set_seconds(shown.deleted_at, now)
        deleting = engine.sweeper.change(
            request.session_id,
            lambda: engine.state.delete_session(
                now, request.session_id, engine.held(request.session_id)
            ),
        )
        await engine.admission.promise(deleting)
        return messages.DeleteSessionResponse(session=shown)

    async def StopSubmission(self, request: Any, context: Any) -> Any:
        """Refuse further submissions of clients, of workers, or of both."""
        changes = self._engine.state.stop_submission(
            self._engine.now(), request.session_id, request.client, request.worker
        )
        return messages.StopSubmissionResponse(session=await self._apply(request, changes))

    async def _purge_unasked(self, session_id: str) -> None:
        """Delete a session's data before it is known whether it may be purged.

        That is what the reference engine does; only strict mode repeats it.
        """
        engine = self._engine
        await engine.sweeper.finished(session_id)
        results = [each.id for part in engine.state.results_of(session_id) for each in part]
        await engine.admission.promise(
            engine.sweeper.in_slices(
                results,
                lambda ids: engine.state.delete_results(engine.now(), ids),
                urgent=True,
            )
        )

    async def _change(
        self, request: Any, command: Callable[..., Changes], *, held: bool = False
    ) -> Any:
        """The session as a command on the whole of it left it, once all of that is committed.

        Args:
            request: Names the session.
            command: The command.
            held: Whether it is told which tasks agents hold: it comes to them first.
        """
        shown: list[Any] = []
        await change_session(
            self._engine,
            request.session_id,
            command,
            lambda session: shown.append(session_to_message(session)),
            held=held,
        )
        return shown[0]

    async def _apply(self, request: Any, changes: Changes) -> Any:
        """The session as the command left it, once that is committed."""
        shown = session_to_message(self._find(request.session_id))
        await self._commit(changes)
        return shown

    def _find(self, session_id: str) -> SessionRecord:
        return find_session(self._engine, session_id)


def _check_default_options(request: Any) -> None:
    """What must be present in the message; the values are the state machine's to judge."""
    if not request.HasField("default_task_option"):
        raise StateError("INVALID_ARGUMENT", "default_task_option is required")
    if not request.default_task_option.HasField("max_duration"):
        raise StateError("INVALID_ARGUMENT", "default_task_option.max_duration is required")
