"""An engine as ArmoniK's own client sees it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from armoflow.codec.item_log import PREFIX as LOG_PREFIX

if TYPE_CHECKING:
    from tests.integration.engines import Up

PATIENCE = 60.0


class Looking:
    """What ArmoniK's own client sees of an engine.

    That is imported where it is used: processes of tasks, which import the modules of their tests,
    start in half the time without it.
    """

    def __init__(self, engine: Up) -> None:
        import grpc
        from armonik.client import ArmoniKResults, ArmoniKSessions, ArmoniKTasks

        options = [("grpc.default_authority", "localhost")]
        self._channel = grpc.insecure_channel(engine.socket, options=options)
        self._sessions = ArmoniKSessions(self._channel)
        self._tasks = ArmoniKTasks(self._channel)
        self._results = ArmoniKResults(self._channel)

    def sessions(self) -> dict[str, Any]:
        """The status of each session, by id, the oldest first."""
        from armonik.common import Session

        _, found = self._sessions.list_sessions(sort_field=Session.created_at, page_size=1000)
        return {session.session_id: session.status for session in found}

    def tasks(self, session_id: str) -> list[Any]:
        """The tasks of a session."""
        from armonik.common import Task

        chosen = Task.session_id == session_id
        return list(self._tasks.list_tasks(chosen, page_size=1000)[1])

    def results(self, session_id: str) -> dict[str, Any]:
        """The status of each result of a session, by id."""
        return {result.result_id: result.status for result in self.results_of(session_id)}

    def results_of(self, session_id: str) -> list[Any]:
        """The results of a session."""
        from armonik.common import Result

        chosen = Result.session_id == session_id
        return list(self._results.list_results(chosen, page_size=1000)[1])

    def data(self, session_id: str, result_id: str) -> bytes:
        """The data of a result."""
        return bytes(self._results.download_result_data(result_id, session_id))

    def pause(self, session_id: str) -> None:
        """Nothing of a session is started any more."""
        self._sessions.pause_session(session_id)

    def resume(self, session_id: str) -> None:
        """What was paused goes on."""
        self._sessions.resume_session(session_id)

    def has_data(self) -> bool:
        """Whether a result has data, other than the logs of items, which stay."""
        from armonik.common import Result, ResultStatus

        with_data = Result.status == ResultStatus.COMPLETED
        found = self._results.list_results(with_data, page_size=1000)[1]
        return any(not result.name.startswith(LOG_PREFIX) for result in found)

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()

    def until(self, condition: Any) -> None:
        """The engine tells nobody of sessions: they are looked at again and again."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline
            time.sleep(0.02)
