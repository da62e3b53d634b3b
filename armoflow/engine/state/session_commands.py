"""Commands on sessions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from armoflow.engine.records import (
    ApiOptions,
    Changes,
    SessionRecord,
    SessionStatus,
    StateError,
    TaskStatus,
)
from armoflow.engine.state.members import Members
from armoflow.engine.state.sweeps import Sweeps
from armoflow.engine.state.task_options import check_default_options, merge_options


class SessionCommands(Sweeps):
    """Create, pause, resume, stop, close, cancel, purge and delete."""

    def create_session(
        self,
        now: float,
        session_id: str,
        options: ApiOptions,
        partition_ids: Sequence[str],
        *,
        leased: bool = False,
    ) -> Changes:
        """Open a session. No partitions (or one empty name) means the default partition."""
        if session_id in self.sessions:
            raise StateError("ALREADY_EXISTS", f"session {session_id!r} exists already")
        check_default_options(options, strict=self.strict)
        names = tuple(partition_ids)
        if not names or names == ("",):
            names = (self.default_partition,)
        partition_id = options.partition_id or self.default_partition
        for name in (*names, partition_id):
            if name not in self.partitions:
                known = ", ".join(map(repr, self.partitions))
                raise StateError(
                    "NOT_FOUND", f"partition {name!r} does not exist: this engine has {known}"
                )
        options = merge_options(options, ApiOptions(partition_id=partition_id))
        session = SessionRecord(session_id, names, options, now, leased=leased, newest=now)
        self.sessions[session_id] = session
        self._members.setdefault(session_id, Members())
        return Changes(sessions={session_id: session})

    def pause_session(self, now: float, session_id: str, held: Iterable[str] = ()) -> Changes:
        """Hold what is queued. Dispatched tasks are held too, and their agents interrupted."""
        session = self._session_in(session_id, "paused", SessionStatus.RUNNING)
        return self._move(now, session, SessionStatus.PAUSED, held)

    def resume_session(self, now: float, session_id: str) -> Changes:
        """Queue the tasks that were held."""
        session = self._session_in(
            session_id, "resumed", SessionStatus.PAUSED, SessionStatus.RUNNING
        )
        return self._move(now, session, SessionStatus.RUNNING)

    def stop_submission(self, now: float, session_id: str, client: bool, worker: bool) -> Changes:
        """Refuse further submissions of clients, of tasks, or of both."""
        session = self._session(session_id)
        if client:
            session.client_submission = False
        if worker:
            session.worker_submission = False
        return Changes(sessions={session_id: session})

    def close_session(self, now: float, session_id: str) -> Changes:
        """End a session: running tasks finish, queued and held ones are cancelled.

        A task that still waits is cancelled when its inputs are complete.
        """
        session = self._session_in(
            session_id, "closed", SessionStatus.RUNNING, SessionStatus.PAUSED
        )
        session.closed_at = now
        session.duration = now - session.created_at
        _shut(session)
        return self._move(now, session, SessionStatus.CLOSED)

    def cancel_session(self, now: float, session_id: str, held: Iterable[str] = ()) -> Changes:
        """Cancel all that has not ended; running tasks are interrupted (cancelling until then)."""
        session = self._session_in(
            session_id,
            "cancelled",
            SessionStatus.RUNNING,
            SessionStatus.PAUSED,
            SessionStatus.CLOSED,
        )
        session.cancelled_at = now
        _shut(session)
        return self._move(now, session, SessionStatus.CANCELLED, held)

    def purge_session(self, now: float, session_id: str) -> Changes:
        """Delete the data of a closed or cancelled session, except results of manual deletion.

        What has not started by then is cancelled; what runs may end, its data is dropped.
        """
        session = self._session_in(
            session_id, "purged", SessionStatus.CLOSED, SessionStatus.CANCELLED
        )
        session.purged_at = now
        _shut(session)
        return self._move(now, session, SessionStatus.PURGED)

    def delete_session(self, now: float, session_id: str, held: Iterable[str] = ()) -> Changes:
        """Remove a session and all its tasks and results; an unknown one is no error.

        The data of its results goes too, except of those of manual deletion (strict: none).
        """
        session = self.sessions.get(session_id)
        if session is None:
            if session_id not in self._members:
                return Changes(removed_sessions=[session_id])
            # Strict: results of a session that never was.
            session = SessionRecord(session_id, (), ApiOptions(), now)
            self.sessions[session_id] = session
        if session.status is SessionStatus.DELETED:
            changes = Changes()
            self._finish_sweep(changes, now, session_id)
            return changes
        session.deleted_at = now
        _shut(session)
        return self._move(now, session, SessionStatus.DELETED, held)

    def _move(
        self,
        now: float,
        session: SessionRecord,
        status: SessionStatus,
        held: Iterable[str] = (),
    ) -> Changes:
        """Give a session its status and begin to do what that means for its tasks and results.

        ``held`` are the ids of tasks that agents hold: they are interrupted at once.
        """
        changes = Changes()
        self._finish_sweep(changes, now, session.id)
        session.status = status
        changes = self._begin_sweep(changes, now, session, held)
        # What the sweep before made ready may be held again by this one.
        changes.ready = [task for task in changes.ready if task.status is TaskStatus.SUBMITTED]
        return changes

    def _session_in(self, session_id: str, verb: str, *allowed: SessionStatus) -> SessionRecord:
        """A session in one of the statuses that the transition starts from."""
        session = self._session(session_id)
        if session.status in allowed:
            return session
        unforeseen = session.status is SessionStatus.CLOSED and verb in ("paused", "resumed")
        wanted = " or ".join(status.name.lower() for status in allowed)
        raise StateError(
            # ArmoniK.Core forgot the closed session in these two.
            "UNKNOWN" if self.strict and unforeseen else "FAILED_PRECONDITION",
            f"session {session_id} is {session.status.name.lower()}: "
            f"only a {wanted} session can be {verb}",
        )


def _shut(session: SessionRecord) -> None:
    session.client_submission = False
    session.worker_submission = False
