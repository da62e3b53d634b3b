"""Looking at an engine and its sessions from outside, by the calls that every ArmoniK serves."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from types import TracebackType
from typing import Any, NamedTuple

import grpc
from armonik.client import ArmoniKResults, ArmoniKSessions, ArmoniKTasks, ArmoniKVersions
from armonik.common import Direction, Result, ResultStatus, Session, SessionStatus, Task, TaskStatus
from armonik.common.filter import Filter

from armoflow.codec.container import stranger
from armoflow.config import CONNECT_TIMEOUT, MIB
from armoflow.errors import EngineUnreachableError, UnknownIdError
from armoflow.protocol.blocking_deadlines import Deadlines
from armoflow.protocol.channel import open_blocking_channel
from armoflow.protocol.credentials import CertificateFacts
from armoflow.protocol.entities import Entity, id_of, kind_of, task_name
from armoflow.protocol.introduction import introduce
from armoflow.protocol.probe import probe
from armoflow.protocol.refusals import explain, refusal
from armoflow.protocol.repeat import CALL_DEADLINE
from armoflow.protocol.rpc_errors import is_ambiguous, is_server_fault
from armoflow.protocol.settings import ConnectionSettings
from armoflow.protocol.silence import look_blocking

PAGE = 1_000
"""Rows asked for at once: large pages take clusters long, and pass their limits of messages."""

EPOCH = datetime.fromtimestamp(0, timezone.utc)
"""Before all that engines tell of."""

SHORTEST_ID = 4
"""Characters of an id's beginning that may stand for it."""

LOG_BYTES = 64 * MIB
"""Of a result that is downloaded only to look for a log of items: at most."""


class FailedTasks(NamedTuple):
    """Failed tasks.

    Attributes:
        tasks: The first ones, with their errors.
        total: How many there are.
    """

    tasks: Sequence[Task]
    total: int


class ResultFacts(NamedTuple):
    """A result.

    Attributes:
        name: As its creator gave it.
        size: Its bytes.
        stored: Its data is there.
    """

    name: str
    size: int
    stored: bool = False


class Inspection:
    """A connection to look through; closed at the end of its ``with`` block.

    Args:
        settings: Where the engine is, and how it is reached.
        timeout: Seconds to wait for it.

    Attributes:
        info: What the engine says of itself.
        settings: As they were given.

    Raises:
        EngineUnreachableError: If nothing answers.
        EngineError: If what answers is not an ArmoniK, or refuses the caller.
    """

    def __init__(self, settings: ConnectionSettings, timeout: float = CONNECT_TIMEOUT) -> None:
        introduction = asyncio.run(introduce(settings, timeout))
        self.info = introduction.info
        self.settings = settings
        self._timeout = timeout
        self._caller = introduction.caller
        channel = open_blocking_channel(settings, introduction.credentials)
        self._channel = grpc.intercept_channel(channel, Deadlines(channel))
        self._sessions = ArmoniKSessions(self._channel)
        self._tasks = ArmoniKTasks(self._channel)
        self._results = ArmoniKResults(self._channel)

    def __enter__(self) -> Inspection:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._channel.close()

    # --- looking --------------------------------------------------------------------------------

    def versions(self) -> Mapping[str, str]:
        """The versions of the engine's parts."""
        with self._words("asking for versions"):
            versions: Mapping[str, str] = ArmoniKVersions(self._channel).list_versions()
            return versions

    def certificates(self) -> dict[str, CertificateFacts]:
        """What the certificates of both sides say; nothing without TLS, or `cryptography`."""
        found = {}
        if self._caller.certificate is not None:
            found["client's"] = self._caller.certificate
        if self.settings.secure:
            standing = probe(self.settings, self._caller.authorities, self._timeout)
            if standing.server is not None:
                found["server's"] = standing.server
        return found

    def sessions(self, limit: int) -> tuple[int, list[Session]]:
        """The newest sessions, and how many there are."""
        with self._words("listing sessions"):
            return self._sessions.list_sessions(  # type: ignore[no-any-return]
                page_size=limit, sort_field=Session.created_at, sort_direction=Direction.DESC
            )

    def session(self, session_id: str) -> Session:
        """A session, by its whole id."""
        with self._words("reading a session"):
            return self._sessions.get_session(session_id)

    def labelled_sessions(self, label: str, value: str) -> list[Session]:
        """The sessions whose default task options say this under a label, the oldest first."""
        with self._words("looking for a session with a label"):
            found: list[Session] = self._sessions.list_sessions(
                Session.options[label] == value, page_size=PAGE, sort_field=Session.created_at
            )[1]
        return [session for session in found if session.status != SessionStatus.DELETED]

    def ended_sessions(self) -> list[Session]:
        """All sessions that were closed, cancelled or purged, the oldest first."""
        ended = Session.status == SessionStatus.CLOSED
        for status in (SessionStatus.CANCELLED, SessionStatus.PURGED):
            ended = ended | (Session.status == status)
        found: list[Session] = []
        total = 1
        while len(found) < total:
            with self._words("listing sessions"):
                total, page = self._sessions.list_sessions(
                    ended, page=len(found) // PAGE, page_size=PAGE, sort_field=Session.created_at
                )
            if not page:
                break
            found += page
        return found

    def counts(self, session_id: str = "", partition: str = "") -> dict[TaskStatus, int]:
        """How many tasks are in which status: of a session, of a partition, of all."""
        wanted: Filter | None = None
        if session_id:
            wanted = Task.session_id == session_id
        if partition:
            there = Task.options.partition_id == partition
            wanted = there if wanted is None else wanted & there
        with self._words("counting tasks"):
            found: dict[TaskStatus, int] = self._tasks.count_tasks_by_status(wanted)
        return {status: count for status, count in found.items() if count}

    def tasks(
        self, session_id: str, limit: int | None = None, *, with_errors: bool = False
    ) -> Iterator[Task]:
        """A session's tasks, oldest first."""
        page, seen, total = 0, 0, 1
        while seen < total and (limit is None or seen < limit):
            size = PAGE if limit is None else min(PAGE, limit)
            with self._words("listing tasks"):
                total, tasks = self._tasks.list_tasks(
                    Task.session_id == session_id,
                    with_errors=with_errors,
                    page=page,
                    page_size=size,
                    sort_field=Task.created_at,
                )
            if not tasks:
                return
            yield from tasks
            seen += len(tasks)
            page += 1

    def ended(self, session_id: str, since: datetime | None, page: int, size: int) -> list[Task]:
        """A page of a session's tasks that have ended since then, in that order, with errors."""
        wanted = Task.session_id == session_id
        # What has not ended has no time of its end, and passes no comparison with one.
        wanted = wanted & (Task.ended_at >= (since or EPOCH))
        with self._words("listing ended tasks"):
            return self._tasks.list_tasks(  # type: ignore[no-any-return]
                wanted, with_errors=True, page=page, page_size=size, sort_field=Task.ended_at
            )[1]

    def running(self, session_id: str, limit: int) -> list[Task]:
        """A session's tasks that run now, the oldest first."""
        running = Task.status == TaskStatus.PROCESSING
        with self._words("listing running tasks"):
            return self._tasks.list_tasks(  # type: ignore[no-any-return]
                (Task.session_id == session_id) & running,
                page_size=limit,
                sort_field=Task.started_at,
            )[1]

    def result_counts(self, session_id: str) -> dict[str, int]:
        """How many of a session's results there are, by status in small letters."""
        counts = {}
        with self._words("counting results"):
            for status in (
                ResultStatus.COMPLETED,
                ResultStatus.CREATED,
                ResultStatus.ABORTED,
                ResultStatus.DELETED,
            ):
                wanted = (Result.session_id == session_id) & (Result.status == status)
                counts[status.name.lower()] = self._results.list_results(wanted, page_size=0)[0]
        return counts

    def failures(self, session_id: str, limit: int) -> FailedTasks:
        """A session's failed tasks, oldest first, each with its error."""
        mine = Task.session_id == session_id
        failed = (mine & (Task.status == TaskStatus.ERROR)) | (
            mine & (Task.status == TaskStatus.TIMEOUT)
        )
        with self._words("listing failed tasks"):
            total, tasks = self._tasks.list_tasks(
                failed, with_errors=True, page_size=limit, sort_field=Task.created_at
            )
        return FailedTasks(tasks, total)

    def listed(self, wanted: Filter) -> Iterator[Result]:
        """Results that a filter lets through, oldest first."""
        page, seen, total = 0, 0, 1
        while seen < total:
            with self._words("listing results"):
                total, results = self._results.list_results(
                    wanted, page=page, page_size=PAGE, sort_field=Result.created_at
                )
            if not results:
                return
            yield from results
            seen += len(results)
            page += 1

    def data(self, result: Result) -> bytes | None:
        """The data of a result that armoflow wrote, if it is there and no larger than a log is."""
        if (result.size or 0) > LOG_BYTES:
            return None
        with self._words("downloading a result"):
            try:
                data: bytes = self._results.download_result_data(
                    result.result_id, result.session_id
                )
            except grpc.RpcError as error:
                if error.code() is grpc.StatusCode.NOT_FOUND:
                    return None
                raise
        return None if stranger(data) else data

    def names(self, result_ids: Sequence[str]) -> dict[str, str]:
        """What results are named after, by id; those that nobody knows are left out."""
        return {id: task_name(facts.name) for id, facts in self.results(result_ids).items()}

    def results(self, result_ids: Sequence[str]) -> dict[str, ResultFacts]:
        """Names and sizes of results, by id; those that nobody knows are left out."""
        known: dict[str, ResultFacts] = {}
        for first in range(0, len(result_ids), PAGE):
            some = result_ids[first : first + PAGE]
            wanted = Result.result_id == some[0]
            for result_id in some[1:]:
                wanted = wanted | (Result.result_id == result_id)
            with self._words("listing results"):
                _, found = self._results.list_results(wanted, page_size=len(some))
            for result in found:
                known[result.result_id] = ResultFacts(
                    result.name, result.size or 0, result.status == ResultStatus.COMPLETED
                )
        return known

    def find(self, id: str) -> Entity:
        """The session, task or result with an id, or the only one whose id begins so.

        Of ``begin..end`` both ends are meant.

        Raises:
            UnknownIdError: If there is none, or more than one.
        """
        if len(id) < SHORTEST_ID:
            if not id:
                raise UnknownIdError("an empty text is no id, and no name of a run")
            raise UnknownIdError(
                f"{id!r} is too short: write at least {SHORTEST_ID} characters of an id"
            )
        found = [*self._found(id)]
        if not found:
            raise UnknownIdError(f"there is no session, task or result {id!r} at this engine")
        # A task and its result may have one id, and what was asked for whole is meant.
        exact = [one for one in found if id_of(one) == id]
        if len(found) > 1 and not exact:
            shown = ", ".join(f"{kind_of(one)} {id_of(one)}" for one in found[:3])
            raise UnknownIdError(f"{id!r} begins several ids ({shown}): write more of it")
        return (exact or found)[0]

    def session_of(self, id: str) -> Session:
        """The session with an id, or the only one whose id begins so.

        Raises:
            UnknownIdError: If there is none, or it is something else.
        """
        found = self.find(id)
        if not isinstance(found, Session):
            raise UnknownIdError(f"{id!r} is a {kind_of(found)}, and not a session")
        return found

    def _found(self, id: str) -> Iterator[Entity]:
        begin, _, end = id.partition("..")

        def wanted(field: Any) -> Filter:
            return field.startswith(begin) & field.endswith(end) if end else field.startswith(id)

        with self._words("looking for an id"):
            yield from self._sessions.list_sessions(
                wanted(Session.session_id), page_size=2, sort_field=Session.created_at
            )[1]
            yield from self._tasks.list_tasks(
                wanted(Task.id), with_errors=True, page_size=2, sort_field=Task.created_at
            )[1]
            yield from self._results.list_results(
                wanted(Result.result_id), page_size=2, sort_field=Result.created_at
            )[1]

    def stream(
        self, method: str, request: bytes, what: str, timeout: float | None = None
    ) -> Iterator[bytes]:
        """What a method answers that only armoflow's own engine has, piece by piece.

        Args:
            method: Which.
            request: What it is asked.
            what: What that is for, for errors.
            timeout: Seconds in which the last piece must have come, where that can be said.
        """
        with self._words(what):
            yield from self._channel.unary_stream(method)(request, timeout=timeout)

    # --- changing -------------------------------------------------------------------------------

    def cancel(self, session_id: str) -> None:
        """Cancel a session and its tasks."""
        with self._words("cancelling a session"):
            self._sessions.cancel_session(session_id)

    def cancel_task(self, task_id: str) -> None:
        """Cancel one task."""
        with self._words("cancelling a task"):
            self._tasks.cancel_tasks([task_id])

    def pause(self, session_id: str) -> None:
        """Start no more of a session's tasks."""
        with self._words("pausing a session"):
            self._sessions.pause_session(session_id)

    def resume(self, session_id: str) -> None:
        """Go on with a paused session."""
        with self._words("resuming a session"):
            self._sessions.resume_session(session_id)

    def purge(self, session_id: str) -> None:
        """Delete a session's data, and the session; what runs in it must have ended."""
        with self._words("closing a session"), _done_already():
            self._sessions.close_session(session_id)
        with self._words("purging a session"), _done_already():
            self._sessions.purge_session(session_id)
        with self._words("deleting a session"):
            self._sessions.delete_session(session_id)

    @contextmanager
    def _words(self, what: str) -> Iterator[None]:
        try:
            yield
        except grpc.RpcError as error:
            if is_ambiguous(error) and not is_server_fault(error):
                raise self._unanswered(what, error) from error
            raise refusal(error, what, self._caller) from error

    def _unanswered(self, what: str, error: Exception) -> EngineUnreachableError:
        """The error for an engine that has answered before: gone, or silent."""
        case = look_blocking(self._caller, error, self._timeout)
        words = explain(case)
        if words is None and case.code == "DEADLINE_EXCEEDED":
            words = f"{case.where} has not answered for {CALL_DEADLINE:g} s: it has much to do"
        return EngineUnreachableError(
            f"{what}: {words or f'the connection to {case.where} was lost, it is there again'}"
        )


@contextmanager
def _done_already() -> Iterator[None]:
    """A session that was closed, cancelled or purged before is what is needed."""
    try:
        yield
    except grpc.RpcError as error:
        if error.code() is not grpc.StatusCode.FAILED_PRECONDITION:
            raise
